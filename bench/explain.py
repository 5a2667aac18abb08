"""Planted explanations: how often the columns that were moved come first, beside one-line rivals.

A held-out normal row that the detector calls normal gets one or three of its columns moved; rows that are then
flagged at 1 % are explained. "shift" adds 3 to 6 interquartile ranges, up or down; "swap" takes the value from another
row, so that it is wrong only given the others. A hit: the first k columns are the k moved ones, as sets. Of three moves
one may be nothing to the detector: "each seen" are the rows of which each move alone is flagged as well. The rivals
rank the same rows by squared residual of the reconstruction and by distance from the column's mean in standard
deviations (PyOD's explanation).
"""

from __future__ import annotations

import sys
import time
from typing import Any

import common
import numpy as np
from scipy import stats

from diabolo import AnomalyDetector, VariationalAutoencoder
from diabolo.detect.explaining import leading

TABLES = ("2_annthyroid", "28_pendigits", "30_satellite", "40_vowels", "7_Cardiotocography", "44_Wilt")
SLOTS = {"e": 4, "mu": 4, "j": 10}
MOST = 12_000
SHIFT = (3.0, 6.0)
SETTINGS = (("shift", 1), ("shift", 3), ("swap", 1), ("swap", 3))


def gaussian(rng: np.random.Generator) -> np.ndarray:
    """12 columns of four hidden ones and noise."""
    return rng.normal(size=(6_000, 4)) @ rng.normal(size=(4, 12)) + 0.5 * rng.normal(size=(6_000, 12))


def table(name: str, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Normal rows in random order, and names of the columns."""
    if name == "gaussian":
        x = gaussian(rng)
    elif name == "lhc":
        import pyarrow.parquet as pq

        events = pq.read_table(common.data_path("lhc", "background_train.parquet")).drop(["process"])
        x = np.stack([events[n].to_numpy() for n in events.column_names], axis=1)
        return x[rng.permutation(len(x))[:MOST]].astype(np.float64), list(events.column_names)
    else:
        with np.load(common.data_path("adbench", f"{name}.npz")) as file:
            x = file["X"][file["y"] == 0].astype(np.float64)
    return x[rng.permutation(len(x))[:MOST]], [f"x{i}" for i in range(x.shape[1])]


class Moves:
    """Moves columns of rows: of a slot that is filled, and of columns that vary."""

    def __init__(self, rows: np.ndarray, names: list[str], slots: bool) -> None:
        self.rows = rows
        width = len(names)
        #: The pT of the object that a column belongs to: zero means that the object is not there.
        self.owner = [names.index(n.rsplit("_", 1)[0] + "_pt") if slots else i for i, n in enumerate(names)]
        self.slots, self.angle = slots, [slots and n.endswith("_phi") for n in names]
        there = [rows[rows[:, self.owner[j]] != 0, j] if slots else rows[:, j] for j in range(width)]
        self.values = [v if len(v) else rows[:, j] for j, v in enumerate(there)]
        spread = np.array([np.subtract(*np.quantile(v, [0.75, 0.25])) for v in self.values])
        self.spread = np.where(spread > 0, spread, [v.std() for v in self.values])

    def __call__(self, row: np.ndarray, how: str, k: int, rng: np.random.Generator) -> tuple[np.ndarray, set[int]]:
        free = [j for j in range(len(row)) if self.spread[j] > 0 and (not self.slots or row[self.owner[j]] != 0)]
        chosen = rng.choice(free, min(k, len(free)), replace=False)
        out = row.copy()
        for j in chosen:
            if how == "swap" or self.angle[j]:
                out[j] = rng.choice(self.values[j])
            else:
                out[j] += rng.choice([-1, 1]) * rng.uniform(*SHIFT) * self.spread[j]
        return out, {int(j) for j in chosen}


def interval(hits: int, n: int) -> str:
    """Share with its 95 % interval (Clopper, Pearson 1934)."""
    low = stats.beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return f"{hits / n:.1%} [{low:.1%}, {high:.1%}]"


def hits(orders: np.ndarray, moved: list[set[int]]) -> np.ndarray:
    return np.array([set(np.asarray(o)[: len(m)].tolist()) == m for o, m in zip(orders, moved, strict=True)])


def each_seen(detector: AnomalyDetector, names: list[str], rows: list[tuple[np.ndarray, np.ndarray, set[int]]]) -> Any:
    """Which rows have every move flagged if it is the only one, [n] bool."""
    import pandas as pd

    alone, owner = [], []
    for i, (base, moved, columns) in enumerate(rows):
        for j in columns:
            alone.append(np.where(np.arange(len(base)) == j, moved, base))
            owner.append(i)
    flagged = detector.predict(pd.DataFrame(np.stack(alone), columns=names)) == -1
    return np.array([flagged[np.array(owner) == i].all() for i in range(len(rows))])


def judge(name: str, score: str, count: int, seed: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    x, names = table(name, rng)
    slots = name == "lhc"
    cut = int(0.8 * len(x))
    autoencoder = VariationalAutoencoder(slots=SLOTS if slots else None)
    import pandas as pd

    frame = pd.DataFrame(x, columns=names)
    detector = AnomalyDetector(autoencoder, score=score, false_alarm_rate=0.01).fit(frame[:cut])
    move, held = Moves(x[:cut], names, slots), x[cut:]
    normal = held[detector.predict(frame[cut:]) == 1]
    schema = detector.autoencoder_.model_.encoding
    rows = []
    for how, k in SETTINGS:
        bases = [normal[rng.integers(len(normal))] for _ in range(count * (2 if how == "shift" else 12))]
        tried = [(base, *move(base, how, k, rng)) for base in bases]
        planted = pd.DataFrame(np.stack([row for _, row, _ in tried]), columns=names)
        flagged = np.flatnonzero(detector.predict(planted) == -1)
        keep = flagged[:count]
        if not len(keep):
            continue
        some, moved = planted.iloc[keep], [tried[i][2] for i in keep]
        seen = each_seen(detector, names, [tried[i] for i in keep]) if k > 1 else np.ones(len(keep), bool)
        begun = time.perf_counter()
        first = leading(detector.calibrated_, some.to_numpy(), 3)
        seconds = (time.perf_counter() - begun) / len(keep)
        residual = (some.to_numpy() - detector.autoencoder_.reconstruct(some).to_numpy(np.float64)) / schema.scale
        z = (some.to_numpy() - schema.center) / schema.scale
        hit = {
            "diabolo": hits(np.array([[names.index(n) for n, _ in row] for row in first]), moved),
            "squared residual": hits(np.argsort(-np.square(residual), axis=1), moved),
            "z-score": hits(np.argsort(-np.abs(z), axis=1), moved),
        }
        found = {who: int(h.sum()) for who, h in hit.items()}
        each = {f"{who}, each seen": int(h[seen].sum()) for who, h in hit.items()}
        shown = "; ".join(f"{who} {interval(h, len(keep))}" for who, h in found.items())
        if k > 1 and seen.any():
            shown += f"; each seen ({seen.sum()}): diabolo {interval(each['diabolo, each seen'], int(seen.sum()))}"
        print(
            f"{name:18s} {detector.score_:10s} {how} {k}: {len(keep)} rows of {len(flagged)}/{len(tried)} flagged; "
            f"{shown}; {1e3 * seconds:.0f} ms a row",
            flush=True,
        )
        rows.append({"table": name, "how": how, "k": k, "n": len(keep), "n_each": int(seen.sum()), "seconds": seconds})
        rows[-1] |= found | each
    return rows


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--tables", default=",".join(("gaussian", *TABLES, "lhc")), help="names, comma between")
    parser.add_argument("--score", default="auto", help="the detector's score (default: auto)")
    parser.add_argument("--count", type=int, default=100, help="planted rows that are flagged, of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    count = 10 if options.quick else options.count
    print(common.machine_line())
    rows = [r for name in options.tables.split(",") for r in judge(name, options.score, count, options.seed)]
    print("\nover all tables, rows pooled:")
    for how, k in SETTINGS:
        some = [r for r in rows if (r["how"], r["k"]) == (how, k)]
        n = sum(int(str(r["n"])) for r in some)
        if n:
            whole = {w: sum(int(str(r[w])) for r in some) for w in ("diabolo", "squared residual", "z-score")}
            print(f"  {how} {k}: {n} rows; " + "; ".join(f"{w} {interval(h, n)}" for w, h in whole.items()))
        n = sum(int(str(r["n_each"])) for r in some)
        if n and k > 1:
            of = sum(int(str(r["diabolo, each seen"])) for r in some)
            print(f"  {how} {k}, each move flagged alone: {n} rows; diabolo {interval(of, n)}")
    common.write_json(options.json, "explain", options, {"rows": rows})


if __name__ == "__main__":
    sys.exit(main())
