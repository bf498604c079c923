"""A stand-in for everything that makes pods of Deployments, and collects what belongs to nobody any more.

It writes what the real ones write, to the real API server: Deployment status, router pods, deletions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from modelramp.adapters.kinds import (
    AUTOSCALER,
    COMPONENT,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    FIELD_MANAGER,
    JOB,
    MANAGED_BY,
    MODEL_DEPLOYMENT,
    NAME,
    POD,
    ROUTER,
    SERVICE,
)
from modelramp.ports import Ref
from tests.whole.admin import Admin, RefusedError

OURS = f"{MANAGED_BY}={FIELD_MANAGER}"
OWNED = (DEPLOYMENT, SERVICE, CONFIG_MAP, JOB, DISRUPTION_BUDGET, AUTOSCALER)


@dataclass(frozen=True)
class Fate:
    """What becomes of a Deployment's pods: ready after `delay` seconds, or not at all, with a reason."""

    ready: bool = True
    delay: float = 0.0
    waiting: str = ""


READY, NEVER, CRASHING = Fate(), Fate(ready=False), Fate(ready=False, waiting="CrashLoopBackOff")

Place = Callable[[Ref, int], tuple[str, int]]
"""Give the n-th router pod of an object its address and the port of its statistics."""


@dataclass
class Kubelet:
    """One for all namespaces that begin with `prefix`."""

    admin: Admin
    prefix: str
    place: Place
    usual: Fate = READY
    fates: dict[tuple[str, str], Fate] = field(default_factory=dict)
    deployments: dict[tuple[str, str], Any] = field(default_factory=dict)
    made: dict[tuple[str, str], float] = field(default_factory=dict)
    _busy: set[asyncio.Task[None]] = field(default_factory=set)
    _locks: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Kubelet]:
        """Work until the end of the block."""
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._collect())]
        try:
            yield self
        finally:
            for task in (*tasks, *self._busy):
                task.cancel()
            await asyncio.gather(*tasks, *self._busy, return_exceptions=True)

    def decree(self, ref: Ref, version: str, fate: Fate) -> None:
        """Decide what becomes of a version's pods from now on, those that run included."""
        key = (ref.namespace, f"{ref.name}-v{version}")
        self.fates[key] = fate
        if key in self.deployments:
            self._spawn(key)

    async def _follow(self) -> None:
        async for change, obj in self.admin.follow(DEPLOYMENT, OURS):
            key = obj["metadata"]["namespace"], obj["metadata"]["name"]
            if not key[0].startswith(self.prefix):
                continue
            if change == "DELETED":
                self.deployments.pop(key, None)
                self.made.pop(key, None)
            else:
                self.deployments[key] = obj
                self.made.setdefault(key, time.monotonic())
            if change == "DELETED" or _is_news(obj):
                self._spawn(key)

    def _spawn(self, key: tuple[str, str]) -> None:
        task = asyncio.create_task(self._settle(key))
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _settle(self, key: tuple[str, str]) -> None:
        """Bring status and router pods to where the Deployment wants them; try again what fails."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            while True:
                try:
                    await self._settle_once(key)
                except RefusedError as refused:
                    gone = refused.status == 404
                except (aiohttp.ClientError, OSError):
                    gone = False
                else:
                    return
                if gone:
                    return
                await asyncio.sleep(0.1)

    async def _settle_once(self, key: tuple[str, str]) -> None:
        deployment = self.deployments.get(key)
        fate = self.fates.get(key, self.usual)
        if deployment is not None and fate.ready and fate.delay:
            await asyncio.sleep(max(0.0, self.made[key] + fate.delay - time.monotonic()))
            deployment = self.deployments.get(key)
        router = (deployment or {}).get("metadata", {}).get("labels", {}).get(COMPONENT) == ROUTER
        if router or (deployment is None and key[1].endswith("-router")):
            await self._settle_router_pods(key, deployment)
        if deployment is not None:
            ref = Ref(*key)
            await self.admin.merge(DEPLOYMENT, ref, {"status": _status(deployment, fate)}, sub="status")

    async def _settle_router_pods(self, key: tuple[str, str], deployment: Any) -> None:
        wanted = deployment["spec"]["replicas"] if deployment else 0
        for index in range(max(wanted, 3)):
            name = f"{key[1]}-{index}"
            if index >= wanted:
                await self.admin.delete(POD, key[0], name)
            elif await self.admin.get(POD, key[0], name) is None:
                await self._run_router_pod(key[0], name, deployment, index)

    async def _run_router_pod(self, namespace: str, name: str, deployment: Any, index: int) -> None:
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        address, port = self.place(Ref(namespace, labels[NAME]), index)
        await self.admin.create(_router_pod(namespace, name, deployment, port))
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        await self.admin.merge(POD, Ref(namespace, name), {"status": status}, sub="status")

    async def _collect(self) -> None:
        """Delete what a ModelDeployment leaves behind, as the garbage collector does by owner references."""
        async for change, obj in self.admin.follow(MODEL_DEPLOYMENT):
            metadata = obj["metadata"]
            if change != "DELETED" or not metadata["namespace"].startswith(self.prefix):
                continue
            for kind in OWNED:
                items, _ = await self.admin.list(kind, metadata["namespace"], f"{NAME}={metadata['name']}")
                for item in items:
                    owners = {owner["uid"] for owner in item["metadata"].get("ownerReferences") or ()}
                    if metadata["uid"] in owners:
                        await self.admin.delete(kind, metadata["namespace"], item["metadata"]["name"])


def _is_news(deployment: Any) -> bool:
    return (deployment.get("status") or {}).get("observedGeneration") != deployment["metadata"]["generation"]


def _status(deployment: Any, fate: Fate) -> dict[str, Any]:
    wanted = deployment["spec"].get("replicas", 1)
    ready = wanted if fate.ready else 0
    counts = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready, "availableReplicas": ready}
    failing = {"type": "Progressing", "status": "False", "reason": fate.waiting, "message": "the container ended"}
    conditions = [failing] if fate.waiting else []
    return {"observedGeneration": deployment["metadata"]["generation"], "conditions": conditions, **counts}


def _router_pod(namespace: str, name: str, deployment: Any, port: int) -> dict[str, Any]:
    template = deployment["spec"]["template"]
    container = {
        "name": "envoy",
        "image": "envoy:stand-in",
        "ports": [{"name": "stats", "containerPort": port}],
    }
    metadata = {"name": name, "namespace": namespace, "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
