"""A newer operator renders other pods: what serves keeps its own until it is asked to be something else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelramp.adapters.kinds import DEPLOYMENT, SERVICE
from modelramp.adapters.routers import Routers
from modelramp.adapters.workloads import ClusterWorkloads
from modelramp.handlers import WATCHED
from modelramp.ports import Done, Rollout
from modelramp.rollout.observation import Value
from modelramp.rollout.spec import Serving
from modelramp.rollout.status import Phase, Status
from tests.adapters.real import POD_SETTINGS, ROUTER_SETTINGS, Process, RealCluster, pin, read

pytestmark = pytest.mark.apiserver
NAME = "fraud-detector"
NEWER = replace(POD_SETTINGS, runtime_image="modelramp/runtime:newer", drain=9)
NEWER_ROUTER = replace(ROUTER_SETTINGS, operator_image="modelramp/operator:newer")


def upgraded(real: RealCluster) -> Process:
    """Start the newer operator."""
    process = real.process()
    process.workloads = ClusterWorkloads(process.cluster, process.store, process.writer, NEWER)
    process.routers = Routers(process.store, process.writer, NEWER_ROUTER)
    return process


@pytest.fixture
async def rollout(real: RealCluster) -> Rollout:
    """Give an object whose stable version and router an older operator has made."""
    process = real.process()
    rollout = await read(process, await real.create_model(NAME))
    rollout = replace(rollout, status=Status(phase=Phase.PROMOTED, stable=pin("8")))
    assert await process.workloads.run(rollout, pin("8")) == Done()
    assert await process.routers.ensure(rollout) == Done()
    await settle(real, f"{NAME}-v8")
    return rollout


async def settle(real: RealCluster, name: str) -> None:
    """Do what the Deployment controller does."""
    live = await real.get(DEPLOYMENT, name)
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    status = {"status": {"observedGeneration": live["metadata"]["generation"], **counts}}
    path = f"{DEPLOYMENT.path(real.namespace, name)}/status"
    await real.request("PATCH", path, status, kind="application/merge-patch+json")


async def template(real: RealCluster, name: str = f"{NAME}-v8") -> Any:
    return (await real.get(DEPLOYMENT, name))["spec"]["template"]


async def is_current(process: Process, rollout: Rollout) -> bool:
    await process.list_all(rollout.ref.namespace, *WATCHED)
    found = await process.workloads.read(rollout)
    assert isinstance(found, Value)
    return found.value["8"].current


async def test_pods_that_serve_are_left_as_they_are(real: RealCluster, rollout: Rollout) -> None:
    process, before = upgraded(real), await template(real)
    assert await is_current(process, rollout)
    real.calls.clear()
    assert await process.workloads.run(rollout, pin("8")) == Done()
    assert real.calls == []
    assert await template(real) == before


async def test_a_new_version_gets_what_is_new(real: RealCluster, rollout: Rollout) -> None:
    process = upgraded(real)
    assert await process.workloads.run(rollout, pin("9")) == Done()
    assert (await template(real, f"{NAME}-v9"))["spec"]["containers"][0]["image"] == NEWER.runtime_image


async def test_more_pods_are_more_of_the_same(real: RealCluster, rollout: Rollout) -> None:
    process, before = upgraded(real), await template(real)
    more = replace(rollout, spec=replace(rollout.spec, serving=Serving(replicas=4)))
    assert not await is_current(process, more)
    assert await process.workloads.run(more, pin("8")) == Done()
    assert await template(real) == before
    assert (await real.get(DEPLOYMENT, f"{NAME}-v8"))["spec"]["replicas"] == 4


async def test_what_a_hand_changed_is_put_back_as_it_was(real: RealCluster, rollout: Rollout) -> None:
    process, before = upgraded(real), await template(real)
    container = {"name": "server", "image": "example.com/other:1"}
    path = DEPLOYMENT.path(real.namespace, f"{NAME}-v8")
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    await real.request("PATCH", path, patch, kind="application/strategic-merge-patch+json", manager="kubectl-set")
    await settle(real, f"{NAME}-v8")
    assert not await is_current(process, rollout)
    assert await process.workloads.run(rollout, pin("8")) == Done()
    assert await template(real) == before


@pytest.mark.parametrize(
    "serving", [Serving(env=({"name": "A", "value": "1"},)), Serving(node_selector={"disk": "ssd"})]
)
async def test_who_asks_for_other_pods_gets_the_newest(real: RealCluster, rollout: Rollout, serving: Serving) -> None:
    process = upgraded(real)
    asked = replace(rollout, spec=replace(rollout.spec, serving=serving))
    assert not await is_current(process, asked)
    assert await process.workloads.run(asked, pin("8")) == Done()
    assert (await template(real))["spec"]["containers"][0]["image"] == NEWER.runtime_image


async def test_a_registry_that_has_moved_reaches_pods_that_may_have_to_fetch_again(
    real: RealCluster, rollout: Rollout
) -> None:
    process = real.process()
    moved = replace(POD_SETTINGS, tracking_uri="http://mlflow.elsewhere:5000")
    process.workloads = ClusterWorkloads(process.cluster, process.store, process.writer, moved)
    assert not await is_current(process, rollout)


async def test_stamps_that_a_hand_damaged_are_made_anew(real: RealCluster, rollout: Rollout) -> None:
    await real.merge(DEPLOYMENT, f"{NAME}-v8", {"metadata": {"annotations": {"modelramp.dev/applied": "x"}}})
    process = real.process()
    await settle(real, f"{NAME}-v8")
    assert not await is_current(process, rollout)
    assert await process.workloads.run(rollout, pin("8")) == Done()
    await settle(real, f"{NAME}-v8")
    assert await is_current(process, rollout)


async def router_image(real: RealCluster) -> str:
    return str((await template(real, f"{NAME}-router"))["spec"]["initContainers"][0]["image"])


@pytest.mark.parametrize("phase", [Phase.PROMOTED, Phase.SHADOWING, Phase.RAMPING, Phase.ROLLED_BACK])
async def test_a_router_keeps_its_pods_while_traffic_may_move(
    real: RealCluster, rollout: Rollout, phase: Phase
) -> None:
    process = upgraded(real)
    await process.list_all(real.namespace, *WATCHED)
    rollout = replace(rollout, status=replace(rollout.status, phase=phase))
    assert process.routers.are_current(rollout)
    await real.request("DELETE", SERVICE.path(real.namespace, NAME))
    await process.list_all(real.namespace, *WATCHED)
    assert not process.routers.are_current(rollout)
    assert await process.routers.ensure(rollout) == Done()
    assert await real.get(SERVICE, NAME) is not None
    assert await router_image(real) == ROUTER_SETTINGS.operator_image
    assert process.routers.are_current(rollout)


@pytest.mark.parametrize("phase", [Phase.GATING, Phase.STARTING])
async def test_a_router_is_renewed_when_the_next_attempt_begins(
    real: RealCluster, rollout: Rollout, phase: Phase
) -> None:
    process = upgraded(real)
    await process.list_all(real.namespace, *WATCHED)
    rollout = replace(rollout, status=replace(rollout.status, phase=phase))
    assert not process.routers.are_current(rollout)
    assert await process.routers.ensure(rollout) == Done()
    assert await router_image(real) == NEWER_ROUTER.operator_image
    assert process.routers.are_current(rollout)


async def test_a_router_pulls_its_images_as_the_models_do(real: RealCluster, rollout: Rollout) -> None:
    process = real.process()
    await process.list_all(real.namespace, *WATCHED)
    secrets = replace(rollout.spec, serving=replace(rollout.spec.serving, image_pull_secrets=("registry",)))
    asked = replace(rollout, spec=secrets, status=replace(rollout.status, phase=Phase.RAMPING))
    assert not process.routers.are_current(asked)
    assert await process.routers.ensure(asked) == Done()
    assert (await template(real, f"{NAME}-router"))["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert process.routers.are_current(asked)
    assert await process.routers.ensure(replace(asked, spec=rollout.spec)) == Done()
    assert "imagePullSecrets" not in (await template(real, f"{NAME}-router"))["spec"]
