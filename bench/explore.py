"""`diabolo explore` on made rows: processor time from the file to the first picture, and of each request of the page.

    bench/explore.py                    1,000,000 rows of 20 columns
    bench/explore.py --rows N           of another size
    bench/explore.py --score auto       by another score than nll

All in one process on one thread; seconds are processor time, for the clock also counts other work. The rivals in the
same run: `numpy.histogram2d` for the density of the whole map, and UMAP (umap-learn), which embedding-atlas runs where
a file has no places, on the same codes, of 20,000 rows only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path

import common  # noqa: F401  (pins threads before NumPy is there)
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diabolo import AnomalyDetector, VariationalAutoencoder
from diabolo.data.reading import as_fitted
from diabolo.explore.application import Explorer
from diabolo.explore.atlas import write_atlas
from diabolo.explore.bins import binned
from diabolo.explore.measuring import measure
from diabolo.file.model_file import ModelFile

COLUMNS, FIT, EMBEDDED, REPEATS = 20, 50_000, 20_000, 7
CELLS = [200, 130]


def table(n):
    """Three groups on a curved surface, with noise, 1 % foreign rows, a column of words and one of dates."""
    rng, basis = np.random.default_rng(0), np.random.default_rng(1).normal(size=(4, COLUMNS))
    group = rng.integers(0, 3, n)
    z = rng.normal(size=(n, 4)) + np.array([[0, 0, 0, 0], [4, 1, 0, 1], [-2, 3, 1, 0]])[group]
    x = (z @ basis + 0.3 * rng.normal(size=(n, COLUMNS))).astype(np.float32)
    x[rng.random(n) < 0.01] *= 2.5
    columns = {f"f{i}": x[:, i] for i in range(COLUMNS)}
    columns["kind"] = np.array(["red", "green", "blue"])[group]
    columns["when"] = np.datetime64("2024-01-01", "s") + rng.integers(0, 86_400 * 300, n).astype("timedelta64[s]")
    return pa.table(columns)


class Page:
    """Requests to the page without a socket."""

    def __init__(self, explorer):
        self.app = explorer.asgi

    def ask(self, method, path, body=None):
        """(processor ms, bytes, answer) of a request."""
        sent, raw = [], b"" if body is None else json.dumps(body).encode()
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
        scope |= {"headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")], "http_version": "1.1"}

        async def receive():
            return {"type": "http.request", "body": raw, "more_body": False}

        async def send(message):
            sent.append(message)

        async def run():
            await self.app({**scope, "scheme": "http", "server": ("127.0.0.1", 80), "root_path": ""}, receive, send)

        begun = time.process_time()
        asyncio.run(run())
        spent = 1e3 * (time.process_time() - begun)
        if sent[0]["status"] != 200:
            raise SystemExit(f"{path}: {sent[1]['body']!r}")
        return spent, len(sent[1]["body"]), sent[1]["body"]


def requests(page, rows):
    """What a person does, by name: a list of requests, each asked once with other numbers."""
    about = json.loads(page.ask("GET", "/about")[2])
    fields = list(range(2, 14))
    a, b, c, d = about["first"]
    views = [[a + k * (b - a) / 40, b, c, d] for k in range(REPEATS)]
    boxes = [[a, a + (b - a) * (0.4 + k / 40), c, d] for k in range(REPEATS)]
    deep = [[a + (b - a) * (0.4 + k / 100), a + (b - a) * (0.44 + k / 100), c, d] for k in range(REPEATS)]
    brush = [{"filters": [[3, 5 + k, 30], [4, 3, 33]]} for k in range(REPEATS)]
    odd = np.linspace(0, rows - 1, REPEATS).astype(int).tolist()
    return {
        "map, all rows": [("POST", "/map", {"view": about["whole"], "size": CELLS})] * REPEATS,
        "map, moved": [("POST", "/map", {"view": v, "size": CELLS}) for v in views],
        "map, zoomed in": [("POST", "/map", {"view": v, "size": CELLS}) for v in deep],
        "map, two brushes": [("POST", "/map", {"view": views[0], "size": CELLS, **s}) for s in brush],
        "12 histograms, a box": [("POST", "/histograms", {"box": v, "fields": fields}) for v in boxes],
        "12 histograms, two brushes": [("POST", "/histograms", {"fields": fields, **s}) for s in brush],
        "table, a box": [("POST", "/table", {"box": v, "fields": fields}) for v in boxes],
        "table, two brushes": [("POST", "/table", {"fields": fields, **s}) for s in brush],
        "mark a box": [("POST", "/mark", {"box": v, "on": bool(k % 2)}) for k, v in enumerate(boxes)],
        "a row with its explanation": [("GET", f"/rows/{row}", None) for row in odd],
    }


def make(folder, rows):
    """The table, and a model of some of its rows."""
    made = table(rows)
    pq.write_table(made, folder / "rows.parquet")
    used = made.drop_columns(["kind", "when"]).slice(0, FIT).to_pandas()
    AnomalyDetector(VariationalAutoencoder(latent_dim=4, epochs=5, random_state=0)).fit(used).save(folder / "m.diabolo")


def main():
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--rows", type=int, default=1_000_000)
    words.add_argument("--score", default="nll")
    asked = words.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder, asked.rows))
        maker.start()  # a process of its own, so that the peak of memory is the page's
        maker.join()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begun, clock = time.process_time(), time.perf_counter()
        file = ModelFile(folder / "m.diabolo")
        detector = file.detector.choosing(asked.score)
        source = as_fitted(str(folder / "rows.parquet"), file.schema)
        measured = measure(file, detector, source, folder, lambda _: None)
        scored = time.process_time() - begun
        fields, codes = binned(measured, folder)
        explorer = Explorer(measured, fields, codes, folder / "m.diabolo", "rows.parquet", ("127.0.0.1",))
        page = Page(explorer)
        page.ask("GET", "/about")
        page.ask("POST", "/map", {"view": list(explorer.view.first), "size": CELLS})
        total = time.process_time() - begun
        waited = time.perf_counter() - clock
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
        print(f"{asked.rows:,} rows of {COLUMNS + 2} columns by {asked.score}")
        print(
            f"first picture       {total:7.1f} s, of which scores and codes {scored:.1f} s; by the clock {waited:.1f} s"
        )
        disk = (folder / "cells.arrow").stat().st_size / 1e6
        print(f"memory above imports {grown:6,.0f} MB; cells on disk {disk:,.0f} MB")
        for what, list_ in requests(page, asked.rows).items():
            found = [page.ask(*one) for one in list_]
            spent = [f[0] for f in found]
            size = max(f[1] for f in found) / 1024
            print(f"{what:28s} {statistics.median(spent):6.1f} ms, at most {max(spent):6.1f} ms, {size:6.0f} kB")
        x, y = (v.astype(np.float64) for v in (measured.x, measured.y))
        good = np.isfinite(x) & np.isfinite(y)
        begun = time.process_time()
        np.histogram2d(x[good], y[good], bins=CELLS)
        print(f"rival: numpy.histogram2d     {1e3 * (time.process_time() - begun):6.1f} ms")
        begun = time.process_time()
        write_atlas(measured, str(folder / "atlas.parquet"))
        size = (folder / "atlas.parquet").stat().st_size / 1e6
        print(f"atlas.parquet       {time.process_time() - begun:7.1f} s, {size:.0f} MB")
        rival(np.array(measured.codes[:EMBEDDED]))


def rival(codes):
    try:
        import umap
    except ImportError:
        print("rival: UMAP (pip install umap-learn) is not installed")
        return
    begun = time.process_time()
    umap.UMAP(n_jobs=1, random_state=0).fit_transform(codes)
    print(f"rival: UMAP of {len(codes):,} rows alone {time.process_time() - begun:7.1f} s")


if __name__ == "__main__":
    main()
