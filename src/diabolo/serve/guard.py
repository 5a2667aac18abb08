"""Around every request: who may ask, which address it is for, and what is counted."""

from __future__ import annotations

import hmac
import time
from typing import Any

from diabolo.serve.faults import Fault
from diabolo.serve.messages import Receive, Scope, Send, failed
from diabolo.serve.metrics import Metrics
from diabolo.serve.settings import Settings

__all__ = ["Guard"]

#: Answered without a token: probes of a cluster, and the page, which holds nothing of a model.
OPEN = frozenset({"/", "/page.js", "/page.css", "/v2/health/live", "/v2/health/ready"})
#: A report's address cannot be guessed, and a link sends no token.
REPORTS = "/report/"
#: On every answer: a page of another site neither reads it nor frames it.
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


#: Counted for a request whose caller went before the answer.
GONE = 499


class Guard:
    """An ASGI application around another one.

    Args:
        inner: answers.
        settings: of the endpoint.
        metrics: count requests.
    """

    def __init__(self, inner: Any, settings: Settings, metrics: Metrics) -> None:
        self._inner, self._metrics = inner, metrics
        self._token = None if settings.token is None else settings.token.encode()
        self._hosts = frozenset(h.lower() for h in settings.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        begun, status = time.perf_counter(), GONE

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        try:
            self._admit(scope)
            await self._inner(scope, receive, noted)
        except Fault as fault:
            await failed(fault).send(noted)
        finally:
            self._metrics.answered(scope.get("diabolo.route", "other"), status, time.perf_counter() - begun)

    def _admit(self, scope: Scope) -> None:
        """Refuse who has no token, and what another site's page asks.

        Raises:
            Fault: 401 or 403.
        """
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if self._hosts and name not in self._hosts:
            raise Fault("this endpoint is not known by that name; --host gives it another", 403)
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower().partition("://")[2] != host:
            raise Fault("a page of another site may not ask", 403)
        if self._token is None or scope["path"] in OPEN or scope["path"].startswith(REPORTS):
            return
        kind, _, word = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(word.strip(), self._token):
            raise Fault("a token is needed: Authorization: Bearer TOKEN", 401)
