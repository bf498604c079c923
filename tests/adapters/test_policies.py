"""The rules' ConfigMap on a real API server, asked of real pods' servers: marked once, told once, asked until sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from modelramp.adapters.kinds import CONFIG_MAP, MODEL, POD, POLICY_TOLD, labels
from modelramp.adapters.policies import ClusterPolicies, Said, judge, judge_answer
from modelramp.ports import Conflict, Done, Rollout
from modelramp.rollout.observation import NoData, Rules, Value
from modelramp.rollout.spec import Policy
from tests.adapters.real import Process, RealCluster, read

NAME, RULES = "fraud-detector", "fraud-rules"
GOOD = "rules:\n  decision: score > 0.5\n"
OTHER = "rules:\n  decision: score > 0.6\n"


class Pod:
    """What a model server says at /policy."""

    def __init__(self) -> None:
        self.says: Mapping[str, Any] = {"hash": "", "refused": None}
        self.asked = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response(self.says)


async def write(real: RealCluster, text: str | None, **labelled: str) -> None:
    data = {} if text is None else {"policy.yaml": text}
    if await real.get(CONFIG_MAP, RULES):
        await real.merge(CONFIG_MAP, RULES, {"data": data}, manager="kubectl-edit")
        return
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": RULES, "labels": labelled}, "data": data}
    await real.request("POST", CONFIG_MAP.path(real.namespace), body, manager="helm")


async def run_pod(real: RealCluster, port: int) -> None:
    """Do what the Deployment controller and the kubelet do: there are none beside a lone API server."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    container = {
        "name": "server",
        "image": "x",
        "ports": [{"name": "http", "containerPort": port}],
        "securityContext": security | {"seccompProfile": {"type": "RuntimeDefault"}},
    }
    metadata = {"name": "fraud-v8-a", "labels": labels(NAME, MODEL, "8")}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    await real.request("POST", POD.path(real.namespace), body)
    ready = {"type": "Ready", "status": "True"}
    status = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}], "conditions": [ready]}
    path = POD.path(real.namespace, "fraud-v8-a", "status")
    await real.request("PATCH", path, {"status": status}, kind="application/merge-patch+json")


async def ruled(real: RealCluster) -> tuple[Process, Rollout, ClusterPolicies]:
    process = real.process()
    rollout = await read(process, await real.create_model(NAME, policy={"configMap": RULES}))
    return process, rollout, ClusterPolicies(process.store, process.writer, real.session)


async def rules(policies: ClusterPolicies, rollout: Rollout) -> Rules:
    found = await policies.read(rollout)
    assert isinstance(found, Value), found
    return found.value


@pytest.mark.apiserver
async def test_an_edit_is_told_to_the_pods_once_and_they_are_asked_until_they_are_sure(real: RealCluster) -> None:
    process, rollout, policies = await ruled(real)
    pod = Pod()
    app = web.Application()
    app.router.add_get("/policy", pod.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        assert server.port is not None
        await write(real, GOOD)
        await run_pod(real, server.port)
        await process.list_all(real.namespace, POD)
        digest = judge(GOOD)[0]

        assert await rules(policies, rollout) == Rules(digest, waiting=1, untold=1, author="helm")
        assert await policies.tell(rollout, digest) == Done()
        touched = await real.get(POD, "fraud-v8-a")
        assert touched["metadata"]["annotations"][POLICY_TOLD] == digest
        assert await rules(policies, rollout) == Rules(digest, waiting=1, author="helm")

        pod.says = {"hash": digest, "refused": None}
        assert await rules(policies, rollout) == Rules(digest, applied=1, author="helm", unkept=True)
        assert await policies.keep(rollout, judge(OTHER)[0]) == Conflict("the rules were edited meanwhile")
        assert await policies.keep(rollout, digest) == Done()
        assert await rules(policies, rollout) == Rules(digest, applied=1, author="helm")
        asked, calls = pod.asked, len(real.calls)
        for _ in range(5):
            await rules(policies, rollout)
        assert (pod.asked, len(real.calls)) == (asked, calls)

        await write(real, OTHER)
        await process.list_all(real.namespace, CONFIG_MAP)
        other = judge(OTHER)[0]
        pod.says = {"hash": digest, "refused": {"hash": other, "problems": ["rules.decision: no such column"]}}
        refused = "pod fraud-v8-a: rules.decision: no such column"
        assert await rules(policies, rollout) == Rules(other, refused=refused, author="kubectl-edit")
        kept = await real.get(CONFIG_MAP, f"{NAME}-policy-kept")
        assert kept["data"] == {"policy.yaml": GOOD}, "what no pod refused is still there for pods that start"
        assert kept["metadata"]["ownerReferences"][0]["name"] == NAME


@pytest.mark.apiserver
async def test_the_users_configmap_gets_our_mark_and_keeps_all_its_own(real: RealCluster) -> None:
    _, rollout, policies = await ruled(real)
    await write(real, GOOD, **{"app.kubernetes.io/managed-by": "Helm"})
    await rules(policies, rollout)
    found = await real.get(CONFIG_MAP, RULES)
    marks = {"app.kubernetes.io/managed-by": "Helm", "modelramp.dev/component": "policy"}
    assert found["metadata"]["labels"] == marks
    assert found["data"] == {"policy.yaml": GOOD}


@pytest.mark.apiserver
async def test_a_bad_text_is_seen_without_a_pod_and_an_absent_one_is_no_data(real: RealCluster) -> None:
    process, rollout, policies = await ruled(real)
    missing = await policies.read(rollout)
    assert missing == NoData("PolicyNotFound", f"there is no ConfigMap {RULES}")
    await write(real, None)
    assert await policies.read(rollout) == NoData("PolicyNotFound", f"ConfigMap {RULES} has no key policy.yaml")
    await write(real, "rules: {}\n")
    await process.list_all(real.namespace, CONFIG_MAP)
    assert (await rules(policies, rollout)).problem == "rules: has 0 entries; 1 to 32 are allowed"


@pytest.mark.apiserver
async def test_a_configmap_of_ours_is_no_policy_and_one_who_does_not_lead_marks_nothing(real: RealCluster) -> None:
    process, rollout, policies = await ruled(real)
    await write(real, GOOD, **labels(NAME, "router"))
    own = replace(rollout, spec=replace(rollout.spec, policy=Policy(RULES)))
    assert isinstance(await policies.read(own), NoData)
    process.lease.leading = False
    assert await policies.tell(rollout, "aaa") == Done()  # there are no pods
    await real.request("DELETE", CONFIG_MAP.path(real.namespace, RULES))
    await write(real, GOOD)
    assert (await rules(policies, rollout)).hash == judge(GOOD)[0]
    assert "labels" not in (await real.get(CONFIG_MAP, RULES))["metadata"]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b'{"hash": "aaa", "refused": null}', Said("aaa", applies=True)),
        (200, b'{"hash": "bbb", "refused": null}', None),
        (200, b'{"hash": "bbb", "refused": {"hash": "aaa", "problems": ["x"]}}', Said("aaa", complaint="x")),
        (404, b"nothing here", Said("aaa")),
        (200, b"<html>", None),
        (200, b"[]", None),
        (200, b'{"hash": "aaa"}', None),
        (503, b"", None),
    ],
)
def test_what_a_pod_says_is_about_this_text_or_nothing(status: int, body: bytes, said: Said | None) -> None:
    assert judge_answer(status, body, "aaa") == said
