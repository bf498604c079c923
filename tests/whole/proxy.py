"""A proxy between one operator and the API server: counts and numbers what is written, and fails where it is told.

It takes plain HTTP, so that a kubeconfig with its address is all that the operator needs.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

import aiohttp
from aiohttp import web

from tests.controlplane import ApiServer

MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_RESOURCE = re.compile(
    r"^/apis?(?:/[^/]+){1,2}/namespaces/[^/]+/(?P<plural>[^/?]+)(?:/(?P<name>[^/?]+))?(?P<sub>/\w+)?"
)
_PASSED_ON = ("Authorization", "Content-Type", "Accept", "User-Agent")


class When(Enum):
    """The two moments of a write at which a process can die unnoticed."""

    BEFORE = "before"
    """The API server never hears of it."""
    AFTER = "after"
    """It is stored, and nobody is told."""


@dataclass
class Write:
    """One mutating call; `number` counts from 1, Lease renewals left out (0). `status` is 0 until it is answered."""

    number: int
    method: str
    resource: str
    name: str
    at: float
    body: bytes = field(repr=False, default=b"")
    status: int = 0

    def __str__(self) -> str:
        return f"{self.number}: {self.method} {self.resource} {self.name} -> {self.status}"


@dataclass
class Hold:
    """Writes that wait in the proxy until they are let go: packets that arrive late."""

    wanted: Callable[[Write], bool]
    held: list[Write] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let them go on to the API server."""
        self.open.set()


Hook = Callable[[Write, When], Awaitable[None]]


class ApiProxy:
    """One operator's way to the API server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.writes: list[Write] = []
        self.reads: Counter[str] = Counter()
        self.hook: Hook | None = None
        self._holds: list[Hold] = []
        self._numbers = 0
        self._stalled = asyncio.Event()
        self._cut = False
        self._open: set[asyncio.Transport] = set()
        self._at_work: set[asyncio.Task[None]] = set()

    @property
    def numbered(self) -> list[Write]:
        """Return every write but the Lease's."""
        return [write for write in self.writes if write.number]

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.port}"

    # ------------------------------------------------------------------ faults
    @contextmanager
    def cut(self) -> Iterator[None]:
        """Break every connection and let none through meanwhile."""
        self._cut = True
        for transport in tuple(self._open):
            transport.abort()
        try:
            yield
        finally:
            self._cut = False

    def stall_watches(self) -> None:
        """Let the watches that run now say nothing any more, without ending; new ones are well."""
        self._stalled.set()
        self._stalled = asyncio.Event()

    @contextmanager
    def holding(self, wanted: Callable[[Write], bool]) -> Iterator[Hold]:
        """Hold up the writes that are wanted."""
        hold = Hold(wanted)
        self._holds.append(hold)
        try:
            yield hold
        finally:
            hold.release()
            self._holds.remove(hold)

    # ------------------------------------------------------------------ the proxy itself
    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ApiProxy]:
        """Listen on a free port until the end of the block."""
        trusting = ssl.create_default_context(cafile=str(self._server.ca))
        connector = aiohttp.TCPConnector(ssl=trusting, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port: int = runner.addresses[0][1]
            try:
                yield self
            finally:
                for task in self._at_work:
                    task.cancel()
                await asyncio.gather(*self._at_work, return_exceptions=True)
                await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        task = request.task
        self._at_work.add(task)
        try:
            return await self._pass(request)
        finally:
            self._at_work.discard(task)

    async def _pass(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        if self._cut or not isinstance(transport, asyncio.Transport):
            return self._break(request)
        self._open.add(transport)
        try:
            if "watch=" in request.query_string:
                self.reads["watch"] += 1
                return await self._stream(request)
            if request.method in MUTATING:
                return await self._write(request)
            self.reads[request.method] += 1
            status, headers, body = await self._forward(request, b"")
            return web.Response(status=status, headers=headers, body=body)
        except (aiohttp.ClientError, OSError):
            return self._break(request)
        finally:
            self._open.discard(transport)

    def _break(self, request: web.BaseRequest) -> web.Response:
        """End the connection as a server does that is gone."""
        if request.transport is not None:
            request.transport.close()
        return web.Response(status=502)

    async def _write(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        write = self._noted(request, body)
        for hold in [hold for hold in self._holds if hold.wanted(write) and not hold.open.is_set()]:
            hold.held.append(write)
            await hold.open.wait()
        if self.hook:
            await self.hook(write, When.BEFORE)
        write.status, headers, answer = await self._forward(request, body)
        if self.hook:
            await self.hook(write, When.AFTER)
        return web.Response(status=write.status, headers=headers, body=answer)

    def _noted(self, request: web.BaseRequest, body: bytes) -> Write:
        found = _RESOURCE.match(request.path)
        plural, name, sub = (
            (found["plural"], found["name"] or "", found["sub"] or "") if found else (request.path, "", "")
        )
        self._numbers += plural != "leases"
        number = self._numbers if plural != "leases" else 0
        write = Write(number, request.method, plural + sub, name, time.monotonic(), body)
        self.writes.append(write)
        return write

    async def _forward(self, request: web.BaseRequest, body: bytes) -> tuple[int, dict[str, str], bytes]:
        async with self._asked(request, body) as answer:
            return answer.status, _headers(answer), await answer.read()

    def _asked(self, request: web.BaseRequest, body: bytes = b"") -> aiohttp.client._RequestContextManager:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        return self._session.request(
            request.method, f"{self._server.url}{request.raw_path}", data=body or None, headers=headers
        )

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        stalled = self._stalled
        async with self._asked(request) as answer:
            response = web.StreamResponse(status=answer.status, headers=_headers(answer))
            await response.prepare(request)
            with suppress(ConnectionError):
                async for chunk in answer.content.iter_any():
                    if stalled.is_set():
                        await asyncio.Event().wait()
                    await response.write(chunk)
            return response


def _headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    kept = ("Content-Type", "Retry-After", "Content-Encoding")
    return {name: answer.headers[name] for name in kept if name in answer.headers}
