"""Drawn rows beside real ones: diabolo's, a copula's, an independent-columns sampler's, TVAE's and TabularARGN's.

LHC events and three public tables of mixed types. Each method learns from the same training rows, at most 20,000, and
draws as many rows as are held back, at most 10,000. Figures, all but one by `diabolo.generate.fidelity`: AUROC of
telling drawn rows from held-back ones (HistGradientBoosting, defaults, five folds; a random forest as a second judge),
mean distance of columns, error of rank correlations, and whether drawn rows lie closer to training rows than held-back
ones do. One set of settings for all tables: diabolo's defaults, but 20 epochs (the masked autoencoder: its own).
Results are kept in --cache, so that a run that was cut short goes on. --argn PYTHON adds TabularARGN, by the
interpreter of an environment that has mostlyai-engine; argn.py says what it runs with.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import THREADS, data_path, machine, parser

import mixed  # isort: skip
import numpy as np
import pandas as pd

MOST_TRAIN, MOST_TEST = 20_000, 10_000
SLOTS = {"e": 4, "mu": 4, "j": 10}
#: Of the autoencoder, whose codes' components the trees start from; more changes their rows little.
EPOCHS = 20
#: Rounds in which the copula's correlations are corrected for ties, and rows drawn in each.
ROUNDS, DRAWN = 5, 20_000


# ── tables ────────────────────────────────────────────────────────────────────────────────────────


def lhc() -> pd.DataFrame:
    return pd.read_parquet(data_path("lhc") / "background_train.parquet").drop(columns="process")


def diamonds() -> pd.DataFrame:
    """Prices, sizes and grades of diamonds, which the package plotnine ships (pip install --no-deps plotnine)."""
    spec = find_spec("plotnine")
    if spec is None or spec.origin is None:
        sys.exit("the table 'diamonds' needs plotnine: pip install --no-deps plotnine")
    return pd.read_csv(Path(spec.origin).parent / "data" / "diamonds.csv")


TABLES = {"lhc": lhc, "fair": mixed.fair, "randhie": mixed.randhie, "diamonds": diamonds}


def split(frame: pd.DataFrame, seed: int, rows: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and held-back ones, at most `rows` of each."""
    order = np.random.default_rng(seed).permutation(len(frame))
    held = min(rows or MOST_TEST, len(frame) // 2)
    train = frame.iloc[order[held : held + (rows or MOST_TRAIN)]]
    return train.reset_index(drop=True), frame.iloc[order[:held]].reset_index(drop=True)


def slots_of(frame: pd.DataFrame) -> list[list[list[str]]]:
    """Groups of slots, each a list of columns of which the first one tells whether the slot is filled."""
    if "j1_pt" not in frame:
        return []
    return [[[f"{g}{i}_{part}" for part in ("pt", "eta", "phi")] for i in range(1, n + 1)] for g, n in SLOTS.items()]


def vacated(drawn: pd.DataFrame, groups: list[list[list[str]]]) -> pd.DataFrame:
    """Zeros in empty slots, and in all slots after an empty one: what the rivals are given of the schema."""
    for group in groups:
        gone = np.zeros(len(drawn), bool)
        for slot in group:
            gone |= drawn[slot[0]].to_numpy() == 0
            drawn.loc[gone, slot] = 0.0
    return drawn


# ── the rivals ────────────────────────────────────────────────────────────────────────────────────


class Column:
    """A column's empirical quantile function over codes: numbers in their order, words by falling frequency.

    Cells that are missing, or of an empty slot beyond the one that tells so, are left out.
    """

    def __init__(self, cells: pd.Series, left_out: np.ndarray) -> None:
        there = cells[~left_out & cells.notna()]
        if mixed.is_text(cells):
            self.values = there.value_counts().index.to_numpy()
        else:
            self.values = np.unique(there.to_numpy())
        place = {v: k for k, v in enumerate(self.values)}
        self.codes = cells.map(place).where(~left_out).to_numpy(np.float64)
        count = np.bincount(self.codes[~np.isnan(self.codes)].astype(int), minlength=len(self.values))
        self.ends = np.cumsum(count) / max(count.sum(), 1)

    def code(self, u: np.ndarray) -> np.ndarray:
        return np.minimum(np.searchsorted(self.ends, u), len(self.values) - 1)


def columns_of(train: pd.DataFrame) -> dict[str, Column]:
    """The columns, and for each one with missing cells a column that says which are."""
    follow = {c: slot[0] for group in slots_of(train) for slot in group for c in slot[1:]}
    out = {}
    for name in train:
        empty = (train[follow[name]] == 0).to_numpy() if name in follow else np.zeros(len(train), bool)
        out[name] = Column(train[name], empty)
        if train[name].isna().any():
            out[f"{name} missing"] = Column(train[name].isna().astype(int), np.zeros(len(train), bool))
    return out


def table_of(u: np.ndarray, columns: dict[str, Column], train: pd.DataFrame) -> pd.DataFrame:
    cells = {n: c.values[c.code(u[:, i])] for i, (n, c) in enumerate(columns.items()) if len(c.values)}
    out = pd.DataFrame({n: cells.get(n, np.zeros(len(u))) for n in train})
    for name in train:
        if f"{name} missing" in cells:
            out[name] = out[name].where(cells[f"{name} missing"] == 0)
    return vacated(out.astype({n: t for n, t in train.dtypes.items() if t.kind == "f"}), slots_of(train))


def independent(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Each column drawn by itself from its training cells."""
    columns = columns_of(train)
    return table_of(np.random.default_rng(seed).random((n, len(columns))), columns, train)


def rank_correlation(codes: np.ndarray) -> np.ndarray:
    """Spearman's, over the rows in which both cells are there."""
    rho = pd.DataFrame(codes).corr(method="spearman", min_periods=10).fillna(0.0).to_numpy().copy()
    np.fill_diagonal(rho, 1.0)
    return rho


def correlation_matrix(r: np.ndarray) -> np.ndarray:
    """The nearest matrix with no negative eigenvalue, its diagonal 1."""
    values, vectors = np.linalg.eigh((r + r.T) / 2)
    r = (vectors * values.clip(1e-6)) @ vectors.T
    return r / np.sqrt(np.outer(np.diag(r), np.diag(r)))


def copula(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """A Gaussian copula over empirical quantiles (Nelsen 2006; Patki et al. 2016).

    Ties pull rank correlations towards zero; the latent ones are corrected until rows drawn show those of the table.
    """
    from scipy.special import ndtr

    columns, rng = columns_of(train), np.random.default_rng(seed)
    codes = np.stack([c.codes for c in columns.values()], axis=1)
    wanted = rank_correlation(codes)
    latent = correlation_matrix(2 * np.sin(np.pi / 6 * wanted))
    noise = rng.standard_normal((DRAWN, len(columns)))
    for _ in range(ROUNDS):
        u = ndtr(noise @ np.linalg.cholesky(latent).T)
        shown = np.stack([c.code(u[:, i]) for i, c in enumerate(columns.values())], axis=1).astype(np.float64)
        latent = correlation_matrix(np.clip(latent + wanted - rank_correlation(shown), -0.9999, 0.9999))
    u = ndtr(rng.standard_normal((n, len(columns))) @ np.linalg.cholesky(latent).T)
    return table_of(u, columns, train)


def tvae(train: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """TVAE (Xu et al. 2019), the package ctgan's, with its defaults (licence BUSL-1.1: not a dependency)."""
    import torch
    from ctgan import TVAE

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    text = [c for c in train if mixed.is_text(train[c])]
    given = train.astype(dict.fromkeys(text, object))
    model = TVAE(enable_gpu=False) if "enable_gpu" in TVAE.__init__.__code__.co_varnames else TVAE(cuda=False)
    model.fit(given, discrete_columns=text)
    return model.sample(n)[list(train)].astype(dict(train.dtypes))


def argn(train: pd.DataFrame, n: int, seed: int, python: str, minutes: float, protect: bool) -> pd.DataFrame:
    """TabularARGN's rows, fitted and drawn in a process of its own, with the table's types and empty slots."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "train.parquet"), Path(folder, "drawn.parquet")
        train.to_parquet(given, index=False)
        words = [python, Path(__file__).with_name("argn.py"), given, n, seed, minutes, out, "--threads", THREADS]
        said = subprocess.run([str(w) for w in [*words, *["--protect"][: int(protect)]]], stdout=subprocess.PIPE)
        if said.returncode:
            sys.exit(f"TabularARGN ended with status {said.returncode}; is mostlyai-engine installed for {python}?")
        drawn = pd.read_parquet(out)
        print(f"  TabularARGN {said.stdout.decode().splitlines()[-1]}", flush=True)
    for name in train:
        if not mixed.is_text(train[name]):
            drawn[name] = pd.to_numeric(drawn[name], errors="coerce").astype(train[name].dtype)
    return vacated(drawn[list(train)], slots_of(train))


# ── diabolo ───────────────────────────────────────────────────────────────────────────────────────


def fitted(train: pd.DataFrame, seed: int, quick: bool):
    from diabolo import VariationalAutoencoder

    settings = {"epochs": 2 if quick else EPOCHS}
    if slots_of(train):
        settings["slots"] = SLOTS
    return VariationalAutoencoder(random_state=seed, **settings).fit(train)


def masked(train: pd.DataFrame, seed: int, quick: bool):
    """A masked autoencoder at its defaults, which draws without any training row."""
    from diabolo import MaskedAutoencoder

    settings = {"epochs": 2} if quick else {}
    if slots_of(train):
        settings["slots"] = SLOTS
    return MaskedAutoencoder(random_state=seed, **settings).fit(train)


def second_judge(real: np.ndarray, drawn: np.ndarray, seed: int) -> float:
    """AUROC of telling drawn rows from real ones by a random forest, five folds."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_score

    judge = RandomForestClassifier(200, min_samples_leaf=5, random_state=seed)
    x, y = np.concatenate([real, drawn]), np.repeat([0, 1], [len(real), len(drawn)])
    return float(cross_val_score(judge, x, y, cv=5, scoring="roc_auc").mean())


def judged(drawn: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict[str, object]:
    from diabolo.config import build_config
    from diabolo.data.matching import matched
    from diabolo.data.schema import infer_schema
    from diabolo.data.table import as_table
    from diabolo.generate.fidelity import fidelity_of

    config = build_config({"slots": SLOTS} if slots_of(train) else {})
    seen = as_table(train)
    schema = infer_schema(seen.values, seen.names, seen.dtypes, config, seen.levels)
    real, new, known = (matched(as_table(t), schema, "the table").values for t in (test, drawn, train))
    f = fidelity_of(real, new, schema, known, seed)
    return {
        "auroc": f.auroc,
        "forest": second_judge(real, new, seed),
        "columns": float(np.mean([c.distance for c in f.columns])),
        "expected": f.expected_distance,
        "correlations": f.correlation_error,
        "closer": f.copying.closer,
        "excess": f.copying.excess,
        "alarm": f.copying.alarm,
        "identical": f.copying.identical_drawn,
        "identical_held_out": f.copying.identical_held_out,
    }


def samplers(train: pd.DataFrame, n: int, seed: int, args) -> dict[str, Callable[[], pd.DataFrame]]:
    """What draws n rows, by name. A fit is made when it is first asked for; methods of one model share it."""
    vae = functools.cache(lambda: fitted(train, seed, args.quick))
    out: dict[str, Callable[[], pd.DataFrame]] = {
        "diabolo": lambda: vae().sample(n, random_state=seed),
        "diabolo, decoder resampled": lambda: vae().sample(n, random_state=seed, method="resampled"),
        "diabolo, decoder alone": lambda: vae().sample(n, random_state=seed, method="mixture"),
        "diabolo, masked": lambda: masked(train, seed, args.quick).sample(n, random_state=seed, method="masked"),
        "Gaussian copula": lambda: copula(train, n, seed),
        "independent columns": lambda: independent(train, n, seed),
    }
    if args.tvae:
        out["TVAE"] = lambda: tvae(train, n, seed)
    if args.argn:
        minutes = 0.2 if args.quick else args.argn_minutes
        out["TabularARGN"] = lambda: argn(train, n, seed, args.argn, minutes, protect=False)
        out["TabularARGN, protected"] = lambda: argn(train, n, seed, args.argn, minutes, protect=True)
    return {k: v for k, v in out.items() if args.methods is None or k in args.methods}


def run(name: str, seed: int, args) -> list[dict[str, object]]:
    frame = TABLES[name]()
    train, test = split(frame.iloc[:3000] if args.quick else frame, seed, args.rows)
    out = []
    for method, draw in samplers(train, len(test), seed, args).items():
        stem = f"{name}-{seed}-{method.replace(' ', '_').replace(',', '')}{'-quick' if args.quick else ''}"
        stem += f"-{args.rows}" if args.rows else ""
        path = Path(args.cache) / f"{stem}.json"
        if path.exists():
            out.append(json.loads(path.read_text()))
            continue
        begun = time.perf_counter()
        drawn = draw()
        one = {"table": name, "seed": seed, "method": method, "train": len(train), "test": len(test)}
        one |= {"seconds": time.perf_counter() - begun} | judged(drawn, train, test, seed)
        path.write_text(json.dumps(one))
        out.append(one)
        seconds = f"{one['seconds']:.0f} s"
        print(
            f"  {name} {seed} {method:<24} AUROC {one['auroc']:.4f}, forest {one['forest']:.4f}  {seconds}", flush=True
        )
    return out


def table(results: list[dict[str, object]]) -> list[str]:
    """Mean ± spread over seeds, a line per table and method."""
    lines = [
        "| table | rows fitted | method | AUROC | by a forest | columns | correlations | closer to training rows | "
        "copies | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    frame = pd.DataFrame(results)
    for (name, method), part in frame.groupby(["table", "method"], sort=False):
        m, s = part.mean(numeric_only=True), part.std(numeric_only=True, ddof=1).fillna(0.0)
        alarm = f"{int(part['alarm'].sum())} of {len(part)}"
        lines.append(
            f"| {name} | {int(m['train']):,} | {method} | {m['auroc']:.3f} ± {s['auroc']:.3f} | "
            f"{m['forest']:.3f} ± {s['forest']:.3f} | {m['columns']:.3f} | "
            f"{m['correlations']:.3f} | {m['closer']:.3f} | {alarm} | {m['seconds']:.0f} |"
        )
    return lines


def main() -> None:
    options = parser(__doc__, pairs=3)
    options.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    options.add_argument("--seeds", nargs="+", type=int, help="seeds in place of 0, 1, ... --pairs")
    options.add_argument("--methods", nargs="+", help="names of methods, for some of them alone")
    options.add_argument("--rows", type=int, help="rows fitted and rows drawn at most (default: 20,000 and 10,000)")
    options.add_argument("--tvae", action="store_true", help="also TVAE, of the package ctgan")
    options.add_argument("--argn", metavar="PYTHON", help="also TabularARGN, by this interpreter, see argn.py")
    options.add_argument(
        "--argn-minutes", type=float, default=14400.0, help="of its training at most (default: its own)"
    )
    options.add_argument("--cache", default=".bench-generate", help="folder of results (default: .bench-generate)")
    args = options.parse_args()
    Path(args.cache).mkdir(parents=True, exist_ok=True)
    print(json.dumps(machine()))
    results = []
    for name in args.tables:
        for seed in args.seeds or range(1 if args.quick else args.pairs):
            results += run(name, seed, args)
    print("\n".join(table(results)))
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
