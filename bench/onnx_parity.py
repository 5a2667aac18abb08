"""Exported graphs beside diabolo itself: every kind of column and score, on rows as they are and spoiled.

Six tables, two of them made: one has every kind of column, one holds objects in slots. Rows that the fit has not seen
come as they are, with gaps, with an infinite cell, with levels never seen and with constants changed. ONNX's reference
evaluator, written in NumPy, is the second engine, on fewer rows.
"""

from __future__ import annotations

import dataclasses
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common  # pins threads, so it comes first
import numpy as np
import onnx
import pandas as pd
from onnx.reference import ReferenceEvaluator

from diabolo import AnomalyDetector, VariationalAutoencoder
from diabolo.data.matching import matched
from diabolo.data.table import as_table
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.choice import applicable
from diabolo.export.onnx.document import document
from diabolo.export.onnx.encoding import cells
from diabolo.export.onnx.graph import Graph
from diabolo.export.onnx.scores import SCORES
from diabolo.export.onnx.verify import Expected, Parity, compared, feed, scored, session

#: Rows of each condition; of scores of tens of passes; of the second engine.
ROWS, FEWER, SECOND = 5_000, 1_000, 24
SLOW = ("neg_elbo", "neg_log_likelihood", "denoise")
CONDITIONS = ("values", "NaN", "inf", "unseen", "constant")


def mixed(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Every kind of column."""
    z = rng.normal(size=(n, 2))
    word = np.array([f"w{i}" for i in range(40)])
    day = pd.Timestamp("2024-01-01")
    return pd.DataFrame(
        {
            "pt": np.exp(z[:, 0]) + 0.05 * rng.normal(size=n),
            "eta": (z @ [1, -1] + 0.1 * rng.normal(size=n)).astype(np.float32),
            "phi": np.arctan2(z[:, 1], z[:, 0]),
            "hits": rng.poisson(np.exp(1 + 0.3 * z[:, 1])).astype(np.int32),
            "counts": rng.poisson(np.exp(2 + 0.3 * z[:, 0])).astype(np.int32),
            "tagged": z[:, 0] > 0,
            "grade": np.choose((z[:, 0] * 2).astype(int).clip(0, 3), [1, 2, 3.5, 5]),
            "site": np.array(["a", "b", "c"])[rng.integers(0, 3, n)],
            "code": word[(rng.pareto(0.7, n) * 2).astype(int).clip(0, 39)],
            "cell": rng.choice([3, 7, 11], n),
            "const": 7.0,
            "kind": "k",
            "when": day + pd.to_timedelta((z[:, 1] * 1e5).astype(int), unit="s"),
            "clock": (day + pd.Series(pd.to_timedelta(rng.integers(0, 86_400, n), unit="s"))).dt.time,
            "gap": np.where(rng.random(n) < 0.1, np.nan, z[:, 1] + 0.2 * rng.normal(size=n)),
        }
    )


def objects(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Up to four objects of three numbers, those that are not there zero."""
    there = np.arange(4) < rng.integers(0, 5, n)[:, None]
    out = {"met": rng.exponential(size=n)}
    for k in range(4):
        out[f"j{k}_pt"] = np.where(there[:, k], rng.exponential(size=n) + 0.3, 0.0)
        out[f"j{k}_eta"] = np.where(there[:, k], rng.normal(size=n) + 1e-3, 0.0)
        out[f"j{k}_phi"] = np.where(there[:, k], rng.uniform(-3, 3, n), 0.0)
    return pd.DataFrame(out)


def adbench(name: str, n: int, rng: np.random.Generator) -> pd.DataFrame:
    with np.load(common.data_path("adbench", f"{name}.npz")) as data:
        x = data["X"][data["y"] == 0]
    x = x[rng.permutation(len(x))[:n]]
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])


def digits(n: int, rng: np.random.Generator) -> np.ndarray:
    with np.load(common.data_path("mnist", "mnist.npz")) as data:
        images = data[next(k for k in ("x_train", "train_images", "train") if k in data)]
    return images[rng.permutation(len(images))[:n]].reshape(-1, 28, 28)


def tables(quick: bool) -> dict[str, tuple[object, dict]]:
    """Rows of each table, and settings of its autoencoder."""
    rng, n = np.random.default_rng(0), 3_000 if quick else 15_000
    found: dict[str, tuple[object, dict]] = {
        "mixed (made)": (mixed(n, rng), {"kinds": {"cell": "categorical", "counts": "count"}}),
        "objects (made)": (objects(n, rng), {"slots": {"j": 4}, "likelihood": "auto"}),
    }
    if quick:
        return found
    events = pd.read_parquet(common.data_path("lhc", "background_train.parquet"))
    return found | {
        "LHC events": (events.iloc[rng.permutation(len(events))[:n]].reset_index(drop=True), {}),
        "ADBench cover": (adbench("10_cover", n, rng), {}),
        "ADBench campaign": (adbench("5_campaign", n, rng), {}),
        "MNIST, conv": (digits(n // 2, rng), {"network": "conv"}),
    }


def spoiled(detector: Calibrated, rows: np.ndarray, how: str, rng: np.random.Generator) -> np.ndarray | None:
    """Rows of a condition; None where no column can be in it."""
    e, out = detector.reference.model.encoding, rows.copy()
    if how == "NaN":
        out[rng.random(out.shape) < 0.2] = np.nan
    elif how == "inf":
        numbers = np.array([i for i, c in enumerate(e.schema.columns) if not c.levels or c.kind == "ordinal"])
        out[np.arange(len(out)), rng.choice(numbers, len(out))] = np.inf
    elif how == "unseen":
        at = [*e.categorical, *e.ordinal]
        for c in at:
            hit, column = rng.random(len(out)) < 0.5, e.schema.columns[c]
            out[hit, c] = len(column.levels) if c in e.categorical else column.high + 0.37
        return out if at else None
    elif how == "constant":
        for c in e.constant:
            out[rng.random(len(out)) < 0.5, c] += 1.0
        return out if e.constant else None
    return out


@dataclasses.dataclass
class Line:
    """What was found for one score of a table."""

    rows: int = 0
    score: float = 0.0
    over: int = 0
    ranks: int = 0
    verdicts: int = 0
    outside: int = 0
    flags: int = 0
    second: float = float("nan")

    def add(self, found: Parity) -> None:
        self.rows += found.rows
        self.score, self.ranks = max(self.score, found.score), max(self.ranks, found.ranks)
        self.over += found.over
        self.verdicts += found.verdicts
        self.outside += found.outside
        self.flags += found.flags


def of_score(detector: Calibrated, name: str, parts: dict[str, np.ndarray]) -> Line:
    """One graph beside diabolo, on all conditions."""
    e = detector.reference.model.encoding
    judge = detector.choosing(name) if name in detector.calibrations else None
    made = document(detector.reference, name, judge)
    run, model = session(made.data), onnx.load_from_string(made.data)
    text = [i.name for i in model.graph.input if i.name != "threshold"]
    given = cells(Graph(), e, matrix=text == ["x"])
    expected = Expected(detector.reference, name, judge, given)
    line = Line()
    for rows in parts.values():
        some = rows[: FEWER if name in SLOW else ROWS]
        line.add(compared(expected, some, scored(run, e.schema, expected, some)[0]))
    if name in ("auto", "nll"):
        few = np.concatenate([rows[: SECOND // len(parts) + 1] for rows in parts.values()])
        given_few = feed(e.schema, given, few)
        defaults = {} if judge is None else {"threshold": np.array(judge.threshold)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with np.errstate(all="ignore"):
                said = ReferenceEvaluator(model).run(["score"], {**given_few, **defaults})[0]
        line.second = compared(expected, few, np.asarray(said)).score
    return line


def main() -> None:
    words = common.parser(__doc__)
    words.add_argument("--only", default="", help="tables whose name holds this word")
    options = words.parse_args()
    print(common.machine_line())
    print(
        "| table | kinds | score | rows | verdicts off | outside 1e-4 | over 1e-4 | largest | ranks | second engine |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    results, total = {}, Line()
    for title, (data, settings) in tables(options.quick).items():
        if options.only not in title:
            continue
        rng = np.random.default_rng(1)
        count = len(data)
        train, rest = data[: 2 * count // 3], data[2 * count // 3 :]
        detector = AnomalyDetector(VariationalAutoencoder(epochs=3, **settings)).fit(train).calibrated_
        schema = detector.reference.model.encoding.schema
        rows = matched(as_table(rest), schema, "the detector").values
        parts = {how: s for how in CONDITIONS if (s := spoiled(detector, rows[:ROWS], how, rng)) is not None}
        kinds = ", ".join(dict.fromkeys(c.kind for c in schema.columns)) + (", slots" if schema.groups else "")
        for name in (n for n in SCORES if n in applicable(detector.reference)):
            line = of_score(detector, name, parts)
            results[f"{title}: {name}"] = dataclasses.asdict(line)
            second = "" if np.isnan(line.second) else f"{line.second:.0e}"
            print(
                f"| {title} | {kinds} | `{name}` | {line.rows:,} | {line.verdicts} | {line.outside} | {line.over} "
                f"| {line.score:.1e} | {line.ranks} | {second} |",
                flush=True,
            )
            total.rows += line.rows
            total.verdicts += line.verdicts
            total.outside += line.outside
            total.flags += line.flags
            kinds = ""
    print(f"all: {total.rows:,} rows, {total.verdicts} verdicts off, {total.outside} outside 1e-4, {total.flags} flags")
    common.write_json(options.json, "onnx_parity", options, results)


if __name__ == "__main__":
    main()
