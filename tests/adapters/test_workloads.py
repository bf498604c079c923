"""The pods of a version on a real API server: applied once, put right when changed, within `restricted` security."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelramp.adapters.kinds import DEPLOYMENT, POD, SERVICE, VERSION, labels
from modelramp.adapters.podspec import render_workload, served
from modelramp.ports import Done, Rollout
from modelramp.rollout.observation import Value, Workload
from modelramp.rollout.spec import Serving
from modelramp.rollout.status import Status
from modelramp.router.podspec import render_router
from tests.adapters.real import POD_SETTINGS, ROUTER_SETTINGS, Process, RealCluster, pin, read

pytestmark = pytest.mark.apiserver
NAME = "fraud-detector"
SERVING = Serving(
    replicas=2,
    resources={"requests": {"cpu": "0.5", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
    env=({"name": "LOG_LEVEL", "value": "info"}, {"name": "MODEL_VERSION", "value": "999"}),
    service_account="scorer",
    registry_secret="mlflow-credentials",
)


@pytest.fixture
async def serving(real: RealCluster) -> tuple[Process, Rollout]:
    """Give a process that has just applied version 8, and its object."""
    process = real.process()
    rollout = await read(process, await real.create_model(NAME))
    rollout = replace(rollout, spec=replace(rollout.spec, serving=SERVING), status=Status(stable=pin("8")))
    assert await process.workloads.run(rollout, pin("8")) == Done()
    return process, rollout


async def workloads(process: Process, rollout: Rollout) -> dict[str, Workload]:
    found = await process.workloads.read(rollout)
    assert isinstance(found, Value)
    return dict(found.value)


async def set_status(real: RealCluster, name: str, **status: Any) -> None:
    """Do what the Deployment controller does: there is none beside a lone API server."""
    path = f"{DEPLOYMENT.path(real.namespace, name)}/status"
    await real.request("PATCH", path, {"status": status}, kind="application/merge-patch+json")


async def roll_out(real: RealCluster, process: Process, version: str, ready: int = 2) -> None:
    generation = (await real.get(DEPLOYMENT, f"{NAME}-v{version}"))["metadata"]["generation"]
    counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": ready}
    await set_status(real, f"{NAME}-v{version}", observedGeneration=generation, **counts)
    await process.list_all(real.namespace, DEPLOYMENT, POD, SERVICE)


async def test_a_version_is_a_deployment_and_a_service(real: RealCluster, serving: tuple[Process, Rollout]) -> None:
    deployment = await real.get(DEPLOYMENT, f"{NAME}-v8")
    service = await real.get(SERVICE, f"{NAME}-v8")
    pod = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    assert [owner["kind"] for owner in deployment["metadata"]["ownerReferences"]] == ["ModelDeployment"]
    server, fetch = pod["spec"]["containers"][0], pod["spec"]["initContainers"][0]
    said = {each["name"]: each.get("value") for each in server["env"]}
    assert said["MODEL_VERSION"] == "8"
    assert said["LOG_LEVEL"] == "info"
    assert fetch["envFrom"] == [{"secretRef": {"name": "mlflow-credentials"}}]
    assert "envFrom" not in server
    assert pod["spec"]["automountServiceAccountToken"] is False


async def test_pods_are_ready_when_the_newest_template_is(real: RealCluster, serving: tuple[Process, Rollout]) -> None:
    process, rollout = serving
    assert (await workloads(process, rollout))["8"] == Workload("8", 2, 0, current=False)
    await roll_out(real, process, "8")
    assert (await workloads(process, rollout))["8"] == Workload("8", 2, 2, current=True)
    changed = replace(rollout, spec=replace(rollout.spec, serving=replace(SERVING, env=())))
    assert not (await workloads(process, changed))["8"].current
    assert await process.workloads.run(changed, pin("8")) == Done()
    seen = (await workloads(process, changed))["8"]
    assert (seen.ready, seen.current) == (2, False)  # the old pods still answer; the new ones are not made yet
    await roll_out(real, process, "8")
    assert (await workloads(process, changed))["8"].current


async def test_what_is_as_rendered_is_not_written_again(real: RealCluster, serving: tuple[Process, Rollout]) -> None:
    process, rollout = serving
    before = (await real.get(DEPLOYMENT, f"{NAME}-v8"))["metadata"]
    later = real.process()
    await later.list_all(real.namespace, DEPLOYMENT, POD, SERVICE)
    for each in (process, later):
        assert await each.workloads.run(rollout, pin("8")) == Done()
    assert (await real.get(DEPLOYMENT, f"{NAME}-v8"))["metadata"] == before


async def test_what_a_hand_changed_is_put_right(real: RealCluster, serving: tuple[Process, Rollout]) -> None:
    _, rollout = serving
    container = {"name": "server", "image": "example.com/other:1"}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    path = DEPLOYMENT.path(real.namespace, f"{NAME}-v8")
    await real.request("PATCH", path, patch, kind="application/strategic-merge-patch+json", manager="kubectl-set")
    await real.request("DELETE", SERVICE.path(real.namespace, f"{NAME}-v8"))
    later = real.process()
    await roll_out(real, later, "8")
    assert not (await workloads(later, rollout))["8"].current
    assert await later.workloads.run(rollout, pin("8")) == Done()
    found = await real.get(DEPLOYMENT, f"{NAME}-v8")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == POD_SETTINGS.runtime_image
    assert await real.get(SERVICE, f"{NAME}-v8") is not None


async def test_a_stopped_version_is_gone_and_stopping_it_twice_is_no_fault(
    real: RealCluster, serving: tuple[Process, Rollout]
) -> None:
    process, rollout = serving
    for _ in range(2):
        assert await process.workloads.stop(rollout, "8") == Done()
    assert await real.get(DEPLOYMENT, f"{NAME}-v8") is None
    assert await real.get(SERVICE, f"{NAME}-v8") is None
    assert await workloads(process, rollout) == {}


@pytest.mark.parametrize(
    ("container", "trouble"),
    [
        (
            {"name": "fetch", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}},
            "ImagePullBackOff: container fetch: no such image",
        ),
        (
            {
                "name": "fetch",
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                "lastState": {
                    "terminated": {"exitCode": 1, "message": "cannot read https://u:secret@mlflow/x:\n digest differs"}
                },
            },
            "CrashLoopBackOff: container fetch: cannot read https://mlflow/x: digest differs",
        ),
        (
            {"name": "fetch", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}},
            "OOMKilled: container fetch: OOMKilled, exit code 137",
        ),
        (
            {
                "name": "fetch",
                "state": {"running": {}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "digest differs"}},
            },
            "Error: container fetch: digest differs",
        ),
        (
            {"name": "fetch", "ready": True, "state": {}, "lastState": {"terminated": {"exitCode": 1}}},
            "",
        ),
        ({"name": "fetch", "state": {"waiting": {"reason": "PodInitializing"}}}, ""),
    ],
)
async def test_a_pods_complaint_is_repeated_without_secrets(
    real: RealCluster, serving: tuple[Process, Rollout], container: dict[str, Any], trouble: str
) -> None:
    process, rollout = serving
    template = (await real.get(DEPLOYMENT, f"{NAME}-v8"))["spec"]["template"]
    pod = {"metadata": {"name": "p1", "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
    await real.request("POST", POD.path(real.namespace), pod)
    status = {"initContainerStatuses": [{"image": "", "imageID": "", "ready": False, "restartCount": 0} | container]}
    path = f"{POD.path(real.namespace, 'p1')}/status"
    await real.request("PATCH", path, {"status": status}, kind="application/merge-patch+json")
    await roll_out(real, process, "8", ready=0)
    assert (await workloads(process, rollout))["8"].trouble == trouble


async def test_all_pods_are_within_restricted_security(real: RealCluster, serving: tuple[Process, Rollout]) -> None:
    _, rollout = serving
    model, _ = render_workload(served(rollout, pin("8")), POD_SETTINGS)
    router = next(each for each in render_router(real.namespace, NAME, ROUTER_SETTINGS) if each["kind"] == "Deployment")
    for deployment in (model, router):
        template = deployment["spec"]["template"]
        pod = {"metadata": {"generateName": "p-", "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
        path = f"{POD.path(real.namespace)}?dryRun=All"
        assert (await real.request("POST", path, pod))["spec"]["containers"]
    template["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(OSError, match="403"):
        await real.request("POST", path, pod)


async def test_versions_of_another_object_are_not_seen(real: RealCluster, serving: tuple[Process, Rollout]) -> None:
    process, rollout = serving
    foreign = labels("another", "model", "3")
    await real.merge(DEPLOYMENT, f"{NAME}-v8", {"metadata": {"labels": foreign}})
    later = real.process()
    await later.list_all(real.namespace, DEPLOYMENT, POD)
    assert await workloads(later, rollout) == {}
    assert foreign[VERSION] == "3"
    assert process is not later
