"""LHC events: diabolo's scores beside IsolationForest, KNN, PyOD's AE and VAE, and one-line baselines.

Background alone is fitted on, without labels, and no object is named: the fit finds them. 30,000 background events are
held back and judged with every file `signal_*.parquet` in DIABOLO_DATA/lhc. Per signal and method: AUROC, the share of
the signal found at one and at a tenth of a percent of false alarms, the significance improvement (largest share found /
√ share of false alarms, from 1e-3 on), and paired bootstrap differences; per method: how far the cut shapes the
invariant mass of all objects. Each method's scores are kept in --cache, so that a run that was cut short goes on;
diabolo's by a hash of its source.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
from common import Clock
from events import CUT, FIGURES, RATES, invariant_mass, judge, mean_ranks, pictures, sculpting

SLOTS = {"e": 4, "mu": 4, "j": 10}
HELD_BACK, STORED, NEIGHBORS = 30_000, 30_000, 5

#: Scores of several names for tables of events.
Scoring = Callable[[np.ndarray], dict[str, np.ndarray]]
Fit = Callable[[np.ndarray, list[str], int], Scoring]


# ── the events ────────────────────────────────────────────────────────────────────────────────────


def read(
    quick: bool, seed: int, rows: int | None = None, each: int | None = None
) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Column names, training background, and what is judged, "background" and each signal: the first so many rows."""
    import pandas as pd

    folder = common.data_path("lhc")
    background = pd.read_parquet(folder / "background_train.parquet").drop(columns="process")
    names = list(background.columns)
    values = background.to_numpy(np.float32)
    order = np.random.default_rng(seed).permutation(len(values))
    held = min(HELD_BACK, len(values) // 4)
    train, judged = values[order[held:]], {"background": values[order[:held]]}
    for path in sorted(folder.glob("signal_*.parquet")):
        judged[path.stem.removeprefix("signal_")] = pd.read_parquet(path)[names].to_numpy(np.float32)
    if quick:
        rows, each = 10_000, 5_000
    train, judged = train[:rows], {k: v[:each] for k, v in judged.items()}
    return names, train, judged


def momenta(names: list[str], met: bool) -> list[int]:
    return [i for i, n in enumerate(names) if n.endswith("_pt") and (met or n != "met_pt")]


# ── the methods ───────────────────────────────────────────────────────────────────────────────────


def diabolo(quick: bool) -> Fit:
    def fit(x: np.ndarray, names: list[str], seed: int) -> Scoring:
        import pandas as pd

        from diabolo import AnomalyDetector, VariationalAutoencoder

        settings = {"epochs": 2} if quick else {}
        ae = VariationalAutoencoder(random_state=seed, **settings)
        detector = AnomalyDetector(ae, random_state=seed).fit(pd.DataFrame(x, columns=names))
        return lambda rows: diabolo_scores(detector, rows)

    return fit


def diabolo_scores(detector: object, rows: np.ndarray) -> dict[str, np.ndarray]:
    from diabolo.detect.choice import applicable
    from diabolo.detect.scoring import score_table

    # Hundreds of passes per row: a search for the best code.
    wanted = [n for n in applicable(detector.calibrated_.reference) if n != "profile"]
    found = score_table(detector.calibrated_.reference, rows, wanted)
    # "auto" by name is the combined score, whatever the default resolves to.
    named = {f"diabolo {n.replace('auto', 'combined')}": s for n, s in found.items()}
    return {"diabolo": found[detector.score_], **named}


def standardised(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler().fit(x).transform


def forest(x: np.ndarray, names: list[str], seed: int) -> Scoring:
    from pyod.models.iforest import IForest

    model = IForest(random_state=seed).fit(x)
    return lambda rows: {"IForest": model.decision_function(rows)}


def knn(x: np.ndarray, names: list[str], seed: int) -> Scoring:
    from pyod.models.knn import KNN

    scale = standardised(x)
    some = np.random.default_rng(seed).permutation(len(x))[:STORED]
    model = KNN(n_neighbors=NEIGHBORS, algorithm="brute").fit(scale(x[some]))
    return lambda rows: {"KNN": model.decision_function(scale(rows))}


def pyod_network(which: str, quick: bool) -> Fit:
    """PyOD's defaults, which standardise too."""

    def fit(x: np.ndarray, names: list[str], seed: int) -> Scoring:
        from pyod.models.auto_encoder import AutoEncoder
        from pyod.models.vae import VAE

        model = (AutoEncoder if which == "AE" else VAE)(
            verbose=0, random_state=seed, **({"epoch_num": 1} if quick else {})
        )
        model.fit(x)
        return lambda rows: {f"PyOD {which}": model.decision_function(rows, batch_size=4096)}

    return fit


def baselines(x: np.ndarray, names: list[str], seed: int) -> Scoring:
    every, objects = momenta(names, met=True), momenta(names, met=False)
    return lambda rows: {
        "sum of pT": rows[:, every].sum(axis=1, dtype=np.float64),
        "number of objects": (rows[:, objects] > 0).sum(axis=1).astype(np.float64),
    }


# ── running, with a cache ─────────────────────────────────────────────────────────────────────────


def source_hash() -> str:
    import diabolo

    digest = hashlib.sha256()
    for path in sorted(Path(diabolo.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def run(
    name: str, fit: Fit, train: np.ndarray, judged: dict[str, np.ndarray], names: list[str], options: argparse.Namespace
) -> dict[str, dict[str, np.ndarray]]:
    """Scores by score and sample, of the cache where it has them."""
    mark = hashlib.sha256(f"{train.shape} {train[:100].tobytes().hex()} {[len(v) for v in judged.values()]}".encode())
    version = f"-{source_hash()}" if name == "diabolo" else ""
    path = Path(options.cache) / f"{name.replace(' ', '_')}-{options.seed}-{mark.hexdigest()[:12]}{version}.npz"
    if not path.exists():
        with Clock() as fitting:
            scoring = fit(train, names, options.seed)
        found, seconds = {}, 0.0
        for sample, rows in judged.items():
            with Clock() as clock:
                scores = scoring(rows)
            seconds += clock.wall
            found |= {f"{score}|{sample}": s for score, s in scores.items()}
        found["seconds|fit"], found["seconds|score"] = np.array([fitting.wall]), np.array([seconds])
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, **found)
        part.replace(path)
    out: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as file:
        rows = sum(len(v) for v in judged.values())
        fitted, scored = float(file["seconds|fit"][0]), float(file["seconds|score"][0])
        print(f"  {name:<18} fit {fitted:7.1f} s, scored {rows / max(scored, 1e-9):>10,.0f} rows/s", flush=True)
        for key in file.files:
            score, sample = key.split("|")
            if score != "seconds":
                out.setdefault(score, {})[sample] = file[key]
    return out


def main() -> None:
    parser = common.parser(__doc__, pairs=1)
    parser.add_argument("--seed", type=int, default=0, help="of the split and of every method (default: 0)")
    parser.add_argument("--cache", default="out/lhc", metavar="FOLDER", help="where scores are kept (default: out/lhc)")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="fit these alone, to fill the cache in pieces")
    parser.add_argument("--rows", type=int, help="training events at most (default: all)")
    parser.add_argument("--each", type=int, help="events of each kind to judge at most (default: all)")
    parser.add_argument("--draws", type=int, default=200, help="bootstrap draws (default: 200)")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    names, train, judged = read(options.quick, options.seed, options.rows, options.each)
    methods: dict[str, Fit] = {
        "diabolo": diabolo(options.quick),
        "IForest": forest,
        "KNN": knn,
        "PyOD AE": pyod_network("AE", options.quick),
        "PyOD VAE": pyod_network("VAE", options.quick),
        "baselines": baselines,
    }
    print(common.machine_line())
    print(f"\n{len(train):,} training events; judged: {', '.join(f'{len(v):,} {k}' for k, v in judged.items())}")
    scores: dict[str, dict[str, np.ndarray]] = {}
    for name, fit in methods.items():
        if not options.only or name in options.only:
            scores |= run(name, fit, train, judged, names, options)
    if options.only:
        return
    report(scores, judged, names, options)


def show(
    signal: str, exact: dict[str, np.ndarray], drawn: dict[str, np.ndarray], mine: list[str], rivals: list[str]
) -> dict[str, object]:
    """Print one signal's table, best AUROC first; return its numbers."""
    print(
        f"\n{signal}: AUROC, share found at {' and '.join(f'{r:g}' for r in RATES)} false alarms (%), "
        "significance improvement; 95 % intervals"
    )
    best = max(rivals, key=lambda n: exact[n][0])
    out: dict[str, object] = {"best_rival": best}
    for name in sorted(exact, key=lambda n: -exact[n][0]):
        low, high = np.quantile(drawn[name], [0.025, 0.975], axis=0)
        cells = [f"{100 * exact[name][i]:5.1f} [{100 * low[i]:.1f}–{100 * high[i]:.1f}]" for i in range(3)]
        cells.append(f"{exact[name][3]:.2f} [{low[3]:.2f}–{high[3]:.2f}]")
        gap = ""
        if name in mine:
            difference = 100 * (drawn[name] - drawn[best])[:, 0]
            a, b = np.quantile(difference, [0.025, 0.975])
            gap = f"  {100 * (exact[name][0] - exact[best][0]):+.1f} [{a:+.1f}, {b:+.1f}] to {best}"
        print(f"  {name:<28} {' '.join(f'{c:<19}' for c in cells)}{gap}")
        out[name] = {f: [float(exact[name][i]), float(low[i]), float(high[i])] for i, f in enumerate(FIGURES)}
    return out


def report(
    scores: dict[str, dict[str, np.ndarray]],
    judged: dict[str, np.ndarray],
    names: list[str],
    options: argparse.Namespace,
) -> None:
    mine = [n for n in scores if n.startswith("diabolo")]
    rivals = [n for n in scores if n not in mine]
    masses = {k: invariant_mass(v, names) for k, v in judged.items()}
    results: dict[str, object] = {}
    areas: dict[str, dict[str, float]] = {n: {} for n in scores}
    for signal in judged:
        if signal == "background":
            continue
        exact, drawn = judge(scores, signal, 20 if options.quick else options.draws, options.seed)
        results[signal] = show(signal, exact, drawn, mine, rivals)
        for name in scores:
            areas[name][signal] = float(exact[name][0])
    default = "diabolo"
    ranks = mean_ranks({n: areas[n] for n in [default, *rivals]})
    ranking = ", ".join(f"{n} {r:.1f}" for n, r in sorted(ranks.items(), key=lambda v: v[1]))
    print(f"\nmean rank by AUROC, the default and the rivals: {ranking}")
    worst = min(areas[default][s] - max(areas[r][s] for r in rivals) for s in areas[default])
    first = "yes" if ranks[default] == min(ranks.values()) else "no"
    print(
        f"  {default}: best mean rank: {first}; largest gap to the best rival or baseline {100 * worst:+.1f} points, "
        f"target ≥ −1: {'reached' if worst >= -0.01 else 'missed'}"
    )
    print(f"\nbackground's invariant mass at a {CUT:.0%} cut (`beyond` near 0: a bump; near 1: large masses)")
    shapes = {n: sculpting(s["background"], masses["background"], options.seed) for n, s in scores.items()}
    for name, shape in sorted(shapes.items(), key=lambda v: v[1]["bits"]):
        print(
            f"  {name:<28} {shape['bits']:.3f} bits (chance {shape['chance']:.3f}), "
            f"most pass at {shape['peak']:,.0f} GeV, beyond {shape['beyond']:.2f}"
        )
    results |= {"mean_ranks": ranks, "sculpting": shapes}
    shown = [default, *(n for n in rivals)][:8]
    pictures(scores, masses, shown, Path(options.cache).parent)
    common.write_json(options.json, "lhc", options, results)


if __name__ == "__main__":
    sys.exit(main())
