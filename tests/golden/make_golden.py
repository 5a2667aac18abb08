"""Writes files of this format version, and the values that they give: python tests/golden/make_golden.py FOLDER.

A folder is written once, by the last commit of a format version, and read by every later one.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import diabolo


def mixed(n: int, seed: int) -> pa.Table:
    """n rows of every kind of column: reals, an angle, counts, words, dates, booleans, missing cells, slots."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    there = rng.random(n) < 0.6
    gap = z[:, 1] + 0.2 * rng.normal(size=n)
    return pa.table(
        {
            "a": 3 * z[:, 0] + 0.3 * rng.normal(size=n) + 10,
            "b": np.round(z @ [1, -1] + 0.3 * rng.normal(size=n), 2),
            "hits": rng.poisson(np.exp(1 + 0.3 * z[:, 1])),
            "lead_phi": np.arctan2(z[:, 1], z[:, 0]),
            "colour": np.array(["red", "green", "blue"])[np.digitize(z[:, 1], [-0.4, 0.6])],
            "when": pa.array(1_700_000_000 + np.round(9e4 * z[:, 0]).astype(np.int64), pa.timestamp("s")),
            "tagged": z[:, 0] > 0,
            "gap": pa.array(gap, mask=rng.random(n) < 0.15),
            "e1_pt": np.where(there, rng.exponential(20, size=n) + 5, 0.0),
            "e1_eta": np.where(there, rng.normal(size=n), 0.0),
        }
    )


def images(n: int, seed: int) -> np.ndarray:
    """n images of a bar each, [n, 8, 8] uint8."""
    rng = np.random.default_rng(seed)
    bars = np.zeros((n, 8, 8), np.uint8)
    bars[np.arange(n), rng.integers(0, 8, n)] = 200
    return bars + rng.integers(0, 20, bars.shape, dtype=np.uint8)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    train, new = mixed(400, 1), mixed(60, 2)
    pq.write_table(new, folder / "new.parquet")
    expected: dict[str, np.ndarray] = {}
    vae = diabolo.VariationalAutoencoder(latent_dim=3, hidden=(12,), epochs=4, slots={"e": 1})
    detector = diabolo.AnomalyDetector(vae, score="auto", false_alarm_rate=0.02).fit(train)
    detector.save(folder / "detector.diabolo")
    ae = detector.autoencoder_
    for name in detector.calibrations_:
        detector.set_params(score=name)
        expected[f"detector/score/{name}"] = detector.anomaly_score(new)
        expected[f"detector/p/{name}"] = detector.p_values(new)
    expected["detector/codes"] = ae.transform(new)
    expected["detector/a"] = ae.reconstruct(new)["a"].to_numpy()
    for method in ("prior", "mixture", "trees"):
        expected[f"detector/draws/{method}"] = ae.sample(40, random_state=3, method=method)["a"].to_numpy()
    clusterer = diabolo.LatentClusterer(ae, n_clusters=3, n_resamples=1).fit(train)
    clusterer.save(folder / "clusters.diabolo")
    expected["clusters/proba"] = clusterer.predict_proba(new)
    X = np.random.default_rng(3).normal(size=(300, 5)) @ np.random.default_rng(4).normal(size=(5, 5))
    linear = diabolo.LinearAutoencoder(latent_dim=2).fit(X)
    linear.save(folder / "linear.diabolo")
    expected["linear/X"], expected["linear/codes"], expected["linear/nll"] = (
        X[:50],
        linear.transform(X[:50]),
        linear.anomaly_score(X[:50]),
    )
    bars = images(300, 5)
    conv = diabolo.Autoencoder(network="conv", latent_dim=2, epochs=1, hidden=(4, 4)).fit(bars)
    conv.save(folder / "conv.diabolo")
    expected["conv/X"], expected["conv/codes"] = bars[:20], conv.transform(bars[:20])
    for name, rows, error in (("table", train, 1e-2), ("lossless", train, None), ("images", bars, None)):
        packed = diabolo.Compressor(max_error=error, epochs=1).fit(rows).compress(rows)
        (folder / f"{name}.dbl").write_bytes(packed)
        back = diabolo.decompress(packed)
        if isinstance(back, np.ndarray):
            expected[f"dbl/{name}"] = back
        else:
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, back.schema) as writer:
                writer.write_table(back)
            expected[f"dbl/{name}"] = np.frombuffer(sink.getvalue(), np.uint8)
    expected["cpu"] = np.array(f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {np.__version__}")
    np.savez_compressed(folder / "expected.npz", **expected)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
