"""Tables of mixed types with missing cells: density beside independent columns, imputation beside IterativeImputer.

Public tables that packages ship, 15 % of all cells removed at random by seed. Nats per row of the cells that are there
and of which are missing (importance-weighted; density in original units, mass for integers, ordinals and categories):
the joint model beside the best independent-columns model, whose law is chosen column by column on validation rows.
Error of the removed test cells: root mean square over the column's standard deviation for numbers, share of wrong
levels for categories, beside column means, modes and scikit-learn's IterativeImputer on numbers and one-hot levels: its
own ridge regression, that with whole numbers rounded as diabolo's are, and extremely randomized trees, which is
MissForest (Stekhoven, Bühlmann 2012, doi:10.1093/bioinformatics/btr597) but for the kind of trees. One set of settings
for all tables: a VAE's, and a masked autoencoder at its defaults. --filled leaves out densities and the VAE; --remasker
adds ReMasker's published idea, which is written in remasker.py.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import machine, parser

import numpy as np  # isort: skip
import pandas as pd
import torch
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

REMOVED = 0.15
#: Trees of a forest, and rounds over the columns.
TREES, TREE_ROUNDS = 50, 4
#: What every table is fitted with.
SETTINGS = {
    "latent_dim": 8,
    "hidden": (128, 128),
    "likelihood": {"name": "gaussian", "sigma": "decoded"},
    "corruption": {"name": "mask", "rate": 0.2},
    "batch_size": 128,
    "learning_rate": 2e-3,
    "patience": 40,
}


# ── tables ────────────────────────────────────────────────────────────────────────────────────────


def breast_cancer() -> pd.DataFrame:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    return data.data.assign(diagnosis=data.target.map(dict(enumerate(data.target_names))))


def randhie() -> pd.DataFrame:
    """The RAND health insurance experiment: visits to a doctor, plan, health."""
    import statsmodels.api as sm

    d = sm.datasets.randhie.load_pandas().data
    health = np.select([d.hlthg == 1, d.hlthf == 1, d.hlthp == 1], ["good", "fair", "poor"], "excellent")
    plan = np.where(d.idp == 1, "individual deductible", "none")
    out = d.drop(columns=["hlthg", "hlthf", "hlthp", "idp"]).assign(health=health, plan=plan)
    return out.astype({"mdvis": int})


def fair() -> pd.DataFrame:
    """Redbook's survey: ages, years married, occupations."""
    import statsmodels.api as sm

    d = sm.datasets.fair.load_pandas().data
    work = {1: "student", 2: "farming", 3: "white collar", 4: "teacher", 5: "manager", 6: "professional"}
    return d.assign(occupation=d.occupation.map(work), occupation_husb=d.occupation_husb.map(work))


def wine() -> pd.DataFrame:
    from sklearn.datasets import load_wine

    data = load_wine(as_frame=True)
    return data.data.assign(cultivar=data.target.map(dict(enumerate("abc"))))


def diabetes() -> pd.DataFrame:
    from sklearn.datasets import load_diabetes

    data = load_diabetes(as_frame=True, scaled=False)
    sex = data.data["sex"].map({1.0: "one", 2.0: "two"})
    return data.data.drop(columns="sex").assign(sex=sex, progression=data.target)


TABLES = {"breast_cancer": breast_cancer, "wine": wine, "diabetes": diabetes, "fair": fair, "randhie": randhie}


def with_holes(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    hole = rng.random(frame.shape) < REMOVED
    hole[hole.all(axis=1)] = False
    return frame.mask(hole)


def is_text(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column)


# ── the best independent columns ──────────────────────────────────────────────────────────────────


def candidates(train: np.ndarray):
    """Laws of one column of numbers, each a function of values → log density."""
    yield "normal", stats.norm(train.mean(), train.std() + 1e-9).logpdf
    yield "laplace", stats.laplace(np.median(train), np.abs(train - np.median(train)).mean() + 1e-9).logpdf
    if train.std() > 0:
        for factor in (0.1, 0.3, 1.0):
            some = train if len(train) < 4000 else np.random.default_rng(0).choice(train, 4000, replace=False)
            kernel = stats.gaussian_kde(some, bw_method=lambda k, f=factor: f * k.scotts_factor())
            # A tenth of a wide normal keeps far cells finite.
            wide = stats.norm(train.mean(), 3 * train.std()).pdf
            yield f"kernels, {factor}", lambda v, k=kernel, w=wide: np.log(0.98 * k(v) + 0.02 * w(v))
    if train.min() > 0:
        shape = stats.norm(np.log(train).mean(), np.log(train).std() + 1e-9)
        yield "log-normal", lambda v, s=shape: np.where(v > 0, s.logpdf(np.log(np.maximum(v, 1e-300))) - np.log(v), -50)


def frequencies(train: np.ndarray, levels: int):
    """Laplace's rule over values; one share is kept for what was never seen."""
    values, count = np.unique(train, return_counts=True)
    table = dict(zip(values, np.log((count + 1) / (len(train) + levels + 1)), strict=True))
    rest = np.log(1 / (len(train) + levels + 1))
    return lambda v: np.array([table.get(x, rest) for x in v])


def independent(train: pd.DataFrame, test: pd.DataFrame, whole: set[str]) -> tuple[float, dict[str, str]]:
    """Mean nats per test row, of what is missing too, and the chosen laws; masses for `whole` numbers and text."""
    total, chosen = 0.0, {}
    for name in train.columns:
        there = frequencies(train[name].notna().to_numpy(), 1)
        total -= float(np.sum(there(test[name].notna().to_numpy())))
        seen, new = train[name].dropna().to_numpy(), test[name].dropna().to_numpy()
        if is_text(train[name]) or name in whole:
            levels = len(np.unique(seen)) if is_text(train[name]) else int(seen.max() - seen.min()) + 1
            laws = [("frequencies", lambda t, k=levels: frequencies(t, k))]
        else:
            names = [n for n, _ in candidates(seen)]
            laws = [(n, lambda t, n=n: dict(candidates(t))[n]) for n in names]
        cut = len(seen) * 9 // 10
        order = np.random.default_rng(0).permutation(len(seen))
        fit, check = seen[order[:cut]], seen[order[cut:]]
        best = max(laws, key=lambda law: float(np.mean(law[1](fit)(check)))) if len(laws) > 1 else laws[0]
        chosen[name] = best[0]
        total -= float(np.sum(best[1](seen)(new)))
    return total / len(test), chosen


# ── diabolo ───────────────────────────────────────────────────────────────────────────────────────


def joint_nll(ae, test: pd.DataFrame, draws: int = 1000) -> np.ndarray:
    """−log p of the cells that are there and of which are missing, [n] nats, by importance weights."""
    from diabolo.data.matching import matched
    from diabolo.data.table import as_table
    from diabolo.model.objective import importance_weighted

    model = ae.model_
    values = matched(as_table(test), model.encoding.schema, "the model").values
    out, step = [], 250
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for start in range(0, len(values), step):
            rows = model.encoding.encode(torch.from_numpy(np.ascontiguousarray(values[start : start + step])))
            rows = dataclasses.replace(rows, missing=None)
            parts = [importance_weighted(model, rows, 100, generator) for _ in range(draws // 100)]
            out.append(-(torch.stack(parts).logsumexp(0) - np.log(len(parts))).double())
    return torch.cat(out).numpy()


def chain_nll(ae, test: pd.DataFrame) -> np.ndarray:
    """−log p of a masked autoencoder, as `joint_nll`, by the chain rule over two orders."""
    from diabolo.data.matching import matched
    from diabolo.data.table import as_table
    from diabolo.model.chain import chain_nll, orders_of

    model = ae.model_
    values = matched(as_table(test), model.encoding.schema, "the model").values
    out, step = [], 1000
    with torch.inference_mode():
        orders = orders_of(model, 2)
        for start in range(0, len(values), step):
            rows = model.encoding.encode(torch.from_numpy(np.ascontiguousarray(values[start : start + step])))
            out.append(chain_nll(model, dataclasses.replace(rows, missing=None), orders).sum(-1).double())
    return torch.cat(out).numpy()


def errors(filled: pd.DataFrame, truth: pd.DataFrame, holes: pd.DataFrame, scale: pd.Series) -> tuple[float, float]:
    """Mean over columns of the normalised root mean square error, and of the share of wrong levels."""
    numbers, text = [], []
    for name in truth.columns:
        gone = holes[name].isna()
        if is_text(truth[name]):
            text.append(float((filled[name][gone] != truth[name][gone]).mean()))
        else:
            d = (filled[name][gone].astype(float) - truth[name][gone].astype(float)) / scale[name]
            numbers.append(float(np.sqrt(np.mean(d**2))))
    return float(np.mean(numbers)), float(np.mean(text))


def widened(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Training rows and then the others as numbers; a word's column is one of 0 and 1 for each level but its first."""
    both = pd.concat([train, test])
    parts = []
    for name in train.columns:
        if is_text(train[name]):
            # Without its first level: all of them add up to 1, and a regression would only ever find that.
            hot = pd.get_dummies(both[name], drop_first=True).astype(float).add_prefix(f"{name}=")
            hot[both[name].isna()] = np.nan
            parts.append(hot)
        else:
            parts.append(both[name].astype(float))
    return pd.concat(parts, axis=1)


def narrowed(filled: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """The most likely level of each word, back from rows of `widened` that are filled in."""
    for name in [c for c in train if is_text(train[c])]:
        hot = filled.filter(like=f"{name}=")
        first = sorted(pd.concat([train[name], test[name]]).dropna().unique())[0]
        levels = np.array([first, *hot.columns.str.removeprefix(f"{name}=")])
        filled[name] = levels[np.column_stack([1 - hot.sum(axis=1), hot]).argmax(1)]
    return filled


def iterative(train: pd.DataFrame, test: pd.DataFrame, trees: bool = False) -> pd.DataFrame:
    """Filled by scikit-learn's IterativeImputer: ridge regressions at its defaults, or trees as MissForest has them."""
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    wide = widened(train, test)
    settings = {"max_iter": 20}
    if trees:
        settings = {"estimator": ExtraTreesRegressor(TREES, random_state=0), "max_iter": TREE_ROUNDS}
    with warnings.catch_warnings():
        # Rounds that end before nothing changes any more are what the settings say.
        warnings.simplefilter("ignore", ConvergenceWarning)
        imputer = IterativeImputer(random_state=0, **settings).fit(wide[: len(train)])
    filled = pd.DataFrame(imputer.transform(wide[len(train) :]), columns=wide.columns, index=test.index)
    return narrowed(filled, train, test)


def whole(filled: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """Cells of columns of whole numbers rounded, as a cell that is filled in by diabolo is."""
    out = filled.copy()
    for name in [c for c in train if not is_text(train[c])]:
        if (train[name].dropna() % 1 == 0).all():
            out[name] = out[name].astype(float).round()
    return out


def remasked(train: pd.DataFrame, test: pd.DataFrame, seed: int, steps: int) -> pd.DataFrame:
    """Filled by ReMasker's published idea, of which `remasker` says more; `steps` at most, 0 for its own epochs."""
    import remasker

    wide = widened(train, test)
    group = pd.factorize(wide.columns.map(lambda c: c.partition("=")[0]))[0]
    values = wide.to_numpy()
    filled = remasker.filled(values[: len(train)], values[len(train) :], group, seed, steps or None)
    return narrowed(pd.DataFrame(filled, columns=wide.columns, index=test.index), train, test)


def simple(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    fill = {c: train[c].mode()[0] if is_text(train[c]) else train[c].mean() for c in train}
    return test.astype({c: float for c in test if not is_text(test[c])}).fillna(fill)


def split(name: str, seed: int, rows: int | None) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Training and test rows with holes, and the test rows without; of `rows` rows drawn by the seed, or all."""
    truth = TABLES[name]()
    if rows is not None and len(truth) > rows:
        truth = truth.sample(rows, random_state=seed).reset_index(drop=True)
    rng = np.random.default_rng(seed)
    holes = with_holes(truth, rng)
    at = rng.permutation(len(truth))
    cut = len(truth) * 4 // 5
    parts = holes.iloc[at[:cut]], holes.iloc[at[cut:]], truth.iloc[at[cut:]]
    train, test, clean = (part.reset_index(drop=True) for part in parts)
    return train, test, clean


def run(name: str, seed: int, settings: dict, args) -> dict[str, float]:
    """Errors of filled cells by imputer, with the seconds, and densities unless only what is filled counts."""
    from diabolo import MaskedAutoencoder

    train, test, clean = split(name, seed, args.rows)
    few = {"epochs": 3} if settings.get("epochs") == 3 else {}
    scale = train.std(numeric_only=True)
    masked = None

    def ours() -> pd.DataFrame:
        nonlocal masked
        masked = MaskedAutoencoder(random_state=seed, **few).fit(train)
        return masked.reconstruct(test, only_missing=True)

    imputers = {
        "masked": ours,
        "iterative": lambda: iterative(train, test),
        "iterative, whole": lambda: whole(iterative(train, test), train),
        "trees": lambda: iterative(train, test, trees=True),
        "mean": lambda: simple(train, test),
    }
    if args.remasker is not None:
        imputers["remasker"] = lambda: remasked(train, test, seed, 20 if few else args.remasker)
    if args.imputers:
        imputers = {k: v for k, v in imputers.items() if k in args.imputers}
    out: dict = {"rows": len(train) + len(test)}
    for who, fill in imputers.items():
        began = time.perf_counter()
        numbers, levels = errors(fill(), clean, test, scale)
        out[who] = {"numbers": numbers, "levels": levels, "seconds": time.perf_counter() - began}
    return out if args.filled else out | densities(masked, train, test, clean, seed, settings)


def densities(
    masked, train: pd.DataFrame, test: pd.DataFrame, clean: pd.DataFrame, seed: int, settings: dict
) -> dict[str, object]:
    """Nats per row of a VAE, of the masked autoencoder and of independent columns; and what the VAE fills in."""
    from diabolo import VariationalAutoencoder

    began = time.perf_counter()
    ae = VariationalAutoencoder(random_state=seed, **settings).fit(train)
    numbers, levels = errors(ae.reconstruct(test, only_missing=True), clean, test, train.std(numeric_only=True))
    seconds = time.perf_counter() - began
    whole = {c.name for c in ae.model_.encoding.schema.columns if c.kind in ("integer", "count", "ordinal")}
    alone, laws = independent(train, test, whole)
    nll, density = joint_nll(ae, test), chain_nll(masked, test)
    return {
        "vae": {"numbers": numbers, "levels": levels, "seconds": seconds},
        "nats": {
            "masked": [float(density.mean()), float(density.std() / np.sqrt(len(density)))],
            "vae": [float(nll.mean()), float(nll.std() / np.sqrt(len(nll)))],
            "independent": [alone, 0.0],
        },
        "laws": laws,
    }


def said(r: dict) -> str:
    """One line of a run."""
    who = [w for w in ("masked", "vae", "iterative", "iterative, whole", "trees", "remasker", "mean") if w in r]
    parts = [f"{r['table']:<14} {r['seed']}  {r['rows']} rows"]
    parts += [f"{w} {r[w]['numbers']:.4f} / {r[w]['levels']:.4f} ({r[w]['seconds']:.0f} s)" for w in who]
    parts += [f"nats {w} {m:.3f} ± {e:.3f}" for w, (m, e) in r.get("nats", {}).items()]
    return " | ".join(parts)


def main() -> None:
    options = parser(__doc__, pairs=3)
    options.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    options.add_argument("--seeds", nargs="+", type=int, help="seeds in place of 0, 1, ... --pairs")
    options.add_argument("--set", default="{}", help="settings over the script's own, as JSON")
    options.add_argument("--rows", type=int, help="rows of a table at most, drawn by the seed (default: all)")
    options.add_argument("--filled", action="store_true", help="filled cells alone, without densities and the VAE")
    options.add_argument("--remasker", type=int, metavar="STEPS", help="also ReMasker's idea, 0: for all its epochs")
    options.add_argument("--imputers", nargs="+", help="some imputers alone, like masked or trees; with --filled")
    args = options.parse_args()
    settings = SETTINGS | json.loads(args.set)
    if args.quick:
        settings |= {"epochs": 3}
    print(json.dumps(machine()), json.dumps(settings))
    print("each: error of numbers / share of wrong levels")
    raw = []
    for name in args.tables:
        for seed in args.seeds or range(1 if args.quick else args.pairs):
            raw.append({"table": name, "seed": seed} | run(name, seed, settings, args))
            print(said(raw[-1]), flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(raw, indent=1))


if __name__ == "__main__":
    main()
