"""Autoscaling on a real API server: who owns the number of pods, and what may never take pods from stable."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelramp.adapters.kinds import AUTOSCALER, DEPLOYMENT
from modelramp.handlers import WATCHED
from modelramp.ports import Done, Rollout
from modelramp.rollout.observation import Value, Workload
from modelramp.rollout.spec import Autoscaling, Serving
from modelramp.rollout.status import Phase, Status
from tests.adapters.real import Process, RealCluster, pin, read

pytestmark = pytest.mark.apiserver
NAME = "fraud-detector"
RESOURCES = {"requests": {"cpu": "500m"}}
SCALED = Serving(autoscaling=Autoscaling(2, 10, cpu=70), resources=RESOURCES)
FIXED = Serving(replicas=5, resources=RESOURCES)
QUEUE = {
    "type": "External",
    "external": {
        "metric": {"name": "queue", "selector": {"matchLabels": {"queue": "fraud"}}},
        "target": {"type": "AverageValue", "averageValue": "30"},
    },
}


async def rollout_of(real: RealCluster, process: Process, serving: Serving) -> Rollout:
    """Create an object whose version 8 is stable."""
    rollout = await read(process, await real.create_model(NAME))
    return replace(rollout, spec=replace(rollout.spec, serving=serving), status=Status(stable=pin("8")))


async def converge(real: RealCluster, rollout: Rollout, version: str = "8") -> Process:
    """Let a new process see what is there, and do what is missing."""
    process = real.process()
    await process.list_all(real.namespace, *WATCHED)
    assert await process.workloads.run(rollout, pin(version)) == Done()
    return process


async def scale(real: RealCluster, replicas: int) -> None:
    """Do what the autoscaler does."""
    path = f"{DEPLOYMENT.path(real.namespace, f'{NAME}-v8')}/scale"
    scaled = await real.request("GET", path)
    body = {**scaled, "spec": {"replicas": replicas}}
    await real.request("PUT", path, body, manager="kube-controller-manager")


async def report(real: RealCluster, ready: int) -> None:
    """Do what the Deployment controller does."""
    live = await real.get(DEPLOYMENT, f"{NAME}-v8")
    pods = live["spec"]["replicas"]
    status = {"observedGeneration": live["metadata"]["generation"], "updatedReplicas": pods, "readyReplicas": ready}
    path = f"{DEPLOYMENT.path(real.namespace, f'{NAME}-v8')}/status"
    await real.request("PATCH", path, {"status": status | {"replicas": pods}}, kind="application/merge-patch+json")


async def replicas(real: RealCluster) -> int:
    return int((await real.get(DEPLOYMENT, f"{NAME}-v8"))["spec"]["replicas"])


async def seen(process: Process, rollout: Rollout) -> Workload:
    await process.list_all(rollout.ref.namespace, *WATCHED)
    found = await process.workloads.read(rollout)
    assert isinstance(found, Value)
    return found.value["8"]


def owners(deployment: Any) -> set[str]:
    """Return who applies or writes the number of pods."""
    fields = ((each, each["fieldsV1"].get("f:spec", {})) for each in deployment["metadata"]["managedFields"])
    return {f"{each['manager']}/{each['operation']}" for each, spec in fields if "f:replicas" in spec}


async def test_an_autoscaler_for_each_version(real: RealCluster) -> None:
    rollout = await rollout_of(real, real.process(), SCALED)
    await converge(real, rollout)
    spec = (await real.get(AUTOSCALER, f"{NAME}-v8"))["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{NAME}-v8"}
    assert spec["metrics"][0]["containerResource"]["container"] == "server"
    live = await real.get(DEPLOYMENT, f"{NAME}-v8")
    assert live["spec"]["replicas"] == 2
    assert "modelramp/Apply" not in owners(live)


@pytest.mark.parametrize(
    "scaling",
    [
        Autoscaling(1, 3, cpu=70),
        Autoscaling(1, 3, metrics=(QUEUE,)),
        Autoscaling(1, 3, cpu=70, behavior={"scaleUp": {"stabilizationWindowSeconds": 30}}),
    ],
    ids=["cpu", "metrics", "behavior"],
)
@pytest.mark.parametrize("phase", [Phase.PROMOTED, Phase.RAMPING])
async def test_what_the_api_server_fills_in_is_no_reason_to_write_again(
    real: RealCluster, scaling: Autoscaling, phase: Phase
) -> None:
    rollout = await rollout_of(real, real.process(), replace(SCALED, autoscaling=scaling))
    rollout = replace(rollout, status=replace(rollout.status, phase=phase))
    await converge(real, rollout)
    later = real.process()
    await later.list_all(real.namespace, *WATCHED)
    real.calls.clear()
    for _ in range(2):
        assert await later.workloads.run(rollout, pin("8")) == Done()
    assert real.calls == []


async def test_the_autoscalers_number_is_never_written_over(real: RealCluster) -> None:
    rollout = await rollout_of(real, real.process(), SCALED)
    await converge(real, rollout)
    await scale(real, 7)
    changed = replace(rollout, spec=replace(rollout.spec, serving=replace(SCALED, env=({"name": "A", "value": "1"},))))
    await converge(real, changed)
    assert await replicas(real) == 7


async def test_a_version_is_judged_against_the_fewest_pods(real: RealCluster) -> None:
    rollout = await rollout_of(real, real.process(), SCALED)
    process = await converge(real, rollout)
    await scale(real, 7)
    await report(real, ready=2)
    assert await seen(process, rollout) == Workload("8", 2, 2, current=True)
    await report(real, ready=1)
    assert (await seen(process, rollout)).ready == 1


async def test_from_a_number_to_an_autoscaler_no_pod_is_lost(real: RealCluster) -> None:
    rollout = await rollout_of(real, real.process(), FIXED)
    await converge(real, rollout)
    assert await replicas(real) == 5
    scaled = replace(rollout, spec=replace(rollout.spec, serving=SCALED))
    await converge(real, scaled)
    live = await real.get(DEPLOYMENT, f"{NAME}-v8")
    assert live["spec"]["replicas"] == 5
    assert owners(live) == {"modelramp-replicas/Apply"}
    await scale(real, 3)
    changed = replace(scaled, spec=replace(scaled.spec, serving=replace(SCALED, env=({"name": "A", "value": "1"},))))
    await converge(real, changed)
    assert await replicas(real) == 3


async def test_a_behavior_that_is_not_asked_for_any_more_goes(real: RealCluster) -> None:
    behavior = {"scaleUp": {"stabilizationWindowSeconds": 30}}
    slow = replace(SCALED, autoscaling=Autoscaling(2, 10, cpu=70, behavior=behavior))
    rollout = await rollout_of(real, real.process(), slow)
    await converge(real, rollout)
    await converge(real, replace(rollout, spec=replace(rollout.spec, serving=SCALED)))
    spec = (await real.get(AUTOSCALER, f"{NAME}-v8"))["spec"]
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0  # the API server's own


async def test_from_an_autoscaler_back_to_a_number(real: RealCluster) -> None:
    rollout = await rollout_of(real, real.process(), SCALED)
    await converge(real, rollout)
    await scale(real, 7)
    fixed = replace(rollout, spec=replace(rollout.spec, serving=FIXED))
    process = real.process()
    assert not (await seen(process, fixed)).current
    await converge(real, fixed)
    assert await replicas(real) == 5
    assert await real.get(AUTOSCALER, f"{NAME}-v8") is None
    await report(real, ready=5)
    assert (await seen(process, fixed)).current


async def scales_down(real: RealCluster, version: str = "8") -> str:
    spec = (await real.get(AUTOSCALER, f"{NAME}-v{version}"))["spec"]
    return str(spec.get("behavior", {}).get("scaleDown", {}).get("selectPolicy", "Max"))


async def test_stable_is_never_scaled_down_during_a_ramp(real: RealCluster) -> None:
    rollout = await rollout_of(real, real.process(), SCALED)
    await converge(real, rollout)
    ramping = replace(rollout, status=Status(phase=Phase.RAMPING, stable=pin("8"), candidate=pin("9")))
    process = real.process()
    await report(real, ready=2)
    assert not (await seen(process, ramping)).current
    await converge(real, ramping)
    await converge(real, ramping, "9")
    assert await scales_down(real) == "Disabled"
    assert await scales_down(real, "9") == "Max"
    after = replace(rollout, status=Status(phase=Phase.PROMOTED, stable=pin("9"), previous=(pin("8"),)))
    await converge(real, after)
    assert await scales_down(real) == "Max"
    assert (await real.get(AUTOSCALER, f"{NAME}-v8"))["spec"]["minReplicas"] == 2


async def test_users_behavior_does_not_scale_stable_down_during_a_ramp(real: RealCluster) -> None:
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}, "scaleUp": {"stabilizationWindowSeconds": 5}}
    serving = replace(SCALED, autoscaling=Autoscaling(2, 10, cpu=70, behavior=behavior))
    rollout = await rollout_of(real, real.process(), serving)
    await converge(real, replace(rollout, status=Status(phase=Phase.RAMPING, stable=pin("8"), candidate=pin("9"))))
    spec = (await real.get(AUTOSCALER, f"{NAME}-v8"))["spec"]
    assert spec["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 5


async def test_what_a_hand_did_to_an_autoscaler_is_put_right(real: RealCluster) -> None:
    rollout = await rollout_of(real, real.process(), SCALED)
    await converge(real, rollout)
    await real.merge(AUTOSCALER, f"{NAME}-v8", {"spec": {"maxReplicas": 50}})
    await converge(real, rollout)
    assert (await real.get(AUTOSCALER, f"{NAME}-v8"))["spec"]["maxReplicas"] == 10
    await real.request("DELETE", AUTOSCALER.path(real.namespace, f"{NAME}-v8"))
    process = await converge(real, rollout)
    assert await real.get(AUTOSCALER, f"{NAME}-v8") is not None
    assert await process.workloads.stop(rollout, "8") == Done()
    assert await real.get(AUTOSCALER, f"{NAME}-v8") is None


async def test_an_autoscalers_measurements_wake_nobody(real: RealCluster) -> None:
    rollout = await rollout_of(real, real.process(), SCALED)
    process = await converge(real, rollout)
    status = {"currentReplicas": 3, "desiredReplicas": 4}
    path = f"{AUTOSCALER.path(real.namespace, f'{NAME}-v8')}/status"
    measured = await real.request("PATCH", path, {"status": status}, kind="application/merge-patch+json")
    assert process.store.put(AUTOSCALER, measured) == frozenset()
    edited = await real.merge(AUTOSCALER, f"{NAME}-v8", {"spec": {"maxReplicas": 50}})
    assert process.store.put(AUTOSCALER, edited) == {rollout.ref}
