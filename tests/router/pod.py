"""One router pod without a kubelet: its objects in a real API server, its follower's own process, its Envoy."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp

from modelramp.router.podspec import RouterSettings, render_router
from tests.controlplane import ApiServer, Credentials
from tests.router.rig import NAME, Rig, eventually, running_envoy, upstreams

COLLECTIONS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Service": "/api/v1/namespaces/{}/services",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
}


class World:
    """One namespace with a router's rights and a ConfigMap, and the follower's credentials."""

    def __init__(self, server: ApiServer) -> None:
        """Make the namespace, under the strictest Pod Security Standard, and the router's objects in it."""
        self.server = server
        self.namespace = f"router-{uuid4().hex[:8]}"
        enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
        body = {"metadata": {"name": self.namespace, "labels": enforce}}
        server.request("POST", "/api/v1/namespaces", body)
        self.address = server.url
        self.objects = render_router(self.namespace, NAME, RouterSettings())
        for each in self.objects:
            path = COLLECTIONS[each["kind"]].format(self.namespace)
            server.request("POST", f"{path}?fieldValidation=Strict", each)

    @property
    def config_maps(self) -> str:
        """Return the collection's path."""
        return f"/api/v1/namespaces/{self.namespace}/configmaps"

    def follower(self) -> Credentials:
        """Return what the follower's pod would be given."""
        user = f"system:serviceaccount:{self.namespace}:{NAME}-router"
        return self.server.mint(user, "system:serviceaccounts")

    def create(self, data: Mapping[str, str]) -> None:
        """Create the ConfigMap."""
        self.server.request("POST", self.config_maps, {"metadata": {"name": f"{NAME}-traffic"}, "data": data})

    def patch(self, data: Mapping[str, str | None]) -> None:
        """Change keys of the ConfigMap, as `kubectl patch configmap` does."""
        path = f"{self.config_maps}/{NAME}-traffic"
        self.server.request("PATCH", path, {"data": data}, kind="application/merge-patch+json")

    def delete(self) -> None:
        """Delete the ConfigMap."""
        self.server.request("DELETE", f"{self.config_maps}/{NAME}-traffic")


class FollowerProcess:
    """`python -m modelramp.router follow`, as the container runs it."""

    def __init__(self, world: World, directory: Path, *options: str) -> None:
        """Start it."""
        self.log = directory.parent / f"follower-{uuid4().hex[:8]}.log"
        command = [sys.executable, "-m", "modelramp.router", "follow"]
        command += [f"--namespace={world.namespace}", f"--config-map={NAME}-traffic"]
        token = directory.parent / f"token-{uuid4().hex[:8]}"
        token.write_text(world.follower().token)
        command += [f"--server={world.address}", f"--token={token}", f"--certificate={world.server.ca}"]
        command += [f"--directory={directory}", *options]
        source = Path(__file__).parents[2] / "operator"
        environment = os.environ | {"PYTHONPATH": str(source), "PYTHONUNBUFFERED": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        self.process.send_signal(how)
        return self.process.wait(10)

    def lines(self) -> list[dict[str, Any]]:
        """Return what it logged; every line is JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    async def logged(self, event: str, count: int = 1) -> None:
        """Wait until it logged an event so often."""

        async def found() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return sum(line["event"] == event for line in self.lines()) >= count

        await eventually(found, f"{count} x {event!r} in the log", 20.0)


@asynccontextmanager
async def routed(world: World, directory: Path, split: Mapping[str, int]) -> AsyncIterator[Rig]:
    """Run the pod: first files by the init container, Envoy, and the follower's own process beside it."""
    await asyncio.to_thread(directory.mkdir)
    timeout = aiohttp.ClientTimeout(total=20)
    async with upstreams(("7", "8", "9")) as servers, aiohttp.ClientSession(timeout=timeout) as session:
        rig = Rig(directory, servers, session)
        world.create(rig.data(split))
        first = FollowerProcess(world, directory, "--once")
        assert await asyncio.to_thread(first.process.wait, 30) == 0
        async with running_envoy(session, directory) as rig.envoy:
            yield rig


@asynccontextmanager
async def followed(
    world: World, directory: Path, split: Mapping[str, int]
) -> AsyncIterator[tuple[Rig, FollowerProcess]]:
    """Run the whole pod and wait until its follower watches."""
    async with routed(world, directory, split) as rig:
        assert rig.envoy is not None
        process = FollowerProcess(world, directory, f"--admin={rig.envoy.admin}")
        try:
            await process.logged("settled")
            yield rig, process
        finally:
            process.process.kill()
            process.process.wait()


class Wire:
    """A TCP connection to the API server that can be cut, or frozen: open, and silent for ever."""

    def __init__(self, host: str, port: int) -> None:
        """Lead to this address."""
        self.host, self.port = host, port
        self.url = ""
        self.flowing = asyncio.Event()
        self.whole = True
        self.writers: set[asyncio.StreamWriter] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, url: str) -> AsyncIterator["Wire"]:
        """Lead to a URL until the end of the block."""
        parts = urlsplit(url)
        wire = cls(parts.hostname or "", parts.port or 443)
        wire.flowing.set()
        server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
        wire.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield wire
        finally:
            server.close()
            wire.cut()

    def cut(self) -> None:
        """Close every connection, and each new one at once."""
        self.whole = False
        for writer in self.writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Let nothing through any more, on old connections and new ones."""
        self.flowing.clear()

    def mend(self) -> None:
        """Let new connections through; what was frozen is lost."""
        self.cut()
        self.whole = True
        self.flowing.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        if not self.whole:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        self.writers |= {writer, far_writer}
        await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction."""
        with suppress(OSError):
            while chunk := await reader.read(65536):
                await self.flowing.wait()
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()
