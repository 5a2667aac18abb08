"""The endpoint as an ASGI application: its routes, and what answers each."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from diabolo.errors import DAMAGE, ConfigError, DiaboloError
from diabolo.serve.apart import Reader
from diabolo.serve.backends import Diagnosing
from diabolo.serve.faults import Fault
from diabolo.serve.guard import Guard
from diabolo.serve.messages import Answer, Ask, Handler, json_answer
from diabolo.serve.metrics import Metrics
from diabolo.serve.models import LOG, Models, Served
from diabolo.serve.openapi import openapi
from diabolo.serve.page import FILES, about, page_file
from diabolo.serve.reports import Reports
from diabolo.serve.settings import Settings
from diabolo.serve.tables import KINDS, rows_answer, rows_of, written
from diabolo.serve.tensors import HEADER, inference, metadata, rendered
from diabolo.version import __version__

__all__ = ["Endpoint", "app", "no_route"]

#: Rows that are explained in one request.
EXPLAINED = 100


def app(path: str | Path, **settings: Any) -> Any:
    """The endpoint of a model file, or of a folder of them, as an ASGI application.

    Args:
        path: the file, or the folder.
        settings: of `diabolo.serve.settings.Settings`, like `token` and `max_rows`.

    Raises:
        ConfigError: a setting is unknown or out of range; there is no model.
        DiaboloError: a file cannot be served.
    """
    known = [f.name for f in dataclasses.fields(Settings) if f.name != "path"]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ConfigError(f"{', '.join(unknown)}: no such setting; allowed: {', '.join(known)}")
    return Endpoint(Settings(Path(path), **settings)).asgi


class Endpoint:
    """Models, and what answers each route.

    Args:
        settings: how it runs.
        reports: folder for reports that several workers share.
    """

    def __init__(self, settings: Settings, reports: Path | None = None) -> None:
        self._settings, self._metrics = settings, Metrics()
        self._models = Models(settings, self._metrics)
        self._reports, self._reader = Reports(reports), Reader()
        self._slow = 0
        self._judging: dict[str, asyncio.Task[dict[str, Any]]] = {}
        routed = Starlette(routes=self._routes(), lifespan=self._lifespan, exception_handlers={HTTPException: no_route})
        self.asgi = Guard(routed, settings, self._metrics)

    def _routes(self) -> list[Route]:
        model = "/v2/models/{name}"
        table: list[tuple[str, str, Callable[[Ask], Awaitable[Answer]]]] = []
        for at in (model, f"{model}/versions/{{version}}"):
            table.append(("POST", f"{at}/infer", self.infer))
        table += [("POST", "/score", self.score), ("POST", "/explain", self.explain), ("POST", "/report", self.report)]
        for at in (model, f"{model}/versions/{{version}}"):
            table += [("GET", at, self.model), ("GET", f"{at}/ready", self.model_ready)]
        table += [
            ("GET", "/v2/health/live", self.alive),
            ("GET", "/v2/health/ready", self.alive),
            ("GET", "/v2", self.server),
            ("GET", "/health/drift", self.drift),
            ("GET", "/metrics", self.metrics),
            ("GET", "/models", self.cards),
            ("GET", "/openapi.json", self.openapi),
            ("GET", "/report/{name}", self.kept_report),
            *(("GET", address, self.page) for address in FILES),
        ]
        most = self._settings.max_body
        return [Route(path, Handler(answer, most, path), methods=[method]) for method, path, answer in table]

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._models.watch()), asyncio.create_task(self._judge_often())]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._models.close)
        self._reports.close()
        self._reader.close()

    # ── the Open Inference Protocol ───────────────────────────────────────────────────────────────

    async def alive(self, ask: Ask) -> Answer:
        """The files are read before the first request comes."""
        ready = ask.scope["path"].endswith("ready")
        return json_answer({"ready" if ready else "live": True})

    async def server(self, ask: Ask) -> Answer:
        return json_answer({"name": "diabolo", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def model(self, ask: Ask) -> Answer:
        served = self._models.get(ask.path["name"], ask.path.get("version"))
        return json_answer(metadata(served.name, served.version, served.backend.columns))

    async def model_ready(self, ask: Ask) -> Answer:
        served = self._models.get(ask.path["name"], ask.path.get("version"))
        return json_answer({"name": served.name, "ready": True})

    async def infer(self, ask: Ask) -> Answer:
        served = self._models.get(ask.path["name"], ask.path.get("version"))
        header = ask.headers.get(HEADER.encode())
        asked = inference(await ask.body(), header, served.backend.columns, self._settings.max_rows)
        if asked.binary:
            told = (await served.batcher.table(served.backend.columns.table(asked.cells))).to_pydict()
        else:
            told = await served.batcher.lists(asked.cells, asked.rows)
        body, headers = rendered(served.name, served.version, asked, told)
        return Answer(body, 200, headers)

    # ── tables ────────────────────────────────────────────────────────────────────────────────────

    async def score(self, ask: Ask) -> Answer:
        served, kind, most = self._named(ask), ask.kind, self._settings.max_rows
        watched = ask.query.get("drift") != "no"
        if kind in KINDS:
            table = await self._slowly(self._reader.table, await ask.body(), kind, served.backend.columns, most)
            return written(await served.batcher.table(table, watched), kind)
        _check_json(kind)
        cells, rows, alone = rows_of(await ask.body(), served.backend.columns, most)
        return rows_answer(await served.batcher.lists(cells, rows, watched), alone)

    async def explain(self, ask: Ask) -> Answer:
        served, most = self._named(ask), self._settings.neighbors
        served.diagnosing()
        _check_json(ask.kind)
        neighbors = ask.number("neighbors", 0, most)
        cells, rows, alone = rows_of(await ask.body(), served.backend.columns, EXPLAINED)
        if not rows:
            return json_answer([])
        found = await self._slowly(served.diagnosing().explain, served.backend.columns.table(cells), neighbors)
        said = [dataclasses.asdict(e) for e in found]
        return json_answer(said[0] if alone else said)

    async def report(self, ask: Ask) -> Answer:
        served = self._named(ask)
        served.diagnosing()
        suffix = KINDS.get(ask.kind)
        if suffix is None:
            raise Fault(f"a report is of a file: Content-Type is one of {', '.join(KINDS)}", 415, allowed=[*KINDS])
        body, columns = await ask.body(), served.backend.columns
        await self._slowly(self._reader.table, body, ask.kind, columns, self._settings.max_rows)
        name = await self._slowly(self._reports.write, served.path, body, suffix, ask.query.get("name", ""))
        return json_answer({"report": f"/report/{name}"})

    async def kept_report(self, ask: Ask) -> Answer:
        return self._reports.read(ask.path["name"])

    # ── drift ─────────────────────────────────────────────────────────────────────────────────────

    async def drift(self, ask: Ask) -> Answer:
        served = self._named(ask)
        drift = served.drifting()
        said = await self._judged(served) if drift.stale else drift.latest
        if said is None:
            said = {"alarm": False, "n_rows": 0, "level": drift.level}
        return json_answer({"model": served.name, "window": drift.window.most, **said, "history": [*drift.history]})

    async def _judged(self, served: Served) -> dict[str, Any]:
        """A verdict on the window; requests that come meanwhile wait for the same one."""
        running = self._judging.get(served.name)
        if running is None or running.done():
            running = self._judging[served.name] = asyncio.create_task(self._judge(served))
        return await asyncio.shield(running)

    async def _judge(self, served: Served) -> dict[str, Any]:
        drift, window = served.drifting(), served.drifting().window
        found: dict[str, Any] = await self._slowly(drift.judge, served.diagnosing(), window.table(), window.seen)
        self._metrics.judged(served.name, found)
        return found

    async def _judge_often(self) -> None:
        while True:
            await asyncio.sleep(self._settings.every)
            for served in self._models:
                if served.drift is not None and served.drift.stale:
                    try:
                        await self._judged(served)
                    except (DiaboloError, *DAMAGE) as error:
                        LOG.warning("drift of %s: %s", served.name, type(error).__name__)

    # ── about the models ──────────────────────────────────────────────────────────────────────────

    async def cards(self, ask: Ask) -> Answer:
        found = [about(s, await self._typical(s)) for s in self._models]
        limits = {n: getattr(self._settings, n) for n in ("max_rows", "max_body", "window", "neighbors")}
        return json_answer({"diabolo": __version__, "limits": limits, "models": found})

    async def _typical(self, served: Served) -> dict[str, Any]:
        if not isinstance(served.backend, Diagnosing):
            return {}
        if served.typical is None:
            served.typical = await self._slowly(served.backend.typical)
        return served.typical

    async def metrics(self, ask: Ask) -> Answer:
        return Answer(self._metrics.text(), 200, {"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    async def openapi(self, ask: Ask) -> Answer:
        return json_answer(openapi(list(self._models), self._settings, EXPLAINED))

    async def page(self, ask: Ask) -> Answer:
        return page_file(ask.scope["path"])

    # ── shared ────────────────────────────────────────────────────────────────────────────────────

    def _named(self, ask: Ask) -> Served:
        return self._models.get(ask.query.get("model"))

    async def _slowly(self, function: Callable[..., Any], *words: Any) -> Any:
        """What a function gives, in the thread of slow work.

        Raises:
            Fault: too much slow work waits.
        """
        most = self._settings.slow_queue
        if self._slow >= most:
            raise Fault(f"{most:,} slow requests are waiting; try again in a while", 429, allowed=most)
        self._slow += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._models.slow, function, *words)
        finally:
            self._slow -= 1


def _check_json(kind: str) -> None:
    if kind not in ("application/json", ""):
        allowed = ["application/json", *KINDS]
        raise Fault(f"the body's Content-Type is not known; allowed are {', '.join(allowed)}", 415, allowed=allowed)


async def no_route(request: Any, error: Exception) -> Any:
    """What Starlette says of an address that leads nowhere, as JSON."""
    status = getattr(error, "status_code", 404)
    said = "no such address; /openapi.json lists them" if status == 404 else "not by this method; see /openapi.json"
    return Response(orjson.dumps({"error": said}), status, getattr(error, "headers", None), "application/json")
