"""/healthz, /readyz and /metrics over HTTP, in followers as well as in the leader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiohttp import web


class Health(Protocol):
    """What the probes ask; an empty answer is a good one."""

    def ailment(self) -> str:
        """Say why this process should be restarted."""
        ...

    def unready(self) -> str:
        """Say why this process does not do its part yet."""
        ...


class Probes:
    """The HTTP server of one process."""

    def __init__(self, health: Health, metrics: Callable[[], bytes], port: int) -> None:
        """Prepare to listen on all addresses; port 0 takes a free one."""
        self._health, self._metrics, self._wanted = health, metrics, port
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """Return the port that is listened on, 0 before `start`; a free one differs between IPv4 and IPv6."""
        addresses = self._runner.addresses if self._runner else []
        return min((int(port) for _, port, *rest in addresses if not rest), default=0)

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._scrape),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, port=self._wanted).start()

    async def stop(self) -> None:
        """Close the port."""
        if self._runner:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _verdict(self._health.ailment())

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _verdict(self._health.unready())

    async def _scrape(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _verdict(trouble: str) -> web.Response:
    return web.Response(text=f"{trouble or 'ok'}\n", status=503 if trouble else 200)
