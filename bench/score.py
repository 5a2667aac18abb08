"""Scoring throughput of `anomaly_score`, of an autoencoder and of the default detector, beside plain PyTorch and PyOD.

diabolo is handed a NumPy table in original units, scales it and returns float64. The plain rival is handed a
tensor that is already scaled and does forward, squared error and mean in single precision, at several batch
sizes, of which its best counts. PyOD is measured on fewer rows, so that it ends.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import common
import numpy as np
import torch
from common import Clock, Measured

from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder

BATCHES = (512, 1024, 2048, 4096, 8192, 65_536)


def diabolo_rival(ae: Autoencoder, x: np.ndarray, score: str, least: float = 0.3) -> Callable[[int], Measured]:
    def run(_: int) -> Measured:
        done = 0
        with Clock() as clock:
            while done == 0 or clock.elapsed() < least:
                ae.anomaly_score(x, score)
                done += len(x)
        return common.rate(done, clock)

    return run


def detector_rival(detector: AnomalyDetector, x: np.ndarray, least: float = 0.3) -> Callable[[int], Measured]:
    def run(_: int) -> Measured:
        done = 0
        with Clock() as clock:
            while done == 0 or clock.elapsed() < least:
                detector.anomaly_score(x)
                done += len(x)
        return common.rate(done, clock)

    return run


def plain_rival(x: np.ndarray, batch: int, least: float = 0.3) -> Callable[[int], Measured]:
    torch.manual_seed(0)
    net, data = common.network(x.shape[1]), torch.from_numpy(x)

    @torch.inference_mode()
    def run(_: int) -> Measured:
        done, out = 0, torch.empty(len(data))
        with Clock() as clock:
            while done == 0 or clock.elapsed() < least:
                for start in range(0, len(data), batch):
                    rows = data[start : start + batch]
                    out[start : start + batch] = (net(rows) - rows).square().mean(1)
                done += len(data)
        return common.rate(done, clock)

    return run


def detectors() -> dict[str, Callable[[np.ndarray], object]]:
    """Fitted detectors of tables, 20 columns and 25,000 rows, by name: each gives the scores of rows."""
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

    x = common.correlated(25_000, columns=20)
    near = NearestNeighbors(n_neighbors=5).fit(x)
    detector = AnomalyDetector(VariationalAutoencoder(epochs=1)).fit(x)
    # Its network is read by none of the default's scores; these two take one pass of it.
    one_pass = {name: AnomalyDetector(detector.autoencoder_, name).fit(x) for name in ("nll", "mse")}
    out: dict[str, Callable[[np.ndarray], object]] = {
        "default detector": detector.anomaly_score,
        **{f"detector, {name}": d.anomaly_score for name, d in one_pass.items()},
        "IsolationForest": IsolationForest(random_state=0).fit(x).score_samples,
        "LOF": LocalOutlierFactor(novelty=True).fit(x).score_samples,
        "KNN (scikit-learn)": lambda rows: near.kneighbors(rows)[0].mean(axis=1),
    }
    with contextlib.suppress(ImportError):
        from pyod.models.knn import KNN

        out["KNN (PyOD)"] = KNN().fit(x).decision_function
    return out


def few_rows(options) -> dict[str, dict[str, list[Measured]]]:
    """Calls with one row, 64 rows and many, rivals in turn."""
    rows, rivals, found = common.correlated(4_096, seed=1, columns=20), detectors(), {}
    print("\ntables of 20 columns, 25,000 rows fitted; processor time of one call, milliseconds")
    for count in (1, 64, 4_096):

        def timed(score: Callable[[np.ndarray], object], count: int = count) -> Callable[[int], Measured]:
            def run(_: int) -> Measured:
                done = 0
                with Clock() as clock:
                    while done == 0 or clock.elapsed() < 0.2:
                        at = done * count % (len(rows) - count + 1)
                        score(rows[at : at + count])
                        done += 1
                return common.rate(done * count, clock) | {"ms": 1e3 * clock.cpu / done}

            return run

        found[str(count)] = common.rounds({name: timed(score) for name, score in rivals.items()}, options.pairs)
        mine = common.column(found[str(count)]["default detector"], "ms")
        for name, measured in found[str(count)].items():
            ratio = np.median(mine / common.column(measured, "ms"))
            per_s = np.median(common.column(measured, "rows_per_cpu_s"))
            ms = common.spread(common.column(measured, "ms"))
            print(f"  {count:>5} rows  {name:<22} {ms} ms   {per_s:,.0f} rows/s; default / it {ratio:.2f}")
    return found


def pyod_rival(detector: object, x: np.ndarray, batch: int | None) -> Callable[[int], Measured]:
    def run(_: int) -> Measured:
        with Clock() as clock:
            detector.decision_function(x, batch_size=batch)
        return common.rate(len(x), clock)

    return run


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=int, help="rows of the table (default: 1,048,576)")
    parser.add_argument("--detectors", action="store_true", help="one row, 64 and many, by detectors of tables alone")
    options = parser.parse_args()
    options.pairs = min(options.pairs, 2) if options.quick else options.pairs
    if options.detectors:
        print(common.machine_line())
        common.write_json(options.json, "score", options, few_rows(options))
        return
    rows = options.rows or (65_536 if options.quick else 1 << 20)
    x = common.correlated(rows)
    train = x[:16_384]
    shape = {"latent_dim": common.LATENT, "hidden": common.HIDDEN, "epochs": 3}
    ae, vae = Autoencoder(**shape).fit(train), VariationalAutoencoder(**shape).fit(train)
    pyod = common.pyod_autoencoder(batch_norm=False, batch_size=1024, epoch_num=1).fit(train)
    # Its score is of stored rows alone, so how long the autoencoder was trained changes no time.
    detector = AnomalyDetector(VariationalAutoencoder(**shape)).fit(train)
    few = x[: min(rows, 32_768)]
    rivals = {
        "diabolo mse": diabolo_rival(ae, x, "mse"),
        **{f"plain, batch {b}": plain_rival(x, b) for b in BATCHES},
        "diabolo nll": diabolo_rival(ae, x, "nll"),
        "diabolo profile": diabolo_rival(ae, x[: rows // 32], "profile"),
        f"default detector ({detector.score_})": detector_rival(detector, few),
        "diabolo VAE mse": diabolo_rival(vae, x, "mse"),
        "diabolo VAE neg_elbo": diabolo_rival(vae, x[: rows // 8], "neg_elbo"),
        "PyOD, batch 32 (default)": pyod_rival(pyod, few, 32),
        "PyOD, batch 8192": pyod_rival(pyod, few, 8192),
    }
    print(common.machine_line())
    print(f"\nscoring, {rows:,} × {x.shape[1]} float32; PyOD {len(few):,} rows")
    found = common.rounds(rivals, options.pairs)
    common.print_rates(found)
    best = max(BATCHES, key=lambda b: np.median(common.column(found[f"plain, batch {b}"], "rows_per_s")))
    common.print_ratio(found, "diabolo mse", f"plain, batch {best}", 0.8)
    for name in ("diabolo nll", "diabolo profile", "diabolo VAE mse", "diabolo VAE neg_elbo"):
        common.print_ratio(found, name, f"plain, batch {best}")
    for batch in ("batch 32 (default)", "batch 8192"):
        common.print_ratio(found, f"default detector ({detector.score_})", f"PyOD, {batch}")
    common.print_ratio(found, "diabolo mse", "PyOD, batch 32 (default)")
    common.print_ratio(found, "diabolo mse", "PyOD, batch 8192")
    common.write_json(options.json, "score", options, found)


if __name__ == "__main__":
    sys.exit(main())
