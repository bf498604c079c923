"""Notices that the API server is away, asks until it is back, and says so: a retreat waits for no backoff."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

AWAY = frozenset({0, 502, 503, 504})
"""Status codes of a server that is not there: none at all, or its load balancer's."""

_FIRST, _LONGEST, _CALM = 0.5, 8.0, 30.0  # seconds


class Outage:
    """Watches the outcome of every call; `back` is called once `answers` says that the server is there again.

    A server that comes and goes is asked less and less often, down to every 8 s.
    """

    def __init__(self, answers: Callable[[], Awaitable[bool]], back: Callable[[], None]) -> None:
        """Prepare; nothing is asked while all is well."""
        self._answers, self._back = answers, back
        self._asking: asyncio.Task[None] | None = None
        self._pause = _FIRST
        self._ended = float("-inf")

    def noted(self, _verb: str, _resource: str, code: int, _seconds: float) -> None:
        """Take in the outcome of a call to the API server."""
        if code in AWAY and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask(), name="is the API server back")

    def stop(self) -> None:
        """Ask no more."""
        if self._asking:
            self._asking.cancel()

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        self._pause = min(self._pause * 2, _LONGEST) if loop.time() - self._ended < _CALM else _FIRST
        await asyncio.sleep(self._pause)
        while not await self._answers():  # noqa: ASYNC110
            await asyncio.sleep(self._pause)
        self._ended = loop.time()
        self._back()
