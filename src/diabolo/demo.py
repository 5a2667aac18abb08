"""The main job on the sample of simulated LHC events that ships with the package (L5)."""

from __future__ import annotations

import time
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console

from diabolo.data.choosing import choose_columns
from diabolo.data.formats import atomic
from diabolo.data.reading import read_table
from diabolo.data.table import Table, from_values
from diabolo.errors import OutputError
from diabolo.estimators.detector import AnomalyDetector
from diabolo.estimators.named import VariationalAutoencoder
from diabolo.evaluation import Rivals
from diabolo.metrics import auroc
from diabolo.report import write_report
from diabolo.screen import console, print_table

__all__ = ["SLOTS", "run_demo"]

#: Zero-padded objects of the events: up to 4 electrons, 4 muons and 10 jets.
#: Rivals that are shown.
BESIDE = ("IsolationForest", "PCA")
SLOTS = {"e": 4, "mu": 4, "j": 10}
#: Background rows that are fitted and calibrated on; the rest is held back.
FITTED = 50_000
RATE = 0.01
#: Rows of each signal among the background of the report.
SHOWN = 150
SIGNALS = {"signal_LQ_btau": "leptoquarks → b τ", "signal_h0_tautau": "h⁰ → τ τ"}


def run_demo(out: Path, epochs: int | None = None) -> None:
    """Fit, score held-back background and two signals, print a table, write model, figure and report."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out}: {error.strerror}; choose another with --out") from None
    screen = console()
    screen.print("diabolo demo: simulated LHC events, one lepton; background only is fitted, labels never")
    background = _read("background")
    train, held_back = background.rows(slice(0, FITTED)), background.rows(slice(FITTED, None))
    begun = time.perf_counter()
    ae = VariationalAutoencoder(slots=SLOTS, epochs=epochs or 25, batch_size=512, verbose=1)
    detector = AnomalyDetector(ae, false_alarm_rate=RATE).fit(train)
    seconds = time.perf_counter() - begun
    model = out / "lhc.diabolo"
    detector.save(model)
    screen.print(
        f"fitted in {seconds:.0f} s on {detector.autoencoder_.n_train_:,} rows; "
        f"{detector.n_calibration_:,} more set the threshold for a {RATE:.0%} false-alarm rate\n"
    )
    forest = Rivals(train.values, seed=0)
    normal = _judge(detector, forest, held_back)
    flagged = int((normal["diabolo"] > detector.threshold_).sum())
    rate = f"{flagged / len(held_back):.2%}"
    rows = [("background, held back", f"{len(held_back):,}", f"{flagged:,}", rate, *[""] * len(normal))]
    judged: dict[str, dict[str, np.ndarray]] = {}
    for name, title in SIGNALS.items():
        found = judged[title] = _judge(detector, forest, _read(name))
        n = len(found["diabolo"])
        flagged = int((found["diabolo"] > detector.threshold_).sum())
        y = np.r_[np.zeros(len(held_back)), np.ones(n)]
        areas = [f"{auroc(y, np.r_[normal[k], found[k]]):.3f}" for k in normal]
        rows.append((title, f"{n:,}", f"{flagged:,}", f"{flagged / n:.1%}", *areas))
    headings = ("sample", "rows", "flagged", "rate", "AUROC", "IForest", "PCA", "no. of objects")
    print_table(screen, headings, rows, f"Score {detector.score_}, threshold {detector.threshold_:.2f}")
    screen.print(
        "rate: share flagged; for background it should be near 1 %. AUROC: 0.5 is chance, 1 is perfect.",
        style="dim",
    )
    written = [str(model), *_figure(out / "lhc.png", normal, judged, detector.threshold_, screen)]
    written.append(_report(model, held_back, out / "report.html"))
    screen.print(f"\nwritten: {', '.join(written)}")
    screen.print("\nNow on your own table (Parquet, CSV, ROOT, HDF5, npy, a folder, a URL):")
    screen.print("  diabolo fit DATA.parquet -o my.diabolo")
    screen.print("  diabolo score my.diabolo NEW.parquet -o scores.parquet --false-alarm-rate 0.01")
    screen.print("  diabolo evaluate my.diabolo LABELLED.parquet --label COLUMN")
    screen.print("\nThis model as a page and an endpoint, on http://127.0.0.1:8000:")
    screen.print(f"  diabolo serve {model}")


def _read(name: str) -> Table:
    with as_file(files("diabolo") / "sample" / f"{name}.parquet") as path:
        return read_table(path, choose_columns(path, apart=["process"])[0])[0]


def _judge(detector: AnomalyDetector, rivals: Rivals, rows: Table) -> dict[str, np.ndarray]:
    mine = detector.calibrated_.scores(rows.values)
    momenta = [i for i, n in enumerate(rows.names) if n.endswith("_pt") and n != "met_pt"]
    objects = (rows.values[:, momenta] > 0).sum(axis=1).astype(float)
    beside = {name: found for name, found in rivals.scores(rows.values).items() if name in BESIDE}
    return {"diabolo": mine, **beside, "number of objects": objects}


def _report(model: Path, held_back: Table, path: Path) -> str:
    """The page on held-back background with a few of each signal among it."""
    parts = {"background": held_back, **{title: _read(name).rows(slice(0, SHOWN)) for name, title in SIGNALS.items()}}
    values = np.concatenate([part.values for part in parts.values()])
    rows = from_values(values, held_back.names, held_back.dtypes, "arrow")
    process = np.repeat(list(parts), [len(part) for part in parts.values()])
    write_report(model, rows.append_column("process", pa.array(process.tolist())), path, label="process")
    return str(path)


def _figure(
    path: Path,
    normal: dict[str, np.ndarray],
    judged: dict[str, dict[str, np.ndarray]],
    threshold: float,
    screen: Console,
) -> list[str]:
    """Score distributions with the threshold, and ROC curves beside the forest's."""
    try:
        import matplotlib
    except ImportError:
        screen.print("no figure: matplotlib is not installed (pip install 'diabolo[plot]')")
        return []
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    colors = ("#0b6e8f", "#d1495b", "#e3a018")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    low, high = np.quantile(np.r_[normal["diabolo"], *(f["diabolo"] for f in judged.values())], [0.001, 0.98])
    bins = np.linspace(low, high, 70)
    left.hist(normal["diabolo"], bins, density=True, color=colors[0], alpha=0.45, label="background, held back")
    for color, (title, found) in zip(colors[1:], judged.items(), strict=True):
        left.hist(found["diabolo"], bins, density=True, histtype="step", lw=2, color=color, label=title)
    left.axvline(threshold, color="black", ls="--", lw=1.2)
    left.annotate(
        f" above: flagged\n ({RATE:.0%} false alarms)", (threshold, left.get_ylim()[1] * 0.5), fontsize=9, va="center"
    )
    left.set(xlabel="anomaly score: −ELBO (nats)", ylabel="density", title="What the detector sees")
    left.legend(frameon=False, loc="upper right", fontsize=9)
    rates = np.geomspace(1e-3, 1, 200)
    for color, (title, found) in zip(colors[1:], judged.items(), strict=True):
        for name, style in (("diabolo", "-"), ("IsolationForest", ":")):
            cuts = np.quantile(normal[name], 1 - rates)
            share = [float((found[name] > cut).mean()) for cut in cuts]
            right.plot(rates, share, style, lw=2, color=color, label=f"{title}, {name}")
    right.axvline(RATE, color="black", ls="--", lw=1.2)
    right.plot(rates, rates, color="grey", lw=0.8, label="chance")
    right.set(xscale="log", xlim=(1e-3, 1), ylim=(0, 1), xlabel="false-alarm rate", ylabel="signal found", title="ROC")
    right.legend(framealpha=1, edgecolor="white", loc="upper left", fontsize=9)
    with atomic(path) as part:
        figure.savefig(part, dpi=130, format="png")
    plt.close(figure)
    return [str(path)]
