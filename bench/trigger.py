"""LHC events in whole numbers: AUROC, distinct scores, rate and multiplications by bits; C and hls4ml beside NumPy.

The demo's events, 56-32-16-8. Per number of bits and seed: AUROC of the weights before they were rounded, in single
precision on the same inputs, and of the integers; calibration and held-back scores; the realised rate. Then the header
of the first seed: bits at four optimisation levels and under UBSan, nanoseconds of processor time an event; and, with
--hls, what hls4ml's emulation gives for 5,000 events.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import common
import numpy as np
import pandas as pd

SIGNALS = ("LQ_btau", "h0_tautau")
#: Bits of weights and of activations.
BITS = ((6, 10), (16, 16), (8, 10), (6, 8), (4, 8), (3, 8))
SHOWN = (6, 10)
SETTINGS = {"hidden": (32, 16), "latent_dim": 8, "likelihood": {"name": "gaussian", "sigma": 0.2}, "epochs": 25}
RATES = (0.01, 0.002)
#: The bar: points of AUROC that whole numbers may lose, distinct scores, nanoseconds.
LOSS, DISTINCT, NANOSECONDS = 0.5, 1000, 300

MAIN = """\
#include "model.h"
#include <stdio.h>
#include <time.h>
static int16_t x[5000 * DIABOLO_INPUTS];
int main(void) {
  size_t n = fread(x, sizeof(int16_t) * DIABOLO_INPUTS, 5000, stdin), i;
  double least = 1e9;
  int repeat;
  int64_t sum = 0;
  for (i = 0; i < n; ++i) printf("%lld\\n", (long long)diabolo_score(x + i * DIABOLO_INPUTS));
  for (repeat = 0; repeat < 25; ++repeat) {
    struct timespec a, b;
    double ns;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    for (i = 0; i < n; ++i) sum += diabolo_score(x + i * DIABOLO_INPUTS);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    ns = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)n;
    if (ns < least) least = ns;
  }
  printf("%lld %.1f\\n", (long long)sum, least);
  return 0;
}
"""


def read(quick: bool) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]:
    """Training events, held-back ones, and signals."""
    folder = Path(sys.modules["diabolo"].__file__).parent / "sample"
    background = pd.read_parquet(folder / "background.parquet").drop(columns="process")
    order = np.random.default_rng(0).permutation(len(background))
    held = len(order) // 4
    train = background.iloc[order[held : held + 5000] if quick else order[held:]]
    signals = {s: pd.read_parquet(folder / f"signal_{s}.parquet")[list(background.columns)] for s in SIGNALS}
    return train, background.iloc[order[:held]], signals


def areas(score, held: pd.DataFrame, signals: dict[str, pd.DataFrame]) -> tuple[list[float], np.ndarray]:
    """AUROC of each signal in percent, and the held-back scores."""
    from diabolo.metrics import auroc

    normal = score(held)
    out = []
    for rows in signals.values():
        found = score(rows)
        out.append(100 * float(auroc(np.r_[np.zeros(len(normal)), np.ones(len(found))], np.r_[normal, found])))
    return out, normal


def norm(model, weights, rows: pd.DataFrame) -> np.ndarray:
    """|μ| of rows by weights in single precision."""
    import torch

    from diabolo.model.networks import run

    parameters = [v for k, v in model.store.split(weights).items() if k.startswith("encoder.")]
    with torch.no_grad():
        x = model.encoding.encode(torch.from_numpy(rows.to_numpy(copy=True))).clipped(model.encoding.clip).x
        return run(model.encoder, parameters, x)[:, : model.latent_dim].norm(dim=1).double().numpy()


def one(bits: tuple[int, int], seed: int, epochs: int, train, held, signals) -> dict[str, object]:
    """A fit in whole numbers beside its own weights before they were rounded."""
    from diabolo import AnomalyDetector, VariationalAutoencoder
    from diabolo.errors import CalibrationError
    from diabolo.export.trigger.integers import trigger_of
    from diabolo.model.autoencoder import Model

    kept = {}
    choose = Model.choose_ranges

    def choosing(model, x):
        kept["weights"] = model.store.flat.clone()
        choose(model, x)

    Model.choose_ranges = choosing
    quantize = {"weights": bits[0], "activations": bits[1]}
    settings = {**SETTINGS, "epochs": epochs, "random_state": seed, "quantize": quantize}
    try:
        detector = AnomalyDetector(VariationalAutoencoder(**settings), random_state=seed).fit(train)
    finally:
        Model.choose_ranges = choose
    model = detector.autoencoder_.model_
    real, _ = areas(lambda rows: norm(model, kept["weights"], rows), held, signals)
    whole, normal = areas(detector.anomaly_score, held, signals)
    try:
        trigger = trigger_of(detector.calibrated_)
    except CalibrationError as error:  # too few bits for a threshold
        print(f"  {bits}, seed {seed}: {error}")
        trigger = None
    calibration = detector.calibrated_.calibration
    flagged = [float((normal > calibration.threshold(rate)).mean()) for rate in RATES]
    return {
        "real": real,
        "whole": whole,
        "distinct": len(np.unique(normal)),
        "flagged": flagged,
        "multiplications": 0 if trigger is None else trigger.multiplications,
        "trigger": trigger,
    }


def plain(seed: int, epochs: int, train, held, signals) -> list[float]:
    """AUROC of the same fit without whole numbers, and with inputs of single precision."""
    from diabolo import AnomalyDetector, VariationalAutoencoder

    settings = {**SETTINGS, "epochs": epochs, "random_state": seed, "kinds": dict.fromkeys(train.columns, "real")}
    detector = AnomalyDetector(VariationalAutoencoder(**settings), score="mu_norm", random_state=seed).fit(train)
    return areas(detector.anomaly_score, held, signals)[0]


def header_of(trigger, words: np.ndarray) -> dict[str, float]:
    """Nanoseconds an event by compiler and flags; ends the script where a bit differs."""
    from diabolo.export.trigger.c import header

    out = {}
    expected = trigger.scores(words)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.h").write_text(header(trigger))
        Path(folder, "main.c").write_text(MAIN)
        for compiler, language in (("gcc", ["-x", "c", "-std=gnu99"]), ("g++", ["-x", "c++", "-std=gnu++11"])):
            for flags in ("-O0", "-O2", "-O3", "-Os", "-O3 -march=native", "-O1 -fsanitize=undefined"):
                built = [compiler, *language, *flags.split(), "-Wall", "-Wextra", "-Werror", "main.c", "-o", "main"]
                subprocess.run(built, cwd=folder, check=True)
                said = subprocess.run(
                    ["./main"], cwd=folder, input=words.astype(np.int16).tobytes(), capture_output=True, check=True
                ).stdout.split(b"\n")
                scores = np.array(said[: len(words)], np.int64)
                if not np.array_equal(scores, expected):
                    sys.exit(f"{compiler} {flags}: {(scores != expected).sum()} scores differ from NumPy's")
                out[f"{compiler} {flags}"] = float(said[len(words)].split()[1])
    return out


def hls(trigger, words: np.ndarray) -> int:
    """Outputs of hls4ml's emulation that differ from the integers."""
    from diabolo.export.trigger.hls import emulated, project

    with tempfile.TemporaryDirectory() as folder:
        built = project(trigger, Path(folder) / "project")
        built.compile()
        return int((emulated(built, trigger, words) != trigger.outputs(words)).sum())


def main() -> None:
    parser = common.parser(__doc__, pairs=1)
    parser.add_argument("--seeds", type=int, default=3, help=f"fits at {SHOWN} bits; one at others (default: 3)")
    parser.add_argument("--hls", action="store_true", help="compile hls4ml's emulation too (half a minute)")
    options = parser.parse_args()
    import diabolo  # noqa: F401

    train, held, signals = read(options.quick)
    seeds, epochs = (1, 5) if options.quick else (options.seeds, SETTINGS["epochs"])
    print(common.machine_line())
    print(f"{len(train):,} training events of {train.shape[1]} columns, {len(held):,} held back, {seeds} seeds\n")
    print("AUROC (%) of LQ and h0; loss against the same weights in single precision; means over seeds, worst loss")
    results: dict[str, object] = {}
    plains = np.array([plain(seed, epochs, train, held, signals) for seed in range(seeds)])
    print(
        f"  {'in single precision, an own fit':<34} {plains.mean(axis=0).round(1)}, by seed {plains.round(1).tolist()}"
    )
    results["single"] = plains.tolist()
    for bits in BITS if not options.quick else (SHOWN,):
        fits = seeds if bits == SHOWN else 1
        found = [one(bits, seed, epochs, train, held, signals) for seed in range(fits)]
        real, whole = (np.array([f[k] for f in found]) for k in ("real", "whole"))
        loss, flagged = real - whole, np.array([f["flagged"] for f in found])
        distinct, products = ([f[k] for f in found] for k in ("distinct", "multiplications"))
        print(
            f"  weights {bits[0]:>2}, activations {bits[1]:>2}: single {real.mean(axis=0).round(1)}, whole "
            f"{whole.mean(axis=0).round(1)}, loss {loss.mean(axis=0).round(2)}, worst {loss.max():.2f}; "
            f"distinct {min(distinct):,} to {max(distinct):,}; at {RATES} flagged {flagged.mean(axis=0).round(5)}; "
            f"{np.mean(products):,.0f} multiplications",
            flush=True,
        )
        results[f"{bits}"] = [{k: v for k, v in f.items() if k != "trigger"} for f in found]
        if bits == SHOWN:
            trigger, worst, fewest = found[0]["trigger"], loss.max(), min(distinct)
    words = trigger.words(pd.concat([held[:2500], signals[SIGNALS[0]][:2500]]).to_numpy())
    times = header_of(trigger, words)
    print(f"\nC header, {len(words):,} events, equal to NumPy in every bit; ns an event (processor time, least of 25):")
    print("  " + ", ".join(f"{name} {ns:.0f}" for name, ns in times.items()))
    differ = hls(trigger, words) if options.hls else None
    if differ is not None:
        print(f"hls4ml: {differ} of {len(words) * len(trigger.layers[-1].bias):,} outputs of the emulation differ")
    bars = {
        f"loss at {SHOWN} ≤ {LOSS} points": (worst, worst <= LOSS),
        f"distinct scores ≥ {DISTINCT:,}": (fewest, fewest >= DISTINCT),
        f"≤ {NANOSECONDS} ns at -O2": (times["gcc -O2"], times["gcc -O2"] <= NANOSECONDS),
    }
    for name, (value, reached) in bars.items():
        print(f"  {name}: {value:,.6g}, {'reached' if reached else 'missed'}")
    results |= {"nanoseconds": times, "hls4ml_differ": differ}
    common.write_json(options.json, "trigger", options, results)


if __name__ == "__main__":
    main()
