"""Scripted routers: each follows its ConfigMap, as an Envoy with its follower does, and answers for its statistics.

One server for all of them: every router pod has an address of its own in 127/8, and the address that a request
came to says which router is asked. Requests are counted by weight, at a scripted rate.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from modelramp.adapters.kinds import CONFIG_MAP
from modelramp.ports import Ref
from modelramp.router.podspec import config_map_name
from modelramp.router.stats import CDS_PREFIX, RDS_PREFIX
from modelramp.router.swap import State
from modelramp.router.target import judge_config_map
from tests.whole.admin import Admin
from tests.whole.kubelet import OURS


@dataclass
class Router:
    """All router pods of one object; `rate` is requests per second at each, `deaf` ones take up nothing new."""

    rate: float = 50.0
    deaf: bool = False
    away: bool = False
    state: State | None = None
    counted: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    def take(self, data: Mapping[str, str]) -> None:
        """Bring about what a ConfigMap asks for, by the follower's own judgement."""
        self.count()
        if not self.deaf:
            self.state = judge_config_map(data, self.state).target

    def count(self) -> None:
        """Count the requests since the last time."""
        now = time.monotonic()
        for key, percent in (self.state.scalars if self.state else {}).items():
            version = key.partition(".v")[2]
            self.counted[version] = self.counted.get(version, 0.0) + int(percent) / 100 * self.rate * (now - self.since)
        self.since = now

    def statistics(self, ref: Ref) -> dict[str, int | str]:
        """Return the counters and versions under Envoy's names."""
        self.count()
        versions = {} if self.state is None else {
            f"{RDS_PREFIX}version_text": self.state.routes.version,
            f"{CDS_PREFIX}version_text": self.state.clusters.version,
        }  # fmt: skip
        counters: dict[str, int | str] = {}
        for version, value in self.counted.items():
            cluster = f"cluster.{ref.namespace}_{ref.name}-v{version}"
            counters |= {f"{cluster}.upstream_rq_{what}": int(value) for what in ("total", "completed")}
            counters |= {f"{cluster}.membership_healthy": 1, f"{cluster}.upstream_rq_active": 0}
        return {**counters, **versions}


@dataclass
class Routers:
    """Every router of the namespaces that begin with `prefix`."""

    admin: Admin
    prefix: str
    by_ref: dict[Ref, Router] = field(default_factory=dict)
    port: int = 0
    _addresses: dict[tuple[Ref, int], str] = field(default_factory=dict)
    _owners: dict[str, Ref] = field(default_factory=dict)

    def place(self, ref: Ref, index: int) -> tuple[str, int]:
        """Give a router pod its address."""
        number = len(self._addresses)
        address = self._addresses.setdefault((ref, index), f"127.77.{number // 250}.{number % 250 + 1}")
        self._owners[address] = ref
        return address, self.port

    def of(self, ref: Ref) -> Router:
        """Return an object's router."""
        return self.by_ref.setdefault(ref, Router())

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Routers]:
        """Follow and answer until the end of the block."""
        app = web.Application()
        app.add_routes([web.get("/runtime", self._runtime), web.get("/stats", self._stats)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", 0).start()
        self.port = runner.addresses[0][1]
        following = asyncio.create_task(self._follow())
        try:
            yield self
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await runner.cleanup()

    async def _follow(self) -> None:
        async for change, obj in self.admin.follow(CONFIG_MAP, OURS):
            namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
            ref = Ref(namespace, name.removesuffix("-traffic"))
            if change != "DELETED" and namespace.startswith(self.prefix) and name == config_map_name(ref.name):
                self.of(ref).take(obj.get("data") or {})

    def _asked(self, request: web.Request) -> tuple[Ref, Router]:
        assert request.transport is not None
        ref = self._owners[request.transport.get_extra_info("sockname")[0]]
        router = self.of(ref)
        if router.away:
            raise web.HTTPServiceUnavailable
        return ref, router

    async def _runtime(self, request: web.Request) -> web.Response:
        _, router = self._asked(request)
        scalars = router.state.scalars if router.state else {}
        return web.json_response({"entries": {key: {"final_value": value} for key, value in scalars.items()}})

    async def _stats(self, request: web.Request) -> web.Response:
        ref, router = self._asked(request)
        found: list[dict[str, Any]] = [{"name": key, "value": value} for key, value in router.statistics(ref).items()]
        return web.json_response({"stats": found})
