"""The default score of tables, and the rules that it was chosen among, beside KNN on two collections of tables.

One-class tables of OddBench (DIABOLO_DATA/oddbench: train, test, test_labels) and ADBench (DIABOLO_DATA/adbench, split
as in `bench/protocols.py`); ADBench also unsupervised, fit and scored on all rows. KNN is one line: the mean Euclidean
distance to the nearest 5 of all training rows, standardised. A rule is read off the fitted detector's own views: how
often each counts, and how many neighbors. The detector keeps a fifth of the rows to calibrate on, KNN none.

Rules are chosen on a half of the tables, drawn by a seed within each collection, and judged on the other half; then the
reverse. Results are kept as lines of JSON under --cache, by table, protocol, method and a hash of diabolo's source.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common  # pins threads, so it comes first
import numpy as np
import protocols
import rivals
import torch

#: Test rows at most, of which anomalies keep their share.
MOST_TEST = 5_000
#: Neighbors, and weights of the views near in x, n and r, and wide. The shipped rule is the first.
RULES = {
    f"{name}, k = {k}": (k, weights)
    for k in (3, 5)
    for name, weights in {
        "x + n + r + 3 wide": (1, 1, 1, 3),
        "x + n + r + 2 wide": (1, 1, 1, 2),
        "x + n + r + wide": (1, 1, 1, 1),
        "x + n + r": (1, 1, 1, 0),
        "x + n + 2 wide": (1, 1, 0, 2),
        "x + n": (1, 1, 0, 0),
    }.items()
}
SHIPPED, KNN, FOREST, NLL = next(iter(RULES)), "KNN", "IForest", "nll"
Split = tuple[np.ndarray, np.ndarray, np.ndarray]


def one_class(path: Path) -> Split:
    """Training rows, test rows and which of these are anomalies."""
    with np.load(path, allow_pickle=False) as data:
        if "test_labels" in data:
            return data["train"].astype(float), data["test"].astype(float), data["test_labels"] != 0
    parts = protocols.split(protocols.read(path), "one-class", 0)
    return parts.raw_train, parts.raw_test, parts.anomalous


def unsupervised(path: Path) -> Split:
    parts = protocols.split(protocols.read(path), "unsupervised", 0)
    return parts.raw_train, parts.raw_test, parts.anomalous


def thinned(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The split with at most `MOST_TEST` test rows, and their positions."""
    train, test, anomalous = split
    rng, at = np.random.default_rng(0), np.arange(len(test))
    if len(test) > MOST_TEST:
        odd = rng.permutation(np.flatnonzero(anomalous))[: max(30, MOST_TEST * int(anomalous.sum()) // len(test))]
        at = np.sort(np.concatenate([odd, rng.permutation(np.flatnonzero(~anomalous))[: MOST_TEST - len(odd)]]))
    return train, test[at], anomalous[at], at


def knn(train: np.ndarray, test: np.ndarray, own: np.ndarray | None) -> np.ndarray:
    """Mean distance to the nearest 5; a training row does not count itself."""
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    a, b = (np.nan_to_num(scaler.transform(part)) for part in (train, test))
    distance, at = NearestNeighbors(n_neighbors=6).fit(a).kneighbors(b)
    if own is not None:
        distance[at == own[:, None]] = np.inf
    return np.sort(distance, axis=1)[:, :5].mean(axis=1)


def forest(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    from sklearn.ensemble import IsolationForest

    fitted = IsolationForest(random_state=0).fit(np.nan_to_num(train))
    return -fitted.score_samples(np.nan_to_num(test))


def of_detector(train: np.ndarray, test: np.ndarray, settings: dict) -> dict[str, np.ndarray]:
    """Scores of every rule, by the detector's own views, and of the model's −log p(x|z)."""
    from diabolo import AnomalyDetector, VariationalAutoencoder
    from diabolo.data.matching import matched
    from diabolo.data.table import as_table
    from diabolo.detect import views as module
    from diabolo.detect.scores.auto import views_of

    detector = AnomalyDetector(VariationalAutoencoder(random_state=0, **settings), random_state=0).fit(train)
    out = {SHIPPED: detector.anomaly_score(test)}
    reference, encoding = detector.calibrated_.reference, detector.autoencoder_.model_.encoding
    values = matched(as_table(test), encoding.schema, "the detector").values
    own = torch.from_numpy(reference.stored.positions(values))
    with torch.inference_mode():
        rows = encoding.encode(torch.from_numpy(values))
        for k in sorted({k for k, _ in RULES.values()}):
            module.NEAR = k
            reference.derived.clear()
            found = views_of(reference)
            *views, contradictions = found.measured(rows, own).numpy()
            far, new = np.stack(views) / found.unit[:, None].numpy(), found.novelty(rows).numpy() + contradictions
            for name, (near, weights) in RULES.items():
                if near == k and name != SHIPPED:
                    out[name] = np.array(weights) @ far / sum(weights) + 1e3 * new
        module.NEAR = 3
        reference.derived.clear()
    detector.set_params(score="nll")
    return out | {NLL: detector.anomaly_score(test)}


def measured(path: Path, protocol: str, settings: dict) -> dict[str, list[float]]:
    """AUROC and average precision of every method, in per cent."""
    train, test, anomalous, at = thinned(one_class(path) if protocol == "one-class" else unsupervised(path))
    own = at if protocol == "unsupervised" else None
    scores = {KNN: knn(train, test, own), FOREST: forest(train, test), **of_detector(train, test, settings)}
    return {name: [100 * v for v in protocols.judge(anomalous, s)[:2]] for name, s in scores.items()}


# ── what is printed ───────────────────────────────────────────────────────────────────────────────


class Results:
    """Figures by method, [tables, 2], and which tables are of which kind."""

    def __init__(self, lines: list[dict]) -> None:
        self.lines = lines
        self.kinds = np.array([line["kind"] for line in lines])
        self.found = {name: np.array([line["found"][name] for line in lines]) for name in lines[0]["found"]}

    def gains(self, name: str, over: str, mask: np.ndarray) -> np.ndarray:
        return (self.found[name] - self.found[over])[mask]

    def said(self, name: str, over: str, mask: np.ndarray) -> str:
        gain = self.gains(name, over, mask)
        error = gain.std(axis=0, ddof=1) / len(gain) ** 0.5
        won, lost = ((sign * gain[:, 0] > 0.005).sum() for sign in (1, -1))
        return (
            f"{gain[:, 0].mean():+.2f} ± {error[0]:.2f} / {gain[:, 1].mean():+.2f} ± {error[1]:.2f}, {won}–{lost}, "
            f"worst {gain[:, 0].min():+.1f}"
        )


def report(results: Results, seeds: int) -> None:
    kinds = {"one-class, all": results.kinds != "unsupervised"}
    kinds |= {name: results.kinds == name for name in ("oddbench", "adbench", "unsupervised")}
    for kind, mask in kinds.items():
        if mask.sum() < 2:
            continue
        print(f"\n{kind}: {mask.sum()} tables; AUROC / average precision, and minus KNN ± standard error, won–lost")
        for name, found in results.found.items():
            auroc, precision = found[mask].mean(axis=0)
            print(f"  {name:<28} {auroc:5.1f} / {precision:4.1f}   {results.said(name, KNN, mask)}")
    print(f"\nhalves, of {len(RULES)} rules; a table counts by both protocols where it has both")
    tables = np.array([line["table"] for line in results.lines])
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        names = rng.permutation(np.unique(tables))
        half = np.isin(tables, names[: len(names) // 2])
        for chosen_on, mask in (("first", half), ("second", ~half)):
            best = max(RULES, key=lambda name: results.gains(name, KNN, mask).mean())
            other = ~mask & kinds["one-class, all"]
            said = results.said(best, KNN, other)
            print(f"  seed {seed}, chosen on the {chosen_on} half: {best}; on the other: {said}")
    every = kinds["one-class, all"]
    print(f"\n{SHIPPED} minus the control x + n: {results.said(SHIPPED, 'x + n, k = 3', every)}")


def lines_of(options) -> Iterator[dict]:
    cache = Path(options.cache)
    cache.mkdir(parents=True, exist_ok=True)
    settings = {"epochs": options.epochs, "robust": options.robust}
    version = rivals.source_version() if not options.stale else None
    for kind in ("oddbench", "adbench", "unsupervised"):
        folder = common.data_path("adbench" if kind == "unsupervised" else kind)
        paths = sorted(folder.glob("*.npz"))
        for path in paths[:3] if options.quick else paths:
            kept = cache / f"{kind}-{path.stem}.json"
            line = json.loads(kept.read_text()) if kept.exists() else {}
            if not line or (version and line["version"] != version) or line["settings"] != settings:
                with common.Clock() as clock, warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    protocol = "unsupervised" if kind == "unsupervised" else "one-class"
                    found = measured(path, protocol, settings)
                line = {"kind": kind, "table": path.stem, "settings": settings, "found": found}
                line |= {"version": version or rivals.source_version(), "seconds": clock.cpu}
                kept.write_text(json.dumps(line))
                print(f"# {kind} {path.stem}: {clock.cpu:.1f} s", file=sys.stderr, flush=True)
            yield line


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--cache", default="out/tables", help="results (default: out/tables)")
    parser.add_argument("--epochs", type=int, default=1, help="of the autoencoder; only nll reads it (default: 1)")
    parser.add_argument("--robust", default="none", help="of the autoencoder (default: none)")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the halves (default: 3)")
    parser.add_argument("--stale", action="store_true", help="take lines of any version of diabolo")
    options = parser.parse_args()
    results = Results(list(lines_of(options)))
    print(common.machine_line())
    report(results, options.seeds)
    common.write_json(options.json, "tables", options, results.lines)


if __name__ == "__main__":
    sys.exit(main())
