"""The page's requests as an ASGI application: the map, histograms, the table, explanations and marks."""

from __future__ import annotations

import asyncio
import dataclasses
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from diabolo.detect.explaining import explain
from diabolo.explore.asking import box_of, fields_of, selection_of, size_of
from diabolo.explore.bins import Field
from diabolo.explore.measuring import Measured
from diabolo.explore.view import MOST_POINTS, View, plain
from diabolo.serve.application import no_route
from diabolo.serve.faults import Fault
from diabolo.serve.guard import Guard
from diabolo.serve.messages import Answer, Ask, Handler, json_answer
from diabolo.serve.metrics import Metrics
from diabolo.serve.page import static
from diabolo.serve.settings import Settings

__all__ = ["Explorer"]

#: Bytes of a request, rows of the table in an answer, neighbors of an explained row.
MOST_BODY, PAGE, NEIGHBORS = 1 << 20, 50, 3
FILES = {"/": "page.html", "/page.js": "page.js", "/draw.js": "draw.js", "/page.css": "page.css"}


class Explorer:
    """Rows, and what answers each request.

    Args:
        measured: the rows.
        fields, codes: of `binned`.
        model, data: how the person named them.
        hosts: names by which the page may be asked for.
    """

    def __init__(
        self, measured: Measured, fields: list[Field], codes: Any, model: Path, data: str, hosts: tuple[str, ...]
    ) -> None:
        self._m, self._model, self._data = measured, model, data
        self.view = View(measured, fields, codes)
        self._one = asyncio.Lock()
        table: list[tuple[str, str, Callable[[Ask], Awaitable[Answer]]]] = [
            ("GET", "/about", self.about),
            ("POST", "/map", self.map),
            ("POST", "/histograms", self.histograms),
            ("POST", "/table", self.table),
            ("POST", "/mark", self.mark),
            ("GET", "/rows/{row}", self.row),
            ("GET", "/rows.csv", self.rows),
            *(("GET", address, self.file) for address in FILES),
        ]
        routes = [Route(path, Handler(answer, MOST_BODY, path), methods=[method]) for method, path, answer in table]
        routed = Starlette(routes=routes, exception_handlers={HTTPException: no_route})
        self.asgi = Guard(routed, Settings(model, hosts=hosts), Metrics())

    async def file(self, ask: Ask) -> Answer:
        return static("diabolo.explore", FILES[ask.scope["path"]])

    async def about(self, ask: Ask) -> Answer:
        m, detector, view = self._m, self._m.detector, self.view
        return json_answer(
            {
                "model": str(self._model),
                "data": self._data,
                "rows": len(m),
                "total": m.total,
                "anomalies": int(m.is_anomaly.sum()),
                "unscored": len(m.flags),
                "score": detector.score_name,
                "threshold": detector.threshold,
                "rate": detector.rate,
                "calibration": detector.calibration.said,
                "axes": m.axes,
                "clusters": m.cluster is not None,
                "whole": view.whole,
                "first": view.first,
                "points": MOST_POINTS,
                "fields": [_field(f) for f in view.fields],
                "marked": int(view.marked.sum()),
                "commands": _commands(self._model, self._data),
            }
        )

    async def map(self, ask: Ask) -> Answer:
        said = await _json(ask)
        view, size = box_of(said.get("view"), "view"), size_of(said)
        return json_answer(self.view.map(selection_of(said, self.view.fields), view, size))

    async def histograms(self, ask: Ask) -> Answer:
        said = await _json(ask)
        chosen, fields = selection_of(said, self.view.fields), fields_of(said, self.view.fields)
        return json_answer({"rows": self.view.count(chosen), "bars": self.view.histograms(chosen, fields)})

    async def table(self, ask: Ask) -> Answer:
        said = await _json(ask)
        chosen, fields = selection_of(said, self.view.fields), fields_of(said, self.view.fields)
        start = said.get("start", 0)
        if type(start) is not int or not 0 <= start <= len(self._m):
            raise Fault(f"start: allowed are whole numbers from 0 to {len(self._m):,}", 400)
        return json_answer({"rows": self.view.table(chosen, fields, start, PAGE)})

    async def mark(self, ask: Ask) -> Answer:
        said = await _json(ask)
        on, rows = said.get("on"), said.get("rows")
        if type(on) is not bool or (rows is not None and not isinstance(rows, list)):
            raise Fault("allowed are on: true or false, and rows: a list of row numbers, or a selection", 400)
        if rows is None:
            self.view.mark(selection_of(said, self.view.fields), on)
        else:
            self.view.mark([self._position(row) for row in rows], on)
        return json_answer({"marked": int(self.view.marked.sum())})

    async def rows(self, ask: Ask) -> Answer:
        """The marked rows as the list that other verbs read."""
        lines = "".join(f"{row},{self._m.total}\n" for row in self._m.rows[self.view.marked])
        headers = {"content-type": "text/csv; charset=utf-8", "content-disposition": 'attachment; filename="rows.csv"'}
        return Answer(f"row,table_rows\n{lines}".encode(), 200, headers)

    async def row(self, ask: Ask) -> Answer:
        """A row with its cells, and why it has its score."""
        word = ask.path["row"]
        if not (word.isascii() and word.isdecimal() and len(word) < 16):
            raise Fault("a row has a whole number from 0", 400)
        i, m = self._position(int(word)), self._m
        async with self._one:
            (found,) = await asyncio.to_thread(explain, m.detector, m.values(i), NEIGHBORS, int(word))
        told = dataclasses.asdict(found)
        told["columns"] = [{**c, "seen": plain(c["seen"]), "expected": plain(c["expected"])} for c in told["columns"]]
        told["neighbors"] = [
            {"distance": n["distance"], "values": {k: plain(v) for k, v in n["values"].items()}}
            for n in told["neighbors"]
        ]
        known = {c["column"] for c in told["columns"]}
        others = {n: self.view.cell(i, n) for n in m.cells.column_names if n not in known}
        cluster = None if m.cluster is None else int(m.cluster[i])
        place = self.view.place(i)
        return json_answer(
            {**told, "place": place, "others": others, "cluster": cluster, "marked": bool(self.view.marked[i])}
        )

    def _position(self, row: Any) -> int:
        found = self.view.position(row) if type(row) is int else None
        if found is None:
            where = "the table" if len(self._m) == self._m.total else "the sample"
            raise Fault(f"row {row!r:.40}: {where} has no such row", 404)
        return found


async def _json(ask: Ask) -> dict[str, Any]:
    try:
        said = orjson.loads(await ask.body())
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raise Fault("the body is no JSON object", 400)
    return said


def _field(field: Field) -> dict[str, Any]:
    counts = field.counts.tolist()
    shown = ("name", "own", "kind", "edges", "levels", "open", "apart")
    told = {name: getattr(field, name) for name in shown}
    return {**told, "counts": counts[: field.bars], "missing": counts[-1]}


def _commands(model: Path, data: str) -> dict[str, str]:
    """What to do with the list of marked rows, as a person may paste it."""
    m, d = shlex.quote(str(model)), shlex.quote(data)
    return {
        "explain": f"diabolo explain {m} {d} --rows rows.csv",
        "fit": f"diabolo fit {d} -o new.diabolo --exclude-rows rows.csv",
        "calibrate": f"diabolo calibrate {m} {d} --exclude-rows rows.csv",
    }
