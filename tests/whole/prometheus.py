"""A scripted Prometheus: answers each version's guardrail query as it was told, and remembers who asked when."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from aiohttp import web

from modelramp.ports import Ref

QUERY = "errors{namespace={{namespace}}, name={{name}}, version={{version}}}"
"""What the guardrails of the whole tests ask."""
COUNTER = "requests{namespace={{namespace}}, name={{name}}, version={{version}}}"
"""What is asked for a count of requests; `counters` answer."""
GOOD, BAD = 0.001, 0.5
_LABEL = re.compile(r'(namespace|name|version)="([^"]*)"')


class Odd(Enum):
    """Answers that are no number; none of them may ever pass."""

    NAN = "NaN"
    INFINITE = "+Inf"
    EMPTY = "empty"
    SEVERAL = "several"
    HTML = "html"
    WARNINGS = "warnings"
    ERROR = "error"
    HANG = "hang"


Reply = float | Odd


@dataclass(frozen=True)
class Asked:
    """One question and what was answered; `at` is the monotonic time at which the answer was sent."""

    at: float
    ref: Ref
    version: str
    reply: Reply


@dataclass
class ScriptedPrometheus:
    """Listens on `port`; `usual` is what is answered about everything that has no reply of its own."""

    usual: Reply = GOOD
    replies: dict[tuple[Ref, str], Callable[[], Reply]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    counters: dict[Ref, Callable[[str], Awaitable[float]]] = field(default_factory=dict)
    """Who counts the requests to an object's versions."""
    port: int = 0

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def say(self, ref: Ref, version: str, reply: Reply | Callable[[], Reply]) -> None:
        """Answer this about a version from now on, or what is returned when it is asked about."""
        self.replies[ref, version] = reply if callable(reply) else lambda: reply

    def answers(self, ref: Ref, version: str = "") -> list[Asked]:
        """Return what was answered about an object, or one version of it."""
        return [each for each in self.asked if each.ref == ref and version in ("", each.version)]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedPrometheus]:
        """Listen on a free port until the end of the block."""
        await self._open(0)
        try:
            yield self
        finally:
            await self._close()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Refuse every connection meanwhile."""
        await self._close()
        try:
            yield
        finally:
            await self._open(self.port)

    @contextmanager
    def saying(self, reply: Reply) -> Iterator[None]:
        """Answer this about everything meanwhile."""
        before, self.usual = self.usual, reply
        try:
            yield
        finally:
            self.usual = before

    async def _open(self, port: int) -> None:
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        form = await request.post()
        query = str(form.get("query", ""))
        labels = dict(_LABEL.findall(query))
        ref, version = Ref(labels.get("namespace", ""), labels.get("name", "")), labels.get("version", "")
        if query.startswith("requests{"):
            return _response(await self.counters[ref](version))
        reply = self.replies.get((ref, version), lambda: self.usual)()
        if reply is Odd.HANG:
            await asyncio.sleep(30)
        response = _response(reply)
        self.asked.append(Asked(time.monotonic(), ref, version, reply))
        return response


def _response(reply: Reply) -> web.Response:
    if reply is Odd.HTML:
        return web.Response(text="<html><body>Please log in</body></html>", content_type="text/html")
    if reply is Odd.ERROR:
        return web.json_response({"status": "error", "errorType": "internal", "error": "disk"}, status=503)
    return web.json_response(_answered(reply))


def _answered(reply: Reply) -> dict[str, Any]:
    match reply:
        case Odd.EMPTY:
            return _document()
        case Odd.SEVERAL:
            return _document("0.001", "0.002")
        case Odd.WARNINGS:
            return _document("0.001") | {"warnings": ["a store did not answer"]}
        case Odd():
            return _document(reply.value)
        case number:
            return _document(str(number))


def _document(*values: str) -> dict[str, Any]:
    now = time.time()
    found = [{"metric": {"instance": str(index)}, "value": [now, value]} for index, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": found}}
