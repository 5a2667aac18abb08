"""Missing cells filled in by every method, beside IterativeImputer and column means.

15 % of all cells are removed by seed; a table is fitted with its holes and filled in. Numbers: root mean square error
over the column's standard deviation, mean over columns, and R² = 1 − Σ error² / Σ (x − column's mean)² over all removed
cells of standardized columns. Categories: share of wrong levels. Also draws: their variance over the squared error of
the mean, 1 where the spread of multiple imputations is that of the error. Settings are each method's defaults.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import machine_line, parser

import numpy as np  # isort: skip
import pandas as pd
from mixed import breast_cancer, diabetes, is_text, iterative, simple, wine

REMOVED, DRAWS = 0.15, 4


def linear() -> pd.DataFrame:
    """2,000 rows of three factors and noise in eight columns."""
    rng = np.random.default_rng(0)
    return named(rng.normal(size=(2000, 3)) @ rng.normal(size=(3, 8)) + 0.3 * rng.normal(size=(2000, 8)))


def curved() -> pd.DataFrame:
    """2,000 rows of two factors, four functions of them, and noise."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-2, 2, size=(2000, 2))
    more = [np.sin(2 * t[:, 0]), t[:, 0] * t[:, 1], t[:, 1] ** 2, np.cos(t.sum(1))]
    return named(np.column_stack([t, *more]) + 0.1 * rng.normal(size=(2000, 6)))


def named(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[f"x{i}" for i in range(values.shape[1])])


TABLES = {"linear": linear, "curved": curved, "breast_cancer": breast_cancer, "wine": wine, "diabetes": diabetes}


def told(filled: pd.DataFrame, truth: pd.DataFrame, holes: pd.DataFrame) -> dict[str, float]:
    """Normalised error, R², and share of wrong levels of the removed cells."""
    numbers = [name for name in truth if not is_text(truth[name])]
    text = [name for name in truth if is_text(truth[name])]
    scale = truth.std(numeric_only=True)
    wrong = [float((filled[n] != truth[n])[holes[n].isna()].mean()) for n in text]
    gone = holes[numbers].isna().to_numpy()
    missed = ((filled[numbers].astype(float) - truth[numbers]) / scale[numbers]).to_numpy()
    spread = ((truth[numbers] - truth[numbers].mean()) / scale[numbers]).to_numpy()
    each = [np.sqrt((missed[gone[:, i], i] ** 2).mean()) for i in range(len(numbers))]
    return {
        "error": float(np.mean(each)),
        "r2": 1 - (missed[gone] ** 2).sum() / (spread[gone] ** 2).sum(),
        "wrong": float(np.mean(wrong)) if wrong else np.nan,
    }


def ours(method: str, holes: pd.DataFrame, seed: int, quick: bool) -> tuple[pd.DataFrame, np.ndarray]:
    """The table filled in by a method's defaults, and draws of it."""
    from diabolo import Autoencoder
    from diabolo.config import METHODS

    ae = Autoencoder(**{**METHODS[method], "random_state": seed, **({"epochs": 3} if quick else {})}).fit(holes)
    draws = np.asarray(ae.reconstruct(holes, draws=DRAWS, random_state=seed, only_missing=True))
    return ae.reconstruct(holes, only_missing=True), draws


def main() -> None:
    from diabolo.config import METHODS

    options: argparse.ArgumentParser = parser(__doc__, pairs=2)
    options.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    options.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    args = options.parse_args()
    rivals: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "IterativeImputer": lambda holes: iterative(holes, holes),
        "IterativeImputer, trees": lambda holes: iterative(holes, holes, trees=True),
        "column means, modes": lambda holes: simple(holes, holes),
    }
    print(machine_line())
    print("| table | filled in by | error | R² | wrong levels | variance of draws / error² | seconds |")
    print("|---|---|---|---|---|---|---|")
    raw = []
    for table in args.tables:
        truth = TABLES[table]()
        for name in [*args.methods, *rivals]:
            found = []
            for seed in range(1 if args.quick else args.pairs):
                rng = np.random.default_rng(seed)
                holes = truth.mask(rng.random(truth.shape) < REMOVED)
                began = time.perf_counter()
                if name in rivals:
                    filled, ratio = rivals[name](holes), np.nan
                else:
                    filled, draws = ours(name, holes, seed, args.quick)
                    ratio = spread_of(draws, filled, truth, holes)
                found.append({**told(filled, truth, holes), "draws": ratio, "seconds": time.perf_counter() - began})
                raw.append({"table": table, "by": name, "seed": seed, **found[-1]})
            mean = pd.DataFrame(found).mean()
            cells = " | ".join("" if np.isnan(v) else f"{v:.3f}" for v in mean[["error", "r2", "wrong", "draws"]])
            print(f"| {table} | {name} | {cells} | {mean['seconds']:.1f} |", flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(raw))


def spread_of(draws: np.ndarray, filled: pd.DataFrame, truth: pd.DataFrame, holes: pd.DataFrame) -> float:
    """Variance of draws over the squared error of the mean, over removed cells of standardized numbers."""
    numbers = [i for i, name in enumerate(truth) if not is_text(truth[name])]
    own, scale = truth.iloc[:, numbers], truth.iloc[:, numbers].std().to_numpy()
    gone = holes.iloc[:, numbers].isna().to_numpy()
    variance = (draws[:, :, numbers] / scale).var(axis=0, ddof=1)[gone].mean()
    missed = ((filled.iloc[:, numbers].astype(float) - own) / scale).to_numpy()[gone]
    return float(variance / (missed**2).mean())


if __name__ == "__main__":
    main()
