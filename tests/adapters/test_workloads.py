"""The pods of a version on a real API server: applied once, put right when changed, within `restricted` security."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from modelramp.adapters.kinds import DEPLOYMENT, DISRUPTION_BUDGET, POD, SERVICE, VERSION, Kind, labels
from modelramp.adapters.podspec import served
from modelramp.adapters.versions import render_version
from modelramp.handlers import WATCHED
from modelramp.ports import Done, Rollout
from modelramp.rollout.observation import Failed, Value, Workload
from modelramp.rollout.spec import Capture, Serving
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
    await process.list_all(real.namespace, *WATCHED)


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
    assert "mlflow-credentials" not in json.dumps([pod["spec"]["containers"], pod["spec"]["volumes"]])
    folders = [{each["name"] for each in container["volumeMounts"]} for container in (server, fetch)]
    assert folders[0] & folders[1] == {"model"}
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
    later = real.process()
    await roll_out(real, later, "8")
    real.calls.clear()
    for each in (process, later):
        assert await each.workloads.run(rollout, pin("8")) == Done()
    assert (await workloads(later, rollout))["8"].current
    assert real.calls == []


async def test_pods_that_compare_their_answers_find_each_other(
    real: RealCluster, serving: tuple[Process, Rollout]
) -> None:
    process, rollout = serving
    assert await real.get(SERVICE, f"{NAME}-peers") is None
    comparing = replace(rollout, spec=replace(rollout.spec, serving=replace(SERVING, capture=Capture(5, 0.01))))
    assert await process.workloads.run(comparing, pin("8")) == Done()
    made = await real.get(SERVICE, f"{NAME}-peers")
    assert (made["spec"]["clusterIP"], made["spec"]["ports"][0]["port"]) == ("None", 8080)
    [server] = (await real.get(DEPLOYMENT, f"{NAME}-v8"))["spec"]["template"]["spec"]["containers"]
    said = {each["name"]: each.get("value") for each in server["env"]}
    assert said["MODELRAMP_CAPTURE_PEERS"] == f"{NAME}-peers.{real.namespace}.svc:8080"
    assert (said["MODELRAMP_CAPTURE_PERCENT"], said["MODELRAMP_CAPTURE_TOLERANCE"]) == ("5", "0.01")

    await real.request("PATCH", SERVICE.path(real.namespace, f"{NAME}-peers"), {"spec": {"selector": {"x": "y"}}},
                       kind="application/merge-patch+json")  # fmt: skip
    later = real.process()
    await roll_out(real, later, "8")
    assert not (await workloads(later, comparing))["8"].current
    assert await later.workloads.run(comparing, pin("8")) == Done()
    assert (await real.get(SERVICE, f"{NAME}-peers"))["spec"]["selector"] == made["spec"]["selector"]
    await roll_out(real, later, "8")
    real.calls.clear()
    assert await later.workloads.run(comparing, pin("8")) == Done()
    assert real.calls == [], "at rest nothing is written"

    assert not (await workloads(later, rollout))["8"].current
    assert await later.workloads.run(rollout, pin("8")) == Done()
    assert await real.get(SERVICE, f"{NAME}-peers") is None


async def test_a_name_that_is_taken_costs_the_comparison_and_not_the_version(
    real: RealCluster, serving: tuple[Process, Rollout]
) -> None:
    process, rollout = serving
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"{NAME}-peers"},
              "spec": {"ports": [{"port": 80}]}}  # fmt: skip
    made = await real.request("POST", SERVICE.path(real.namespace), theirs)
    capture = Capture(5, 0.1234567)
    comparing = replace(rollout, spec=replace(rollout.spec, serving=replace(SERVING, capture=capture)))
    says = f"Service {real.namespace}/{NAME}-peers exists and is not modelramp's"
    for _ in range(2):
        assert await process.workloads.run(comparing, pin("9")) == Failed("NameTaken", says)
    [server] = (await real.get(DEPLOYMENT, f"{NAME}-v9"))["spec"]["template"]["spec"]["containers"]
    assert {"name": "MODELRAMP_CAPTURE_TOLERANCE", "value": "0.1234567"} in server["env"]
    assert await process.workloads.run(rollout, pin("9")) == Done()
    assert await real.get(SERVICE, f"{NAME}-peers") == made


async def test_what_a_hand_changed_is_put_right(real: RealCluster, serving: tuple[Process, Rollout]) -> None:
    _, rollout = serving
    container = {"name": "server", "image": "example.com/other:1"}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    path = DEPLOYMENT.path(real.namespace, f"{NAME}-v8")
    await real.request("PATCH", path, patch, kind="application/strategic-merge-patch+json", manager="kubectl-set")
    later = real.process()
    await roll_out(real, later, "8")
    assert not (await workloads(later, rollout))["8"].current
    assert await later.workloads.run(rollout, pin("8")) == Done()
    found = await real.get(DEPLOYMENT, f"{NAME}-v8")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == POD_SETTINGS.runtime_image


@pytest.mark.parametrize("kind", [SERVICE, DISRUPTION_BUDGET], ids=lambda kind: kind.name)
async def test_what_a_hand_deleted_comes_back(real: RealCluster, serving: tuple[Process, Rollout], kind: Kind) -> None:
    _, rollout = serving
    await real.request("DELETE", kind.path(real.namespace, f"{NAME}-v8"))
    await put_right(real, rollout)
    assert await real.get(kind, f"{NAME}-v8") is not None


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        (SERVICE, {"spec": {"selector": {"modelramp.dev/version": "7"}}}),
        (SERVICE, {"spec": {"selector": {"one-more": "label"}}}),
        (SERVICE, {"spec": {"ports": [{"name": "http", "port": 81}]}}),
        (SERVICE, {"metadata": {"ownerReferences": []}}),
        (DISRUPTION_BUDGET, {"spec": {"maxUnavailable": "100%"}}),
        (DEPLOYMENT, {"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 2}}}}),
        (DEPLOYMENT, {"metadata": {"labels": {"modelramp.dev/component": "other"}}}),
    ],
)
async def test_what_a_hand_changed_beside_the_pods_is_put_right(
    real: RealCluster, serving: tuple[Process, Rollout], kind: Kind, patch: dict[str, Any]
) -> None:
    _, rollout = serving
    name = f"{NAME}-v8"
    before = meaning(await real.get(kind, name))
    await real.merge(kind, name, patch)
    assert meaning(await real.get(kind, name)) != before
    await put_right(real, rollout)
    assert meaning(await real.get(kind, name)) == before


def meaning(obj: Any) -> Any:
    """Return what we say of an object; the annotation that counts a Deployment's revisions is not ours."""
    return obj["spec"], obj["metadata"]["labels"], obj["metadata"].get("ownerReferences")


async def put_right(real: RealCluster, rollout: Rollout) -> None:
    """Let a process see what is there, and do what it decides."""
    process = real.process()
    await roll_out(real, process, "8")
    assert not (await workloads(process, rollout))["8"].current
    assert await process.workloads.run(rollout, pin("8")) == Done()
    await roll_out(real, process, "8")
    assert (await workloads(process, rollout))["8"].current


async def test_a_refusal_is_told_by_its_field_until_it_is_mended(
    real: RealCluster, serving: tuple[Process, Rollout]
) -> None:
    process, rollout = serving
    bad = {"spec": {"containers": [{"name": "server", "lifecycle": {"preStop": {"sleep": {"seconds": -1}}}}]}}
    broken = replace(rollout, spec=replace(rollout.spec, serving=replace(SERVING, pod_template=bad)))
    for version in ("8", "9"):
        assert isinstance(await process.workloads.run(broken, pin(version)), Failed)
    seen = await workloads(process, broken)
    for version in ("8", "9"):
        assert not seen[version].current
        assert "spec.template.spec.containers[0].lifecycle.preStop" in seen[version].trouble
    assert await process.workloads.run(rollout, pin("8")) == Done()
    assert await process.workloads.stop(rollout, "9") == Done()
    assert {version: each.trouble for version, each in (await workloads(process, rollout)).items()} == {"8": ""}


async def test_a_field_that_no_pod_has_is_told_too(real: RealCluster, serving: tuple[Process, Rollout]) -> None:
    process, rollout = serving
    bad = {"spec": {"priorityClass": "high"}}
    broken = replace(rollout, spec=replace(rollout.spec, serving=replace(SERVING, pod_template=bad)))
    assert isinstance(await process.workloads.run(broken, pin("8")), Failed)
    assert ".spec.template.spec.priorityClass" in (await workloads(process, broken))["8"].trouble


async def test_a_stopped_version_is_gone_and_stopping_it_twice_is_no_fault(
    real: RealCluster, serving: tuple[Process, Rollout]
) -> None:
    process, rollout = serving
    for _ in range(2):
        assert await process.workloads.stop(rollout, "8") == Done()
    for kind in (DEPLOYMENT, SERVICE, DISRUPTION_BUDGET):
        assert await real.get(kind, f"{NAME}-v8") is None
    assert await workloads(process, rollout) == {}


@pytest.mark.parametrize("refused", [SERVICE, DISRUPTION_BUDGET, DEPLOYMENT])
async def test_a_version_is_seen_until_all_of_it_is_gone(
    real: RealCluster, serving: tuple[Process, Rollout], monkeypatch: pytest.MonkeyPatch, refused: Kind
) -> None:
    process, rollout = serving
    writer, away = process.workloads._writer, Failed("Unreachable", "away")
    delete = writer.delete

    async def broken(kind: Kind, namespace: str, name: str, uid: str = "") -> Any:
        return away if kind is refused else await delete(kind, namespace, name, uid)

    with monkeypatch.context() as patched:
        patched.setattr(writer, "delete", broken)
        assert await process.workloads.stop(rollout, "8") == away
    assert set(await workloads(process, rollout)) == {"8"}
    assert await process.workloads.stop(rollout, "8") == Done()
    for kind in (DEPLOYMENT, SERVICE, DISRUPTION_BUDGET):
        assert await real.get(kind, f"{NAME}-v8") is None


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
    model = render_version(served(rollout, pin("8")), POD_SETTINGS)["Deployment"]
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
    await later.list_all(real.namespace, *WATCHED)
    assert await workloads(later, rollout) == {}
    assert foreign[VERSION] == "3"
    assert process is not later
