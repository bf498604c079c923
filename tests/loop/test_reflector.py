"""Watches of kinds that need not be there, on a real API server: none before its use, and each once it is installed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelramp.adapters.kinds import MODEL_DEPLOYMENT, STEERED, VIRTUAL_SERVICE, Kind
from modelramp.adapters.kubernetes import Cluster
from modelramp.adapters.store import Store
from modelramp.ports import Ref
from modelramp.reflector import Reflector
from tests.adapters.real import DEFINITIONS
from tests.adapters.routes import PATCH, install_definitions, virtual_service
from tests.controlplane import ApiServer
from tests.loop.live import Namespace, a_model_deployment, until, wired

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]
DETOUR = Kind("example.com/v1", "Detour", "detours")


@dataclass
class Reflection:
    """A store, and whom its reflector woke."""

    store: Store = field(default_factory=Store)
    woken: list[Ref] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


@asynccontextmanager
async def reflecting(kubeconfig: Path, kind: Kind, namespace: str) -> AsyncIterator[Reflection]:
    seen = Reflection()
    cluster = await Cluster.connect(kubeconfig, on_call=lambda method, *_: seen.calls.append(method))
    reflector = Reflector(cluster, seen.store, kind, lambda ref, _urgent: seen.woken.append(ref), (namespace,))
    running = asyncio.create_task(reflector.run())
    try:
        yield seen
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await cluster.close()


@pytest.fixture(scope="module")
def meshes(serving: ApiServer) -> ApiServer:
    install_definitions(serving)
    return serving


@pytest.fixture
def namespace(meshes: ApiServer) -> Namespace:
    return Namespace(meshes)


def detour_definition() -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"kind": "Detour", "plural": "detours"}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "detours.example.com"}, "spec": spec,
    }  # fmt: skip


def steering(store: Store, namespace: Namespace, name: str = "fraud-detector") -> Ref:
    """Put a ModelDeployment into the store that steers the VirtualService `shop`."""
    body = a_model_deployment(name)
    body["spec"]["traffic"] = PATCH
    store.put(MODEL_DEPLOYMENT, namespace.create(MODEL_DEPLOYMENT, body))
    return Ref(namespace.name, name)


async def test_a_kind_that_nobody_uses_costs_no_call(namespace: Namespace) -> None:
    async with reflecting(namespace.server.kubeconfig, VIRTUAL_SERVICE, namespace.name) as seen:
        seen.store.put(MODEL_DEPLOYMENT, namespace.create(MODEL_DEPLOYMENT, a_model_deployment()))
        await asyncio.sleep(1.0)
        assert seen.calls == []
        steering(seen.store, namespace, "other")
        await until(lambda: "WATCH" in seen.calls, "the first use begins the watch")
        calls = len(seen.calls)
        await asyncio.sleep(1.0)
        assert len(seen.calls) == calls


async def test_a_kind_that_is_installed_after_its_first_use_is_found(namespace: Namespace) -> None:
    async with reflecting(namespace.server.kubeconfig, DETOUR, namespace.name) as seen:
        seen.store.claimed[DETOUR.name].set()
        await until(lambda: "GET" in seen.calls, "it has looked in vain")
        namespace.server.request("POST", DEFINITIONS, detour_definition())
        await until(lambda: "WATCH" in seen.calls, "the kind is watched")
        head = {"name": "first", "labels": {STEERED: "true"}}
        namespace.create(DETOUR, {"apiVersion": DETOUR.api_version, "kind": "Detour", "metadata": head})
        await until(lambda: seen.store.get(DETOUR, namespace.name, "first") is not None, "the object is known")


async def test_who_steers_an_object_is_woken_by_its_changes_its_label_and_its_end(namespace: Namespace) -> None:
    async with reflecting(namespace.server.kubeconfig, VIRTUAL_SERVICE, namespace.name) as seen:
        ref = steering(seen.store, namespace)

        async def wakes(what: str) -> None:
            await until(lambda: ref in seen.woken, what)
            seen.woken.clear()

        namespace.create(VIRTUAL_SERVICE, virtual_service({"fraud-detector-v7": 100}))
        await wakes("created")
        namespace.merge(VIRTUAL_SERVICE, "shop", {"metadata": {"annotations": {"note": "1"}}})
        await wakes("changed")
        namespace.merge(VIRTUAL_SERVICE, "shop", {"metadata": {"labels": {STEERED: None}}})
        await wakes("no longer opted in")
        assert seen.store.get(VIRTUAL_SERVICE, namespace.name, "shop") is None
        namespace.merge(VIRTUAL_SERVICE, "shop", {"metadata": {"labels": {STEERED: "true"}}})
        await wakes("opted in again")
        namespace.delete(VIRTUAL_SERVICE, "shop")
        await wakes("deleted")


async def test_what_happened_while_the_connection_was_cut_is_learned_after_it(
    namespace: Namespace, tmp_path: Path
) -> None:
    namespace.create(VIRTUAL_SERVICE, virtual_service({"fraud-detector-v7": 100}))
    async with (
        wired(namespace.server, tmp_path) as wire,
        reflecting(wire.kubeconfig, VIRTUAL_SERVICE, namespace.name) as seen,
    ):
        ref = steering(seen.store, namespace)
        await until(lambda: "WATCH" in seen.calls, "the watch runs")
        wire.cut()
        namespace.delete(VIRTUAL_SERVICE, "shop")
        seen.woken.clear()
        wire.mend()
        await until(lambda: ref in seen.woken, "the deletion is known")
        assert seen.store.get(VIRTUAL_SERVICE, namespace.name, "shop") is None
