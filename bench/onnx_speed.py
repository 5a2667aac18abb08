"""Exported graphs by `diabolo.runtime.Scorer`: a row, 64 and 8,192 rows, beside diabolo itself, PyOD and skl2onnx.

One thread. A row comes as a dictionary or an array of one row; what onnxruntime alone needs stands beside. PyOD's KNN
and scikit-learn's IsolationForest as skl2onnx writes it are measured where they are installed.
"""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common  # pins threads, so it comes first
import numpy as np
from common import Clock, Measured

from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder
from diabolo.export.onnx.verify import session
from diabolo.runtime import Scorer

#: Rows of the bulk, and calls of one row a round.
BULK, CALLS = 8_192, 300
OUTPUTS = ["score", "p_value", "is_anomaly", "flag"]
#: Targets: milliseconds of one row, and the share of diabolo's own bulk.
ONE, GOAL, NLL, SHARE = 0.5, 0.25, 0.03, 0.5


def models(folder: Path, quick: bool) -> dict[str, tuple[AnomalyDetector, Path]]:
    """Detectors by name, each beside its exported file."""
    rows, made = 2_000 if quick else 25_000, {}
    wide, narrow = common.manifold(rows), common.correlated(rows, columns=20)
    settings = {"hidden": list(common.HIDDEN), "latent_dim": common.LATENT, "epochs": 1}
    for name, x, ae, score in (
        ("auto, 20 columns", narrow, VariationalAutoencoder(epochs=1), "auto"),
        ("auto, 57 columns", wide, VariationalAutoencoder(epochs=1), "auto"),
        ("nll, 57-32-16-3", wide, Autoencoder(**settings), "nll"),
    ):
        detector = AnomalyDetector(ae, score=score).fit(x)
        path = folder / f"{len(made)}.onnx"
        detector.to_onnx(path)
        made[name] = (detector, path)
    return made


def others(x: np.ndarray) -> dict[str, Callable[[np.ndarray], object]]:
    """Rivals that are installed."""
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=5).fit(x)
    out: dict[str, Callable[[np.ndarray], object]] = {"KNN, scikit-learn": lambda r: near.kneighbors(r)[0].mean(1)}
    with contextlib.suppress(ImportError):
        out["KNN, PyOD"] = importlib.import_module("pyod.models.knn").KNN().fit(x).decision_function
    forest = IsolationForest(random_state=0).fit(x)
    out["IsolationForest, scikit-learn"] = forest.score_samples
    with contextlib.suppress(ImportError):
        import onnxruntime

        to_onnx = importlib.import_module("skl2onnx").to_onnx
        written = to_onnx(forest, x[:1].astype(np.float32), target_opset={"": 18, "ai.onnx.ml": 3})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        run = onnxruntime.InferenceSession(written.SerializeToString(), options, providers=["CPUExecutionProvider"]).run
        out["IsolationForest, skl2onnx"] = lambda r: run(None, {"X": r.astype(np.float32)})
    return out


def timed(call: Callable[[], object], calls: int) -> Measured:
    """Milliseconds a call: median and 99th percentile on the clock, mean of processor time."""
    call()
    wall = np.empty(calls)
    with Clock() as clock:
        for i in range(calls):
            begun = time.perf_counter()
            call()
            wall[i] = time.perf_counter() - begun
    found = {"p50": np.median(wall), "p99": np.quantile(wall, 0.99), "cpu": clock.cpu / calls}
    return {**{k: 1e3 * float(v) for k, v in found.items()}, "rows_per_s": 1.0}


def bulk(call: Callable[[np.ndarray], object], x: np.ndarray) -> Callable[[int], Measured]:
    def run(_: int) -> Measured:
        with Clock() as clock:
            call(x)
        return common.rate(len(x), clock)

    return run


def report(name: str, rivals: dict[str, Callable[[np.ndarray], object]], x: np.ndarray, options) -> dict:
    """One row, 64 and many by every rival."""
    found: dict[str, object] = {}
    calls = 20 if options.quick else CALLS
    print(f"{name}")
    print("| | one row: p50 ms | p99 | processor ms | 64 rows: processor ms | bulk: rows per processor second |")
    print("|---|---|---|---|---|---|")
    small = {f"{n}|{k}": (lambda r=r, k=k: r(x[:k])) for n, r in rivals.items() for k in (1, 64)}
    times = common.rounds(
        {n: (lambda _, c=c, n=n: timed(c, calls if n.endswith("|1") else calls // 5)) for n, c in small.items()},
        options.pairs,
        warm_up=False,
    )
    rates = common.rounds({n: bulk(r, x) for n, r in rivals.items()}, options.pairs)
    for n in rivals:
        one, some = times[f"{n}|1"], times[f"{n}|64"]
        p50, p99, cpu = (float(np.median(common.column(one, k))) for k in ("p50", "p99", "cpu"))
        many = float(np.median(common.column(rates[n], "rows_per_cpu_s")))
        of64 = float(np.median(common.column(some, "cpu")))
        print(f"| {n} | {p50:.3f} | {p99:.3f} | {cpu:.3f} | {of64:.2f} | {many:,.0f} |")
        found[n] = {"p50": p50, "p99": p99, "cpu": cpu, "cpu_64": of64, "bulk": many}
    own, told = (common.column(rates[n], "rows_per_cpu_s") for n in ("diabolo", "Scorer"))
    share = float(np.median(told / own))
    said = f"target ≥ {SHARE:g}: {verdict(share >= SHARE)}"
    print(f"  bulk by Scorer / diabolo, processor time: {common.spread(told / own)}   {said}")
    return {**found, "share": share}


def verdict(met: bool) -> str:
    return "reached" if met else "missed"


def main() -> None:
    options = common.parser(__doc__, pairs=3).parse_args()
    print(common.machine_line())
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (detector, path) in models(Path(folder), options.quick).items():
            columns = 20 if "20" in name else common.COLUMNS
            x = common.correlated(BULK, seed=1, columns=columns) if columns == 20 else common.manifold(BULK, seed=1)
            scorer = Scorer(path)
            run = session(path.read_bytes()).run
            row = dict(zip(scorer.columns, map(float, x[0]), strict=True))
            rivals: dict[str, Callable[[np.ndarray], object]] = {
                "Scorer": scorer.score,
                "Scorer, a dictionary": lambda r, s=scorer, row=row: s.score(row) if len(r) == 1 else s.score(r),
                "onnxruntime alone": lambda r, run=run: [
                    run(OUTPUTS, {"x": r[k : k + 256]}) for k in range(0, len(r), 256)
                ],
                "diabolo": detector.score_table,
            }
            if name.startswith("auto, 20"):
                rivals |= others(common.correlated(2_000 if options.quick else 25_000, columns=20))
            results[name] = report(name, rivals, x, options)
            one = results[name]["onnxruntime alone"]["cpu"]
            aim = NLL if name.startswith("nll") else ONE
            said = f"  one row by onnxruntime {one:.3f} ms   target ≤ {aim:g}: {verdict(one <= aim)}"
            print(said if aim == NLL else f"{said}, goal {GOAL:g}: {verdict(one <= GOAL)}")
            print(f"  {path.stat().st_size:,} bytes")
        results["load"] = [_load_time(path) for _ in range(options.pairs)]
        print(f"import and load, processor seconds: {common.spread(np.array(results['load']))}")
    common.write_json(options.json, "onnx_speed", options, results)


def _load_time(path: Path) -> float:
    """Processor seconds of a process that imports the scorer and loads a file, less those of an empty one."""
    code = "import time; import sys\n{}print(time.process_time())"
    work = f"from diabolo.runtime import Scorer; Scorer({str(path)!r})\n"
    found = [
        float(subprocess.run([sys.executable, "-c", code.format(w)], capture_output=True, text=True, check=True).stdout)
        for w in ("", work)
    ]
    return found[1] - found[0]


if __name__ == "__main__":
    main()
