"""Helpers of the tests on a real API server: a proxy that can be cut, objects, and waiting for what must come."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from modelramp.adapters.kinds import (
    COMPONENT,
    CONFIG_MAP,
    FIELD_MANAGER,
    MANAGED_BY,
    MODEL_DEPLOYMENT,
    NAME,
    POD,
    ROUTER,
    Kind,
)
from tests.controlplane import ApiServer

PATIENCE = 30.0  # seconds for what takes milliseconds on a quiet machine


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, within: float = PATIENCE) -> float:
    """Wait for a condition and return the seconds that it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        held = condition()
        if held if isinstance(held, bool) else await held:
            return loop.time() - began
        assert loop.time() - began < within, f"not within {within} s: {what}"
        await asyncio.sleep(0.005)


@dataclass
class Namespace:
    """A namespace of its own, and what users do in it."""

    server: ApiServer
    name: str = field(default_factory=lambda: f"loop-{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.server.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.name}})

    def create(self, kind: Kind, obj: dict[str, Any]) -> dict[str, Any]:
        created: dict[str, Any] = self.server.request("POST", kind.path(self.name), obj)
        return created

    def read(self, kind: Kind, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.server.request("GET", kind.path(self.name, name))
        return found

    def merge(self, kind: Kind, name: str, change: Any) -> dict[str, Any]:
        path = kind.path(self.name, name)
        changed: dict[str, Any] = self.server.request("PATCH", path, change, kind="application/merge-patch+json")
        return changed

    def delete(self, kind: Kind, name: str) -> None:
        with suppress(HTTPError):
            self.server.request("DELETE", kind.path(self.name, name))

    def all(self, kind: Kind) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.server.request("GET", kind.path(self.name))["items"]
        return listed


def a_model_deployment(name: str = "fraud-detector", version: str = "8") -> dict[str, Any]:
    spec = {"model": {"name": "fraud_detector", "version": version}, "traffic": {"configMap": {}}}
    metadata = {"name": name}
    return {
        "apiVersion": MODEL_DEPLOYMENT.api_version, "kind": MODEL_DEPLOYMENT.name, "metadata": metadata, "spec": spec,
    }  # fmt: skip


def labels_of(name: str = "fraud-detector") -> dict[str, str]:
    return {MANAGED_BY: FIELD_MANAGER, NAME: name, COMPONENT: ROUTER}


def a_config_map(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": CONFIG_MAP.name, "metadata": {"name": name, "labels": labels}, "data": {"a": "1"},
    }  # fmt: skip


def a_pod(name: str, labels: dict[str, str]) -> dict[str, Any]:
    spec = {"containers": [{"name": "server", "image": "localhost/runtime:dev"}]}
    return {"apiVersion": "v1", "kind": POD.name, "metadata": {"name": name, "labels": labels}, "spec": spec}


def a_deployment(name: str, labels: dict[str, str]) -> dict[str, Any]:
    template = {"metadata": {"labels": labels}, "spec": a_pod("x", labels)["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels}, "spec": spec}


@dataclass
class Wire:
    """A TCP forwarder to the API server. `cut` ends all connections and takes no new ones until `mend`."""

    kubeconfig: Path
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def cut(self) -> None:
        self._open.clear()
        for task in self._tasks:
            task.cancel()

    def mend(self) -> None:
        self._open.set()

    async def carry(self, target: tuple[str, int], near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it, or it is cut."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._open.is_set():
                return
            far, out = await asyncio.open_connection(*target)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pour(near, out))
                    both.create_task(_pour(far, back))
            finally:
                out.transport.abort()
        except (asyncio.CancelledError, OSError, ExceptionGroup):
            pass  # cut, or the API server is away: for the client that is all the same
        finally:
            self._tasks.discard(task)
            back.transport.abort()


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    raise ConnectionError("ended")


@asynccontextmanager
async def wired(server: ApiServer, directory: Path) -> AsyncIterator[Wire]:
    """Give a wire to the API server, and a kubeconfig that goes through it."""
    parts = urlsplit(server.url)
    assert parts.hostname
    assert parts.port
    target = (parts.hostname, parts.port)
    kubeconfig = directory / "wire.kubeconfig"
    wire = Wire(kubeconfig)
    wire.mend()
    listener = await asyncio.start_server(lambda near, back: wire.carry(target, near, back), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    config = json.loads(server.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    kubeconfig.write_text(json.dumps(config))
    try:
        yield wire
    finally:
        wire.cut()
        listener.close()
