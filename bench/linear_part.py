"""The linear part of a masked model on small tables: as held-back cells choose it, beside the one rule for all.

The rule for all has as many factors as all inputs determine, whether a cell is missing among them, and much noise for
columns of few rows. Tables that packages ship and small ones of ADBench (DIABOLO_DATA/adbench), cut to 1,000 rows; 15 %
of all cells removed by the seed, a fifth of the rows held out. Error of their filled cells and nats per row as in
mixed.py, of the linear part alone unless --whole, and scikit-learn's IterativeImputer on the same holes. At the end the
paired differences, of a table the mean over its seeds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
from common import data_path, machine, parser

import mixed  # isort: skip
import numpy as np
import pandas as pd

ROWS = 1000
#: Tables of ADBench and of statsmodels; of the latter with what is left out and what is a word.
ADBENCH = {
    "breastw": "4_breastw",
    "wpbc": "46_WPBC",
    "stamps": "37_Stamps",
    "yeast": "47_yeast",
    "vowels": "40_vowels",
    "cardio": "7_Cardiotocography",
    "ionosphere": "18_Ionosphere",
    "letter": "20_letter",
    "wilt": "44_Wilt",
    "satellite": "30_satellite",
    "thyroid": "38_thyroid",
}
STATSMODELS: dict[str, tuple[list[str], list[str]]] = {
    "anes96": (["logpopul"], ["vote"]),
    "ccard": ([], ["OWNRENT"]),
    "heart": ([], ["censors"]),
    "statecrime": ([], []),
    "cancer": ([], []),
    "modechoice": (["individual"], ["mode", "choice"]),
    "scotland": ([], []),
    "star98": ([], []),
}
TABLES = ["iris", *STATSMODELS, *ADBENCH]
#: Columns of star98 at most: the others are products of them.
STAR98 = 13


def table(name: str) -> pd.DataFrame:
    if name in mixed.TABLES:
        return mixed.TABLES[name]()
    if name in ADBENCH:
        values = np.load(data_path("adbench", f"{ADBENCH[name]}.npz"))["X"]
        return pd.DataFrame(values, columns=[f"c{i}" for i in range(values.shape[1])])
    if name == "iris":
        from sklearn.datasets import load_iris

        data = load_iris(as_frame=True)
        return data.data.assign(kind=data.target.map(dict(enumerate("abc"))))
    import statsmodels.api as sm

    out, words = STATSMODELS[name]
    found = getattr(sm.datasets, name).load_pandas().data.dropna().reset_index(drop=True).drop(columns=out)
    found = found.iloc[:, :STAR98] if name == "star98" else found
    return found.assign(**{c: found[c].map(lambda v: f"v{v:g}") for c in words})


def split(name: str, seed: int, rows: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Training and test rows with holes, and the test rows without."""
    truth = table(name)
    truth = truth.drop(columns=[c for c in truth if truth[c].nunique() < 2])
    if len(truth) > rows:
        truth = truth.sample(rows, random_state=seed).reset_index(drop=True)
    rng = np.random.default_rng(seed)
    holes = mixed.with_holes(truth, rng)
    at = rng.permutation(len(truth))
    cut = len(truth) * 4 // 5
    train, test, clean = (
        part.reset_index(drop=True) for part in (holes.iloc[at[:cut]], holes.iloc[at[cut:]], truth.iloc[at[cut:]])
    )
    return train, test, clean


def errors(filled: pd.DataFrame, clean: pd.DataFrame, test: pd.DataFrame, scale: pd.Series) -> tuple[float, float]:
    """`mixed.errors` of the columns that have a hole; NaN where none is a number, or a word."""
    with np.errstate(all="ignore"):
        parts = {True: [], False: []}
        for name in clean.columns[test.isna().any()]:
            word = mixed.is_text(clean[name])
            gone = test[name].isna()
            a, b = filled[name][gone], clean[name][gone]
            wrong = float((a != b).mean()) if word else np.sqrt(np.mean(((a.astype(float) - b) / scale[name]) ** 2))
            parts[word].append(float(wrong))
    return tuple(float(np.mean(parts[w])) if parts[w] else np.nan for w in (False, True))


def as_before():
    """The linear part by the one rule for all tables."""
    from diabolo.train import linear_start

    usual = mock.Mock(wraps=linear_start)
    usual.choose_rule = lambda rows, v, most: linear_start.Rule(linear_start.most_factors(rows[0].shape[1], most))
    usual.related = lambda x, w, s, asked: asked | True
    return mock.patch.multiple(linear_start, choose_rule=usual.choose_rule, related=usual.related)


def fitted(train: pd.DataFrame, seed: int, whole: bool):
    from diabolo import MaskedAutoencoder

    still = {} if whole else {"epochs": 1, "learning_rate": 1e-12}
    return MaskedAutoencoder(random_state=seed, **still).fit(train)


def run(name: str, seed: int, args) -> dict[str, object]:
    import contextlib

    train, test, clean = split(name, seed, args.rows)
    scale = train.std(numeric_only=True)
    out: dict[str, object] = {"table": name, "seed": seed, "rows": len(train), "columns": train.shape[1]}
    for who, rule in (("before", as_before), ("chosen", contextlib.nullcontext)):
        began = time.process_time()
        with rule():
            ae = fitted(train, seed, args.whole)
        seconds = time.process_time() - began
        numbers, levels = errors(ae.reconstruct(test, only_missing=True), clean, test, scale)
        nats = float(np.mean(mixed.chain_nll(ae, test)))
        out[who] = {"numbers": numbers, "levels": levels, "nats": nats, "seconds": seconds}
    numbers, levels = errors(mixed.iterative(train, test), clean, test, scale)
    return out | {"iterative": {"numbers": numbers, "levels": levels}}


def said(r) -> str:
    parts = [f"{r['table']:<13} {r['seed']}  {r['rows']} × {r['columns']}"]
    for who in ("before", "chosen", "iterative"):
        nats = f", nats {r[who]['nats']:.2f}" if "nats" in r[who] else ""
        parts.append(f"{who} {r[who]['numbers']:.3f} / {r[who]['levels']:.3f}{nats}")
    return " | ".join(parts) + f" | {r['before']['seconds']:.1f} s, {r['chosen']['seconds']:.1f} s"


def differences(raw: list[dict]) -> None:
    """Chosen less before: mean over tables of the means over their seeds, with its standard error."""
    for what in ("numbers", "levels", "nats"):
        each = pd.DataFrame({"t": r["table"], "d": r["chosen"][what] - r["before"][what]} for r in raw)
        d = each.dropna().groupby("t").d.mean()
        error = d.std() / np.sqrt(len(d)) if len(d) > 1 else np.nan
        better, worse = int((d < 0).sum()), int((d > 0).sum())
        print(f"{what}: {d.mean():+.4f} ± {error:.4f}, median {d.median():+.4f}; better on {better}, worse on {worse}")


def main() -> None:
    options = parser(__doc__, pairs=2)
    options.add_argument("--tables", nargs="+", default=TABLES, choices=[*TABLES, *mixed.TABLES])
    options.add_argument("--seeds", nargs="+", type=int, help="seeds in place of 0, 1, ... --pairs")
    options.add_argument("--rows", type=int, default=ROWS, help="rows of a table at most, drawn by the seed")
    options.add_argument("--whole", action="store_true", help="whole fits, with their networks")
    args = options.parse_args()
    print(json.dumps(machine()))
    print("each: error of numbers / share of wrong levels; seconds of processor time of a fit, before and chosen")
    raw = []
    for name in args.tables[:2] if args.quick else args.tables:
        for seed in args.seeds or range(1 if args.quick else args.pairs):
            raw.append(run(name, seed, args))
            print(said(raw[-1]), flush=True)
    differences(raw)
    if args.json:
        Path(args.json).write_text(json.dumps(raw, indent=1))


if __name__ == "__main__":
    main()
