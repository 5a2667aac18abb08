"""Requests and answers as handlers see them, over ASGI: a body is read as far as it is allowed to be long."""

from __future__ import annotations

import dataclasses
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import orjson

from diabolo.errors import DiaboloError
from diabolo.screen import visible
from diabolo.serve.faults import Fault

__all__ = ["Answer", "Ask", "Gone", "Handler", "Receive", "Scope", "Send", "failed", "json_answer"]

LOG = logging.getLogger("diabolo.serve")

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
#: NumPy's dates and numbers come out of columns; a name of a column may be any text.
OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z


class Gone(Exception):
    """The caller has gone before the request was whole."""


@dataclasses.dataclass(slots=True)
class Answer:
    """What is sent back."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"content-type": "application/json"})

    async def send(self, send: Send) -> None:
        headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in self.headers.items()]
        headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def json_answer(said: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """JSON; numbers that are not finite become null."""
    return Answer(orjson.dumps(said, option=OPTIONS), status, {"content-type": "application/json", **(headers or {})})


class Ask:
    """A request.

    Args:
        scope, receive: of ASGI.
        most: bytes that its body may have.
    """

    __slots__ = ("_most", "_receive", "headers", "scope")

    def __init__(self, scope: Scope, receive: Receive, most: int) -> None:
        self.scope, self._receive, self._most = scope, receive, most
        self.headers = {k: v.decode("latin-1") for k, v in reversed(scope["headers"])}

    @property
    def kind(self) -> str:
        """The media type of its body, in small letters and without parameters."""
        return str(self.headers.get(b"content-type", "")).partition(";")[0].strip().lower()

    @property
    def query(self) -> dict[str, str]:
        raw = self.scope["query_string"]
        return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)) if raw else {}

    @property
    def path(self) -> dict[str, str]:
        """The parts of the address that a route names."""
        found: dict[str, str] = self.scope["path_params"]
        return found

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number of the query, from 0 to `most`.

        Raises:
            Fault: it is none.
        """
        word = self.query.get(name)
        if word is None:
            return default
        if not (word.isascii() and word.isdecimal()) or len(word) > 9 or int(word) > most:
            raise Fault(f"{name}: allowed are whole numbers from 0 to {most:,}", 400, allowed=most)
        return int(word)

    async def body(self) -> bytes:
        """The body.

        Raises:
            Fault: it is too long, or packed.
            Gone: the caller has gone.
        """
        if self.headers.get(b"content-encoding", "identity").strip().lower() != "identity":
            raise Fault("the body is packed: allowed is a body without Content-Encoding", 415, allowed=["identity"])
        said = self.headers.get(b"content-length", "")
        if said.isdecimal() and (len(said) > 18 or int(said) > self._most):
            raise self._too_long()
        parts, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            part = message.get("body", b"")
            size += len(part)
            if size > self._most:
                raise self._too_long()
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_long(self) -> Fault:
        return Fault(f"the body is longer than {self._most:,} bytes: send fewer rows", 413, allowed=self._most)


class Handler:
    """A coroutine that answers a request, as an ASGI application."""

    def __init__(self, answer: Callable[[Ask], Awaitable[Answer]], most: int, route: str) -> None:
        self._answer, self._most, self._route = answer, most, route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["diabolo.route"] = self._route
        try:
            answer = await self._answer(Ask(scope, receive, self._most))
        except Gone:
            return
        except Exception as error:
            answer = failed(error)
        await answer.send(send)


def failed(error: Exception) -> Answer:
    """What is said of a failure: of one that nobody foresaw, no more than that there was one."""
    if isinstance(error, Fault):
        headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}}.get(error.status)
        return json_answer(error.said, error.status, headers)
    if isinstance(error, DiaboloError):
        return json_answer({"error": visible(str(error))}, 422)
    # What was asked stays out of the log: an exception's text may hold a cell.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    LOG.error("%s at %s:%d", type(error).__name__, frame.filename.rpartition("/")[2], frame.lineno)
    return json_answer({"error": "a failure of the endpoint; its log says where"}, 500)
