"""What a report costs: seconds and bytes for 100,000 rows on one core, beside a page of the map alone by Plotly.

Each data set is fitted once, quickly (the report's cost does not hang on how well); then `write_report` from a model
file and a table in a file, read, scored, drawn and written. Plotly's page has the same points of the latent map,
colored by score and with the same columns on hover, and its script within, as a page that opens offline must.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diabolo import AnomalyDetector, VariationalAutoencoder
from diabolo.report import write_report
from diabolo.report.evidence import Evidence
from diabolo.report.write import _given, _rows

ROWS, FITTED, QUICK = 100_000, 20_000, 3_000
SLOTS = {"e": 4, "mu": 4, "j": 10}


def events(rows: int) -> tuple[pa.Table, dict]:
    table = pq.read_table(common.data_path("lhc", "background_train.parquet")).slice(0, rows)
    return table.drop(["process"]), {"slots": SLOTS, "epochs": 5, "batch_size": 512}


def celeba(rows: int) -> tuple[pa.Table, dict]:
    with np.load(common.data_path("adbench", "8_celeba.npz")) as file:
        x = file["X"][:rows].astype(np.float64)
    return pa.table({f"x{i}": x[:, i] for i in range(x.shape[1])}), {"epochs": 5, "batch_size": 512}


def images(rows: int) -> tuple[np.ndarray, dict]:
    with np.load(common.data_path("mnist", "mnist.npz")) as file:
        return file["x_train"][:rows], {"latent_dim": 8, "hidden": (128, 64), "epochs": 2, "batch_size": 128}


SETS = {"LHC events, 56 columns": events, "celeba, 39 columns": celeba, "MNIST, 784 pixels": images}


def plotly_page(model: Path, data: str, out: Path) -> None:
    """The latent map as Plotly's scatter."""
    import plotly.graph_objects as go

    given = _given(model, False)
    e = Evidence(given, _rows(given, data, None))
    codes, values = e.mapped_pass.codes[:, :2], e.rows.values[e.mapped][:, :60]
    marker = {"color": e.scores[e.mapped], "colorscale": "Viridis"}
    points = go.Scattergl(x=codes[:, 0], y=codes[:, 1], mode="markers", marker=marker, customdata=values)
    go.Figure(points).write_html(out, include_plotlyjs=True)


def measured(name: str, rows: int, fitted: int, pairs: int) -> None:
    data, settings = SETS[name](rows)
    with tempfile.TemporaryDirectory() as folder:
        model, page, other = (Path(folder, n) for n in ("m.diabolo", "report.html", "plotly.html"))
        source = Path(folder, "data.npy" if isinstance(data, np.ndarray) else "data.parquet")
        if isinstance(data, np.ndarray):
            np.save(source, data)
        else:
            pq.write_table(data, source)
        detector = AnomalyDetector(VariationalAutoencoder(**settings)).fit(data[:fitted])
        detector.save(model)

        def timed(out: Path, write: Callable[[], None]) -> common.Measured:
            with common.Clock() as clock:
                write()
            return {
                **common.rate(len(data), clock),
                "seconds": clock.wall,
                "cpu": clock.cpu,
                "bytes": out.stat().st_size,
            }

        rivals = {"report": lambda _: timed(page, lambda: write_report(model, str(source), page))}
        if importlib.util.find_spec("plotly") is not None:
            rivals["Plotly, map alone"] = lambda _: timed(other, lambda: plotly_page(model, str(source), other))
        found = common.rounds(rivals, pairs, warm_up=False)
    print(f"\n{name}: {len(data):,} rows, scored by {detector.score_}")
    for who, times in found.items():
        size = int(common.column(times, "bytes")[0])
        cpu, wall = (common.spread(common.column(times, k)) for k in ("cpu", "seconds"))
        print(f"  {who:<18} {cpu} s of this process, {wall} s by the clock; {size:,} bytes")
    if len(found) > 1:
        ratio = [common.column(times, "bytes")[0] for times in found.values()]
        print(f"  bytes, report / Plotly: {ratio[0] / ratio[1]:.2f}")


def main() -> None:
    options = common.parser(__doc__, pairs=3).parse_args()
    rows, fitted = (QUICK, QUICK) if options.quick else (ROWS, FITTED)
    print(common.machine_line())
    for name in SETS:
        measured(name, rows, fitted, options.pairs)


if __name__ == "__main__":
    main()
