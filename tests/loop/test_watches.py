"""kopf as an informer, on a real API server: what arrives, how fast, what is repaired, and that nothing is written."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.kinds import CONFIG_MAP, DEPLOYMENT, MODEL_DEPLOYMENT, POD
from modelramp.adapters.kubernetes import Cluster
from modelramp.adapters.store import Store
from modelramp.handlers import WATCHED, Login, Watches, selector
from modelramp.ports import Ref
from modelramp.relist import Relist
from modelramp.rollout.observation import Failed
from tests.loop.live import (
    Namespace,
    a_config_map,
    a_deployment,
    a_model_deployment,
    a_pod,
    labels_of,
    until,
    wired,
)

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]


@dataclass
class Informer:
    """The store as the watches fill it, and whom they woke."""

    namespace: str
    store: Store
    relist: Relist
    woken: list[tuple[Ref, bool]] = field(default_factory=list)

    def knows(self, kind: object, name: str) -> bool:
        return self.store.get(kind, self.namespace, name) is not None  # type: ignore[arg-type]


@asynccontextmanager
async def informed(namespace: Namespace, kubeconfig: Path) -> AsyncIterator[Informer]:
    """Run the watches as the leader does: a full read, then kopf."""
    store, clock, names = Store(), SystemClock(), (namespace.name,)
    cluster = await Cluster.connect(kubeconfig)
    informer = Informer(namespace.name, store, Relist(cluster, store, WATCHED, selector, names))
    watches = Watches(store, lambda ref, urgent: informer.woken.append((ref, urgent)), clock, kubeconfig, names)
    stop = asyncio.Event()
    await informer.relist.until_complete()
    running = asyncio.create_task(watches.run(stop, lambda: None))
    try:
        await until(lambda: running.done() or watches.complete(), "all watches run")
        yield informer
        assert not running.done(), running.exception()
    finally:
        stop.set()
        await asyncio.wait({running}, timeout=10)
        await cluster.close()
    assert running.done(), "the watches did not end within ten seconds"


@pytest.fixture
async def informer(namespace: Namespace) -> AsyncIterator[Informer]:
    """Give the watches of one namespace."""
    async with informed(namespace, namespace.server.kubeconfig) as started:
        yield started


async def do(action: Callable[..., object], *arguments: object) -> None:
    await asyncio.to_thread(action, *arguments)


async def test_an_object_is_known_within_milliseconds(namespace: Namespace, informer: Informer) -> None:
    delays = []
    for number in range(20):
        name = f"model{number}"
        await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment(name))
        delays.append(await until(lambda name=name: informer.knows(MODEL_DEPLOYMENT, name), name))  # type: ignore[misc]
    assert statistics.median(delays) < 0.25
    assert {ref.name for ref, _ in informer.woken} == {f"model{number}" for number in range(20)}


async def test_what_people_edit_is_urgent_and_pods_are_not(namespace: Namespace, informer: Informer) -> None:
    await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment())
    await do(namespace.create, CONFIG_MAP, a_config_map("fraud-detector-traffic", labels_of()))
    await until(lambda: len(informer.woken) == 2, "the object and its ConfigMap")
    await do(namespace.create, DEPLOYMENT, a_deployment("fraud-detector-v8", labels_of()))
    await do(namespace.create, POD, a_pod("fraud-detector-v8-0", labels_of()))
    await until(lambda: len(informer.woken) == 4, "its Deployment and its pod")
    ref = Ref(namespace.name, "fraud-detector")
    assert informer.woken == [(ref, True), (ref, True), (ref, False), (ref, False)]


async def test_changes_and_deletions_arrive(namespace: Namespace, informer: Informer) -> None:
    await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment(version="7"))
    await do(namespace.merge, MODEL_DEPLOYMENT, "fraud-detector", {"spec": {"model": {"version": "8"}}})

    def pinned() -> bool:
        known = informer.store.get(MODEL_DEPLOYMENT, namespace.name, "fraud-detector")
        return known is not None and known["spec"]["model"]["version"] == "8"

    await until(pinned, "the new pin")
    await do(namespace.delete, MODEL_DEPLOYMENT, "fraud-detector")
    await until(lambda: not informer.knows(MODEL_DEPLOYMENT, "fraud-detector"), "the deletion")
    assert informer.woken[-1] == (Ref(namespace.name, "fraud-detector"), True)


async def test_what_is_not_ours_never_leaves_the_api_server(namespace: Namespace, informer: Informer) -> None:
    foreign = {"app": "somebody-elses"}
    await do(namespace.create, POD, a_pod("foreign", foreign))
    await do(namespace.create, CONFIG_MAP, a_config_map("foreign", foreign))
    await do(namespace.create, DEPLOYMENT, a_deployment("foreign", foreign))
    await do(namespace.create, POD, a_pod("ours", labels_of()))
    await until(lambda: informer.knows(POD, "ours"), "our pod")
    await do(namespace.create, CONFIG_MAP, a_config_map("ours", labels_of()))
    await until(lambda: informer.knows(CONFIG_MAP, "ours"), "our ConfigMap")
    await do(namespace.create, DEPLOYMENT, a_deployment("ours", labels_of()))
    await until(lambda: informer.knows(DEPLOYMENT, "ours"), "our Deployment")
    assert not any(informer.knows(kind, "foreign") for kind in WATCHED)
    assert not informer.knows(CONFIG_MAP, "kube-root-ca.crt")


async def test_things_of_an_object_that_does_not_exist_wake_nobody(namespace: Namespace, informer: Informer) -> None:
    await do(namespace.create, POD, a_pod("orphan", labels_of("gone")))
    await until(lambda: informer.knows(POD, "orphan"), "the pod")
    assert informer.woken == []


async def test_kopf_writes_nothing_on_any_object(namespace: Namespace, informer: Informer) -> None:
    created = [
        (MODEL_DEPLOYMENT, await asyncio.to_thread(namespace.create, MODEL_DEPLOYMENT, a_model_deployment())),
        (CONFIG_MAP, await asyncio.to_thread(namespace.create, CONFIG_MAP, a_config_map("ours", labels_of()))),
        (DEPLOYMENT, await asyncio.to_thread(namespace.create, DEPLOYMENT, a_deployment("ours", labels_of()))),
        (POD, await asyncio.to_thread(namespace.create, POD, a_pod("ours", labels_of()))),
    ]
    for kind, obj in created:
        await until(lambda kind=kind, obj=obj: informer.knows(kind, obj["metadata"]["name"]), kind.plural)  # type: ignore[misc]
    # What kopf might write after an event would come before its handling of the next one.
    await do(namespace.merge, MODEL_DEPLOYMENT, "fraud-detector", {"metadata": {"labels": {"touched": "yes"}}})
    await until(lambda: len(informer.woken) >= 5, "the touch")
    for kind, obj in created[1:]:
        assert namespace.read(kind, obj["metadata"]["name"]) == obj
    left = namespace.read(MODEL_DEPLOYMENT, "fraud-detector")["metadata"]
    assert "annotations" not in left
    assert "finalizers" not in left
    assert {entry["manager"] for entry in left["managedFields"]} == {"Python-urllib"}
    assert namespace.server.request("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace.name}/events")["items"] == []


async def test_what_happened_while_the_wire_was_cut_arrives_when_it_is_mended(
    namespace: Namespace, tmp_path: Path
) -> None:
    async with wired(namespace.server, tmp_path) as wire, informed(namespace, wire.kubeconfig) as informer:
        await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment("stays"))
        await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment("goes"))
        await until(lambda: len(informer.store.refs()) == 2, "both")
        wire.cut()
        await do(namespace.delete, MODEL_DEPLOYMENT, "goes")
        await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment("comes"))
        wire.mend()
        await until(lambda: {ref.name for ref in informer.store.refs()} == {"stays", "comes"}, "the newest state")


async def test_after_history_was_lost_a_full_read_repairs_what_a_watch_cannot_know(
    namespace: Namespace, tmp_path: Path
) -> None:
    """An API server that restarted answers an old watch with 410: kopf lists again and tells of no deletion."""
    async with wired(namespace.server, tmp_path) as wire, informed(namespace, wire.kubeconfig) as informer:
        await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment("stays"))
        await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment("goes"))
        await until(lambda: len(informer.store.refs()) == 2, "both")
        wire.cut()
        await do(namespace.delete, MODEL_DEPLOYMENT, "goes")
        await do(namespace.server.restart)
        await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment("comes"))
        wire.mend()
        await until(lambda: informer.knows(MODEL_DEPLOYMENT, "comes"), "what came meanwhile")
        woken = await informer.relist.once()
        assert not isinstance(woken, Failed)
        assert {ref.name for ref in informer.store.refs()} == {"stays", "comes"}


async def test_watches_survive_a_restart_of_the_api_server(namespace: Namespace, tmp_path: Path) -> None:
    async with wired(namespace.server, tmp_path) as wire, informed(namespace, wire.kubeconfig) as informer:
        await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment("before"))
        await until(lambda: informer.knows(MODEL_DEPLOYMENT, "before"), "the first")
        wire.cut()  # as when it is killed: an orderly end would wait for our watches
        await do(namespace.server.restart)
        wire.mend()
        await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment("after"))
        await until(lambda: informer.knows(MODEL_DEPLOYMENT, "after"), "the second")


async def test_a_full_read_says_whom_to_wake_and_only_for_what_is_news(
    namespace: Namespace, informer: Informer
) -> None:
    await do(namespace.create, MODEL_DEPLOYMENT, a_model_deployment())
    await until(lambda: informer.knows(MODEL_DEPLOYMENT, "fraud-detector"), "the object")
    assert await informer.relist.once() == frozenset()
    ghost = {**namespace.read(MODEL_DEPLOYMENT, "fraud-detector")}
    ghost["metadata"] = {**ghost["metadata"], "name": "missed-deletion"}
    informer.store.put(MODEL_DEPLOYMENT, ghost)
    assert await informer.relist.once() == {Ref(namespace.name, "missed-deletion")}
    assert not informer.knows(MODEL_DEPLOYMENT, "missed-deletion")


async def test_a_full_read_keeps_what_is_beside_a_deployments_pods(namespace: Namespace, informer: Informer) -> None:
    from modelramp.adapters.slim import full_spec

    await do(namespace.create, DEPLOYMENT, a_deployment("fraud-detector-v8", labels_of()))
    await until(lambda: informer.knows(DEPLOYMENT, "fraud-detector-v8"), "the Deployment")
    fresh = Store()
    await Relist(informer.relist.cluster, fresh, WATCHED, selector, (namespace.name,)).once()
    known = fresh.get(DEPLOYMENT, namespace.name, "fraud-detector-v8")
    assert known is not None
    live = namespace.read(DEPLOYMENT, "fraud-detector-v8")["spec"]
    assert full_spec(known) == {key: value for key, value in live.items() if key != "template"}


async def test_a_kubeconfig_login_lasts_minutes_and_never_hurries(namespace: Namespace) -> None:
    clock = SystemClock()
    login = Login(namespace.server.kubeconfig, clock)
    loop = asyncio.get_running_loop()
    began = loop.time()
    first, second = await login.connect(), await login.connect()
    assert loop.time() - began >= 1.0
    assert first != second, "credentials that look the same would be taken for the refused ones"
    assert first.expiration is not None
    assert 400 < (first.expiration - clock.now()).total_seconds() < 600
    assert (first.server, first.scheme, first.token) == (namespace.server.url, "Bearer", namespace.server.token)
