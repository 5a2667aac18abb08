"""Training speed beside a plain PyTorch loop and PyOD, and the time to reach PyOD's loss.

Speed: rows stepped on per second of the whole `fit` call, which also checks, splits, scales, validates and
describes, against a hand-written loop that is handed scaled training rows and does nothing but step. Equal
rows, network (57-32-16-3-16-32-57) and batch. PyOD steps on fewer rows, so that it ends.

Loss: PyOD's AutoEncoder with its default 10 epochs of batch 32, then the shortest diabolo fit whose mean squared
error on held-out rows, in units of the training rows' standard deviations, is no larger. Both errors are
computed here from the same rows. "Shortest" is over a ladder of epochs, each with its own full learning-rate
schedule; the fit with every default is printed beside it, because it needs no such choice.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

import common
import numpy as np
import torch
from common import Clock, Measured

from diabolo import Autoencoder

#: Epochs that are tried, in turn, until the rival's loss is reached.
LADDER = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 50, 100)


# ── speed ─────────────────────────────────────────────────────────────────────────────────────────


def diabolo_rival(x: np.ndarray, batch: int, epochs: int) -> Callable[[int], Measured]:
    def run(i: int) -> Measured:
        ae = Autoencoder(
            latent_dim=common.LATENT,
            hidden=common.HIDDEN,
            batch_size=batch,
            epochs=epochs,
            patience=10**6,
            random_state=i,
        )
        with Clock() as clock:
            ae.fit(x)
        rows = sum(epoch["rows"] for epoch in ae.history_)
        training = sum(epoch["seconds"] for epoch in ae.history_)
        return {**common.rate(rows, clock), "training_rows_per_s": rows / training}

    return run


def plain_rival(x: np.ndarray, batch: int, epochs: int, fused: bool) -> Callable[[int], Measured]:
    data = torch.from_numpy(x)

    def run(i: int) -> Measured:
        torch.manual_seed(i)
        net = common.network(x.shape[1])
        optimizer = torch.optim.Adam(net.parameters(), **({"fused": True} if fused else {}))
        with Clock() as clock:
            for _ in range(epochs):
                order = torch.randperm(len(data))
                for start in range(0, len(data), batch):
                    rows = data[order[start : start + batch]]
                    loss = torch.nn.functional.mse_loss(net(rows), rows)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
        return common.rate(epochs * len(data), clock)

    return run


def pyod_rival(x: np.ndarray, batch: int, epochs: int) -> Callable[[int], Measured]:
    def run(i: int) -> Measured:
        detector = common.pyod_autoencoder(batch_size=batch, epoch_num=epochs, batch_norm=False, random_state=i)
        whole, inside = common.fit_pyod(detector, x)
        rows = epochs * (len(x) // batch) * batch  # it drops a short last batch
        return {**common.rate(rows, whole), "training_rows_per_s": rows / inside.wall}

    return run


def speed(options: argparse.Namespace) -> dict[str, object]:
    rows, epochs, results = (16_384, 2, {}) if options.quick else (131_072, 10, {})
    x = common.correlated(rows)
    for batch in (int(b) for b in options.batches.split(",")):
        # Small batches take long: fewer rows, the same for all.
        n = rows if batch >= 512 else min(rows, 512 * batch)
        table = x[:n]
        trained = n - min(10_000, n // 10)  # what diabolo leaves after its stop rows
        rivals = {
            "diabolo": diabolo_rival(table, batch, epochs),
            "plain loop": plain_rival(table[:trained], batch, epochs, fused=False),
            "plain loop, fused Adam": plain_rival(table[:trained], batch, epochs, fused=True),
        }
        if batch in (32, 1024):
            rivals["PyOD"] = pyod_rival(table[: min(trained, 32_768)], batch, 1)
        print(f"\nspeed, batch {batch}: {n:,} rows of which {trained:,} are stepped on, {epochs} epochs", end="")
        print("; PyOD up to 32,768 rows, 1 epoch, no batch norm" if "PyOD" in rivals else "")
        found = common.rounds(rivals, options.pairs)
        common.print_rates(found)
        common.print_rates({"diabolo, within its epochs": found["diabolo"]}, "training_rows_per_s")
        common.print_ratio(found, "diabolo", "plain loop", 0.95)
        common.print_ratio(found, "diabolo", "plain loop, fused Adam")
        if "PyOD" in found:
            common.print_rates({"PyOD, within its epochs": found["PyOD"]}, "training_rows_per_s")
            common.print_ratio(found, "diabolo", "PyOD")
        results[batch] = found
    return results


# ── time to the rival's loss ──────────────────────────────────────────────────────────────────────


def held_out_mse(ae: Autoencoder, x: np.ndarray, std: np.ndarray) -> float:
    return float(np.mean(((ae.reconstruct(x) - x) / std) ** 2, dtype=np.float64))


def fit_once(train: np.ndarray, held: np.ndarray, std: np.ndarray, **settings: object) -> Measured:
    ae = Autoencoder(latent_dim=common.LATENT, hidden=common.HIDDEN, **settings)
    with Clock() as clock:
        ae.fit(train)
    return {
        "seconds": clock.wall,
        "cpu_seconds": clock.cpu,
        "mse": held_out_mse(ae, held, std),
        "epochs": len(ae.history_),
    }


def loss_pair(
    train: np.ndarray, held: np.ndarray, std: np.ndarray, batch_norm: bool, seed: int, settings: dict[str, object]
) -> dict[str, Measured]:
    detector = common.pyod_autoencoder(batch_norm=batch_norm, random_state=seed)
    whole, inside = common.fit_pyod(detector, train)
    # Its score is the Euclidean distance in its own standardised units, which are the ones used here.
    mse = float(np.mean(detector.decision_function(held, batch_size=8192) ** 2) / held.shape[1])
    pyod = {"seconds": whole.wall, "cpu_seconds": whole.cpu, "training_seconds": inside.wall, "mse": mse}
    reached = {"seconds": np.inf, "cpu_seconds": np.inf, "mse": np.inf, "epochs": np.inf}
    for epochs in LADDER:
        tried = fit_once(train, held, std, epochs=epochs, patience=10**6, random_state=seed, **settings)
        if tried["mse"] <= mse:
            reached = tried
            break
    return {"pyod": pyod, "diabolo": reached, "default": fit_once(train, held, std, random_state=seed)}


def loss_tables(rows: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    tables = {"three-dimensional manifold": (common.manifold(rows, 1), common.manifold(20_000, 2))}
    if os.environ.get("DIABOLO_DATA"):
        import pyarrow.parquet as pq

        events = pq.read_table(common.data_path("lhc", "background_train.parquet")).drop_columns(["process"])
        cells = np.stack([events[name].to_numpy() for name in events.column_names], axis=1).astype(np.float32)
        cells = cells[np.random.default_rng(0).permutation(len(cells))]
        # A slot that next to no event fills has next to no spread: one filled cell would be the whole error.
        filled = (cells[:rows] != 0).mean(axis=0) >= 0.01
        cells = np.ascontiguousarray(cells[:, filled])
        tables["LHC events"] = (cells[:rows], cells[rows : rows + 20_000])
    else:
        print("\nDIABOLO_DATA is not set: the LHC events are left out")
    return tables


def loss(options: argparse.Namespace) -> dict[str, object]:
    rows = options.loss_rows or (2_000 if options.quick else 32_768)
    results, settings = {}, {"learning_rate": options.learning_rate, "batch_size": options.loss_batch}
    common.fit_pyod(common.pyod_autoencoder(epoch_num=1), common.correlated(2000))  # imports and compiles
    Autoencoder(epochs=1).fit(common.correlated(2000))
    for name, (train, held) in loss_tables(rows).items():
        std = train.std(axis=0, dtype=np.float64) + 1e-8  # as PyOD has it
        for batch_norm in (True, False):
            kind = f"PyOD {'with batch norm, its default' if batch_norm else 'without batch norm'}"
            print(f"\ntime to PyOD's loss: {name}, {len(train):,} × {train.shape[1]}, {kind}")
            pairs = [loss_pair(train, held, std, batch_norm, i, settings) for i in range(options.loss_pairs)]
            for label, key in (("PyOD", "pyod"), ("diabolo to that loss", "diabolo"), ("diabolo, defaults", "default")):
                seconds = np.array([p[key]["seconds"] for p in pairs])
                mse = np.array([p[key]["mse"] for p in pairs])
                epochs = f", epochs {[p[key]['epochs'] for p in pairs]}" if key != "pyod" else ""
                print(f"  {label:<22} {common.spread(seconds)} s, MSE {common.spread(mse, '{:.4f}')}{epochs}")
            ratios = np.array([p["pyod"]["seconds"] / p["diabolo"]["seconds"] for p in pairs])
            print(f"  PyOD's time / diabolo's: {common.spread(ratios, '{:.1f}')}   target ≥ 20: ", end="")
            print("reached" if np.median(ratios) >= 20 else "missed")
            inside = np.array([p["pyod"]["training_seconds"] / p["diabolo"]["seconds"] for p in pairs])
            print(f"  PyOD's epochs alone / diabolo's whole fit: {common.spread(inside, '{:.1f}')}")
            results[f"{name}, {kind}"] = pairs
    return results


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--only", choices=("speed", "loss"), help="one of the two parts (default: both)")
    parser.add_argument("--batches", default="1024,4096,32", help="batch sizes (default: 1024,4096,32)")
    parser.add_argument("--loss-rows", type=int, help="training rows of the second part (default: 32768)")
    parser.add_argument("--loss-pairs", type=int, help="pairs of the second part, PyOD is slow (default: 3)")
    parser.add_argument("--loss-batch", type=int, help="diabolo's batch in the second part (default: its own)")
    parser.add_argument("--learning-rate", type=float, help="and its learning rate (default: its own)")
    options = parser.parse_args()
    options.pairs = min(options.pairs, 2) if options.quick else options.pairs
    options.loss_pairs = options.loss_pairs or (1 if options.quick else 3)
    print(common.machine_line())
    results = {}
    if options.only != "loss":
        results["speed"] = speed(options)
    if options.only != "speed":
        results["loss"] = loss(options)
    common.write_json(options.json, "train", options, results)


if __name__ == "__main__":
    sys.exit(main())
