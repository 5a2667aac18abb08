"""Sparse codes of digits, MNIST and LHC events: how sparse rows are, how few are loud, what is lost, and AUROC.

Every figure is of rows that were not fitted. Hoyer's sparsity of a row is (√K − Σ|z|/‖z‖) / (√K − 1), here the median.
The loudest tenth of rows has this share of the squares of codes over their rms; "the cells themselves" has the share
of the squares of centred cells over theirs. The variance lost is Σ (x̂ − x)² over Σ (x − mean)²; of events each column
has unit variance, an angle is its cosine and sine, and objects that are not there count nothing.

AUROC: scikit-learn's digit 8 left out of a second fit of 1,200 rows, MNIST's digit 8 left out of the only fit, the two
signals of LHC events. "k of 64" and the penalties are beside the default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import common
import lhc
import numpy as np
from mnist_digits import data as mnist_images
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from diabolo import Autoencoder

L1 = {"latent_dim": 64, "regularizer": "prior", "prior": "laplace"}
PLAIN = {
    "no penalty": {},
    "`topk`, the default of `SparseAutoencoder`": {"latent": "topk"},
    "`topk`, K = 64, k = 8": {"latent_dim": 64, "latent": {"name": "topk", "k": 8}},
}
PENALTIES = {
    "L1 by the decoder, β = 0.1": {**L1, "beta": 0.1},
    "L1 by the decoder, β = 0.3": {**L1, "beta": 0.3},
    "L1 by the rms, β = 0.1": {**L1, "beta": 0.1, "code_scale": "rms"},
    "L1 by the rms, β = 1": {**L1, "beta": 1.0, "code_scale": "rms"},
}
#: Goals of the default: most of loudness, of loss, least sparsity, most that `profile` is below `nll`.
GOALS = {"loudest": 0.3, "lost": 0.25, "sparsity": 0.5, "behind": 0.05}


@dataclasses.dataclass
class Sample:
    """Rows to fit, rows like them, and odd ones by name; `fitted` are those of the fit that AUROC is of."""

    train: object
    rows: object
    normal: object
    odd: dict[str, object]
    fitted: object = None
    cells: Callable[[object], np.ndarray] = lambda rows: np.asarray(rows, np.float64).reshape(len(rows), -1)


def digits(seed: int, quick: bool) -> Sample:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))
    X, y = X[order] / 16, y[order]
    others = X[y != 8]
    return Sample(X[:1400], X[1400:], others[1200:], {"8": X[y == 8]}, others[:1200])


def mnist(seed: int, quick: bool) -> Sample:
    """10,000 training images of the other digits; 2,000 test images of theirs, and all eights among these."""
    x, y, test, truth = mnist_images()
    rng = np.random.default_rng(seed)
    train, normal = rng.permutation(np.flatnonzero(y != 8)), rng.permutation(np.flatnonzero(truth != 8))
    rows = test[normal[: 200 if quick else 2_000]]
    return Sample(x[train[: 1_000 if quick else 10_000]], rows, rows, {"8": test[truth == 8][: 100 if quick else None]})


def events(seed: int, quick: bool) -> Sample:
    """20,000 background events; 5,000 more, and as many of each signal."""
    import pandas as pd

    names, train, judged = lhc.read(quick, seed, 2_000 if quick else 20_000, 500 if quick else 5_000)
    made = {k: pd.DataFrame(v, columns=names) for k, v in judged.items()}
    normal = made.pop("background")
    there = normal.to_numpy()[:, [names.index(n.rpartition("_")[0] + "_pt") for n in names]] > 0

    def cells(rows: object) -> np.ndarray:
        values, out = np.asarray(rows, np.float64), []
        for j, name in enumerate(names):
            column = np.where(there[:, j], values[:, j], np.nan)
            out += [np.cos(column), np.sin(column)] if name.endswith("_phi") else [column]
        return np.stack(out, axis=1) / unit

    unit = 1.0
    with np.errstate(invalid="ignore"):
        whole = cells(normal)
        spread = np.array([np.nanstd(c) if np.isfinite(c).sum() > 1 else 0 for c in whole.T])
    unit = np.where(spread > 0, spread, np.inf)
    return Sample(pd.DataFrame(train, columns=names), normal, normal, made, cells=cells)


SETS = {"digits": digits, "MNIST": mnist, "LHC events": events}


def loudest(squares: np.ndarray) -> float:
    """The share of the loudest tenth of rows, each column's squares being of mean 1."""
    energy = np.sort((squares / (squares.mean(0) + 1e-12)).mean(1))
    return float(energy[-len(energy) // 10 :].sum() / energy.sum())


def centred(cells: np.ndarray) -> np.ndarray:
    """Squares of centred cells, of columns that are not constant; 0 where a cell is not there."""
    kept = cells[:, [len(np.unique(c[np.isfinite(c)])) > 1 for c in cells.T]]
    return np.nan_to_num(kept - np.nanmean(kept, axis=0)) ** 2


def told(settings: dict[str, object], sample: Sample, seed: int) -> dict[str, float]:
    ae = Autoencoder(**settings, random_state=seed).fit(sample.train)
    z = np.asarray(ae.transform(sample.rows), np.float64)
    root, ones, twos = np.sqrt(z.shape[1]), np.abs(z).sum(1), np.maximum(np.linalg.norm(z, axis=1), 1e-12)
    x = sample.cells(sample.rows)
    lost = np.nansum((sample.cells(ae.reconstruct(sample.rows)) - x) ** 2) / centred(x).sum()
    out = {"K": z.shape[1], "loudest": loudest(z**2), "lost": lost}
    out["sparsity"] = float(np.median((root - ones / twos) / (root - 1)))
    if sample.fitted is not None:
        ae = Autoencoder(**settings, random_state=seed).fit(sample.fitted)
    for score in ("nll", "profile"):
        usual = ae.anomaly_score(sample.normal, score)
        for name, rows in sample.odd.items():
            found = ae.anomaly_score(rows, score)
            truth = np.repeat([0, 1], [len(usual), len(found)])
            out[f"{score} {name}"] = float(roc_auc_score(truth, np.concatenate([usual, found])))
    return out


def missed(found: dict[str, float]) -> Iterator[str]:
    """Goals that a row of figures misses."""
    for name in ("loudest", "lost"):
        if found[name] > GOALS[name]:
            yield f"{name} {found[name]:.3f}"
    if found["sparsity"] < GOALS["sparsity"]:
        yield f"sparsity {found['sparsity']:.3f}"
    for name in (n.removeprefix("nll ") for n in found if n.startswith("nll ")):
        behind = found[f"nll {name}"] - found[f"profile {name}"]
        if abs(behind) > GOALS["behind"]:
            yield f"profile behind nll by {behind:.3f} ({name})"


def main() -> None:
    parser = common.parser(__doc__, pairs=2)
    parser.add_argument("--only", choices=SETS, nargs="+", default=list(SETS), help="these sets (default: all)")
    parser.add_argument("--models", nargs="+", help="models whose names hold one of these words (default: all)")
    options = parser.parse_args()
    print(common.machine_line())
    results: dict[str, list[dict[str, float]]] = {}
    for kind in options.only:
        models = PLAIN | (PENALTIES if kind == "digits" else {})
        for seed in range(options.pairs):
            sample = SETS[kind](seed, options.quick)
            itself = loudest(centred(sample.cells(sample.rows)))
            print(f"{kind}, seed {seed}: loudest tenth of the cells themselves {itself:.2f}", flush=True)
            for name, settings in models.items():
                if options.models and not any(word in name for word in options.models):
                    continue
                found = told(settings, sample, seed)
                results.setdefault(f"{kind} | {name}", []).append(found)
                figures = ", ".join(f"{k} {v:.3f}" if k != "K" else f"K {v}" for k, v in found.items())
                print(f"  {name}: {figures}", flush=True)
                if "default" in name:
                    print(f"  goals of the default: missed {', '.join(missed(found)) or 'none'}", flush=True)
    common.write_json(options.json, "sparse", options, results)


if __name__ == "__main__":
    main()
