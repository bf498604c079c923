"""The Job of a rehearsal on a real API server: made once, read from its pod, gone with its pods, `restricted`."""

from __future__ import annotations

import asyncio
import json
import urllib.error
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from modelramp.adapters.jobspec import job_name, render_rehearsal
from modelramp.adapters.kinds import JOB, POD
from modelramp.adapters.podspec import served
from modelramp.adapters.refusals import Pace
from modelramp.adapters.rehearsals import CONTROLLER, ClusterRehearsals
from modelramp.ports import Done, Rollout
from modelramp.rollout.actions import RunRehearsal
from modelramp.rollout.gates.spec import Dataset, StagingGate
from modelramp.rollout.observation import Busy, Failed, Rehearsal, Replay, Value
from modelramp.rollout.spec import Serving
from tests.adapters.real import POD_SETTINGS, Process, RealCluster, pin, read
from tests.controlplane.controllers import running_controllers

pytestmark = pytest.mark.apiserver
T = TypeVar("T")
NAME, ATTEMPT = "fraud-detector", "8-abc123"
WANTED = RunRehearsal(ATTEMPT, pin("8"), StagingGate(50, 2), pin("7"), timedelta(minutes=5))
FROM_DATASET = replace(WANTED, gate=StagingGate(dataset=Dataset("payloads", "requests.jsonl")), fallback=None)


@pytest.fixture
async def rehearsing(real: RealCluster) -> tuple[Process, ClusterRehearsals, Rollout]:
    """Give a process that has just begun an attempt's rehearsal."""
    process = real.process()
    rollout = await read(process, await real.create_model(NAME))
    serving = Serving(registry_secret="mlflow-credentials", resources={"limits": {"nvidia.com/gpu": "1"}})
    rollout = replace(rollout, spec=replace(rollout.spec, serving=serving))
    assert await process.rehearsals.run(rollout, WANTED) == Done()
    return process, process.rehearsals, rollout


Begun = tuple[Process, ClusterRehearsals, Rollout]


async def results(rehearsals: ClusterRehearsals, rollout: Rollout) -> dict[str, Rehearsal | Busy | Failed]:
    found = await rehearsals.read(rollout)
    assert isinstance(found, Value)
    return dict(found.value)


async def end_pod(real: RealCluster, process: Process, message: str, code: int = 0, owner: str = "") -> None:
    """Do what the Job controller and a kubelet do: a pod of the Job, and how its container ended."""
    job = await real.get(JOB, job_name(NAME, ATTEMPT))
    marks = job["spec"]["template"]["metadata"]["labels"] | {CONTROLLER: owner or job["metadata"]["uid"]}
    name = f"rehearsal-{code}-{len(message)}"
    pod = {"metadata": {"name": name, "labels": marks}, "spec": job["spec"]["template"]["spec"]}
    await real.request("POST", POD.path(real.namespace), pod)
    ended = {"terminated": {"exitCode": code, "message": message, "reason": "Completed"}}
    status = {"phase": "Succeeded", "containerStatuses": [_status("rehearsal", ended)]}
    path = f"{POD.path(real.namespace, name)}/status"
    await real.request("PATCH", path, {"status": status}, kind="application/merge-patch+json")
    await process.list_all(real.namespace, JOB, POD)


def _status(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "ready": False, "restartCount": 0, "image": "x", "imageID": "x", "state": state}


async def test_it_is_one_job_an_attempt_whoever_asks_again(real: RealCluster, rehearsing: Begun) -> None:
    _, rehearsals, rollout = rehearsing
    before = await real.get(JOB, job_name(NAME, ATTEMPT))
    assert before["metadata"]["ownerReferences"][0]["uid"] == rollout.uid
    assert before["spec"]["activeDeadlineSeconds"] == 300
    successor = real.process(2).rehearsals
    assert await successor.run(rollout, replace(WANTED, gate=StagingGate(9))) == Done()
    after = await real.get(JOB, job_name(NAME, ATTEMPT))
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"] == before["spec"]
    assert await results(rehearsals, rollout) == await results(successor, rollout) == {ATTEMPT: Busy("")}


async def test_no_request_of_a_user_reaches_its_pods(real: RealCluster, rehearsing: Begun) -> None:
    _, _, rollout = rehearsing
    selectors = [served(rollout, pin(each)).selector for each in "78"]
    marks = (await real.get(JOB, job_name(NAME, ATTEMPT)))["spec"]["template"]["metadata"]["labels"]
    assert not any(selector.items() <= marks.items() for selector in selectors)


async def test_its_result_is_what_its_container_left(real: RealCluster, rehearsing: Begun) -> None:
    process, rehearsals, rollout = rehearsing
    told = {"candidate": {"asked": 50, "answered": 49, "p99": 0.02, "memory": 1000, "complaint": "1 × status 500"}}
    await end_pod(real, process, json.dumps(told | {"fallback": {"asked": 1, "answered": 1}}))
    replay = Replay(49, p99=0.02, memory=1000, complaint="1 × status 500")
    assert await results(rehearsals, rollout) == {ATTEMPT: Rehearsal(replay, Replay(1))}


async def test_what_cannot_be_read_is_no_result_and_is_not_shown(real: RealCluster, rehearsing: Begun) -> None:
    process, rehearsals, rollout = rehearsing
    await end_pod(real, process, '{"candidate": {"answered": "a secret"}}')
    found = (await results(rehearsals, rollout))[ATTEMPT]
    assert isinstance(found, Rehearsal)
    assert found.candidate is None
    assert "cannot be read" in found.problem
    assert "secret" not in found.problem


async def test_a_pod_of_another_job_tells_nothing(real: RealCluster, rehearsing: Begun) -> None:
    process, rehearsals, rollout = rehearsing
    await end_pod(real, process, json.dumps({"candidate": {"answered": 50}}), owner="11111111-2222-3333-4444-5")
    assert await results(rehearsals, rollout) == {ATTEMPT: Busy("")}


async def test_a_pod_that_fails_is_tried_again_and_its_complaint_is_shown(real: RealCluster, rehearsing: Begun) -> None:
    process, rehearsals, rollout = rehearsing
    await end_pod(real, process, "CANDIDATE_URL is not set", code=1)
    found = (await results(rehearsals, rollout))[ATTEMPT]
    assert isinstance(found, Busy)
    assert "CANDIDATE_URL is not set" in found.message
    failed = {"status": "True", "reason": "BackoffLimitExceeded", "message": "4 pods failed"}
    now = {"lastTransitionTime": "2026-01-01T00:00:00Z", "lastProbeTime": "2026-01-01T00:00:00Z"}
    conditions = [{"type": kind} | failed | now for kind in ("FailureTarget", "Failed")]
    status = {"conditions": conditions, "startTime": "2026-01-01T00:00:00Z", "failed": 4}
    path = f"{JOB.path(real.namespace, job_name(NAME, ATTEMPT))}/status"
    await real.request("PATCH", path, {"status": status}, kind="application/merge-patch+json")
    await process.list_all(real.namespace, JOB, POD)
    ended = (await results(rehearsals, rollout))[ATTEMPT]
    assert isinstance(ended, Rehearsal)
    assert ended.problem.startswith("the Job failed: ")
    assert "CANDIDATE_URL is not set" in ended.problem


async def test_why_its_pods_are_forbidden_is_said_in_the_words_of_the_api_server(
    real: RealCluster, rehearsing: Begun
) -> None:
    process, _, rollout = rehearsing
    await forbid_pods(real, (await real.get(JOB, job_name(NAME, ATTEMPT)))["spec"]["template"])
    eager = ClusterRehearsals(real.cluster, process.store, process.writer, POD_SETTINGS, Pace(0.0, 0.2))
    with running_controllers(real.server, "job-controller"):
        await until(lambda: results(eager, rollout), lambda found: found[ATTEMPT] != Busy(""))
    (said,) = (await results(eager, rollout)).values()
    assert isinstance(said, Busy)
    assert said.message.startswith("FailedCreate: Error creating: pods ")
    assert said.message.endswith(
        " is forbidden: exceeded quota: no-pods, requested: pods=1, used: pods=0, limited: pods=0"
    )
    await process.list_all(real.namespace, JOB, POD)
    asked = len(real.calls)
    await results(process.rehearsals, rollout)
    assert len(real.calls) == asked, "pods have a while to come before anybody asks"


async def forbid_pods(real: RealCluster, template: dict[str, Any]) -> None:
    """Lay a quota on the namespace, and return when the API server holds pods to it."""
    path = f"/api/v1/namespaces/{real.namespace}/resourcequotas"
    await real.request("POST", path, {"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}})
    known = {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}
    await real.request("PATCH", f"{path}/no-pods/status", known, kind="application/merge-patch+json")
    pod = {"metadata": {"generateName": "p-"}, "spec": template["spec"]}

    async def tried() -> int:
        try:
            await real.request("POST", f"{POD.path(real.namespace)}?dryRun=All", pod)
        except urllib.error.HTTPError as refused:
            return refused.code
        return 201

    await until(tried, lambda code: code == 403)


async def until(ask: Callable[[], Awaitable[T]], reached: Callable[[T], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached(await ask()):  # noqa: ASYNC110 no bell
            await asyncio.sleep(0.2)


async def test_it_goes_and_going_twice_is_going_once(real: RealCluster, rehearsing: Begun) -> None:
    _, rehearsals, rollout = rehearsing
    assert await rehearsals.stop(rollout, ATTEMPT) == Done()
    assert await real.get(JOB, job_name(NAME, ATTEMPT)) is None
    assert await rehearsals.stop(rollout, ATTEMPT) == Done()


async def test_why_it_cannot_be_made_is_what_is_read(real: RealCluster, rehearsing: Begun) -> None:
    _, rehearsals, rollout = rehearsing
    wrong = replace(WANTED, attempt="8-" + "x" * 60)
    assert isinstance(await rehearsals.run(rollout, wrong), Failed)
    found = (await results(rehearsals, rollout))[wrong.attempt]
    assert isinstance(found, Failed)
    assert "metadata.name" in found.message or "labels" in found.message


async def test_a_job_of_that_name_that_is_somebody_elses_is_left_alone(real: RealCluster, rehearsing: Begun) -> None:
    _, rehearsals, rollout = rehearsing
    later = replace(WANTED, attempt="8-def456")
    theirs = dict(render_rehearsal(rollout, later, POD_SETTINGS))
    theirs["metadata"] = {"name": job_name(NAME, later.attempt), "labels": {"app": "theirs"}}
    await real.request("POST", JOB.path(real.namespace), theirs)
    taken = await rehearsals.run(rollout, later)
    assert isinstance(taken, Failed)
    assert taken.reason == "NameTaken"


@pytest.mark.parametrize("wanted", [WANTED, FROM_DATASET], ids=["input examples", "a dataset"])
async def test_its_pods_are_within_restricted_security_and_take_no_device(
    real: RealCluster, rehearsing: Begun, wanted: RunRehearsal
) -> None:
    _, _, rollout = rehearsing
    template = render_rehearsal(rollout, wanted, POD_SETTINGS)["spec"]["template"]
    pod = {"metadata": {"generateName": "p-", "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
    made = await real.request("POST", f"{POD.path(real.namespace)}?dryRun=All", pod)
    assert "nvidia" not in json.dumps(made)
    fetches = [each["name"] for each in made["spec"].get("initContainers", ())]
    assert fetches == (["fetch-candidate", "fetch-fallback"] if wanted is WANTED else [])
    assert all("envFrom" in each for each in made["spec"].get("initContainers", ()))
    assert "envFrom" not in made["spec"]["containers"][0]


def test_the_longest_names_fit() -> None:
    assert len(job_name("n" * 40, "999999999-abc123")) == 63
