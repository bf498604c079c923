"""The DestinationRule of each version, on a real API server: only where the user asks, and the operator's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelramp.adapters.kinds import DESTINATION_RULE
from modelramp.handlers import WATCHED
from modelramp.ports import Done, Rollout
from modelramp.rollout.observation import Failed
from modelramp.rollout.spec import IstioTraffic
from modelramp.rollout.status import Status
from tests.adapters.real import Process, RealCluster, pin, read
from tests.controlplane import ApiServer

pytestmark = pytest.mark.apiserver
MODEL = "fraud-detector"
RULE = f"{MODEL}-v8"
FEW = {"connectionPool": {"http": {"http2MaxRequests": 50}}}
MANY = {"connectionPool": {"http": {"http2MaxRequests": 500}}}


@pytest.fixture
async def asked(meshes: ApiServer, real: RealCluster) -> Rollout:
    """Give a ModelDeployment that asks for few connections; version 8 is stable."""
    assert meshes
    traffic = {"istio": {"delegate": {}, "destinationRule": {"trafficPolicy": FEW}}}
    rollout = await read(real.process(), await real.create_model(MODEL, traffic=traffic))
    return replace(rollout, status=Status(stable=pin("8")))


def asking(rollout: Rollout, connections: Any) -> Rollout:
    """Return the ModelDeployment as if it asked for these connections."""
    assert isinstance(rollout.spec.traffic, IstioTraffic)
    traffic = replace(rollout.spec.traffic, connections=connections)
    return replace(rollout, spec=replace(rollout.spec, traffic=traffic))


async def seeing(real: RealCluster) -> Process:
    """Return a new process that knows what is there."""
    process = real.process()
    await process.list_all(real.namespace, *WATCHED, DESTINATION_RULE)
    return process


async def test_it_is_the_versions_own_and_goes_with_it(real: RealCluster, asked: Rollout) -> None:
    process = real.process()
    assert await process.workloads.run(asked, pin("8")) == Done()
    made = await real.get(DESTINATION_RULE, RULE)
    assert made["spec"] == {"host": RULE, "trafficPolicy": FEW}
    assert made["metadata"]["ownerReferences"][0]["uid"] == asked.uid
    assert await process.workloads.stop(asked, "8") == Done()
    assert await real.get(DESTINATION_RULE, RULE) is None


async def test_without_being_asked_for_there_is_none(real: RealCluster, asked: Rollout) -> None:
    unasked = asking(asked, {})
    process = await seeing(real)
    assert await process.workloads.run(unasked, pin("8")) == Done()
    assert await real.get(DESTINATION_RULE, RULE) is None
    assert await process.workloads.stop(unasked, "8") == Done()


async def test_it_follows_the_spec_and_is_taken_away_again(real: RealCluster, asked: Rollout) -> None:
    assert await real.process().workloads.run(asked, pin("8")) == Done()
    more, none = asking(asked, MANY), asking(asked, {})
    for wanted, stored in ((more, {"host": RULE, "trafficPolicy": MANY}), (none, None)):
        assert await (await seeing(real)).workloads.run(wanted, pin("8")) == Done()
        found = await real.get(DESTINATION_RULE, RULE)
        assert (found and found["spec"]) == stored
    process = await seeing(real)
    real.calls.clear()
    assert await process.workloads.run(none, pin("8")) == Done()
    assert real.calls == []


@pytest.mark.parametrize("spoilt", [{"trafficPolicy": MANY}, {"host": "elsewhere"}, None])
async def test_what_is_changed_in_it_by_hand_is_put_right(real: RealCluster, asked: Rollout, spoilt: Any) -> None:
    assert await real.process().workloads.run(asked, pin("8")) == Done()
    if spoilt:
        await real.merge(DESTINATION_RULE, RULE, {"spec": spoilt})
    else:
        await real.request("DELETE", DESTINATION_RULE.path(real.namespace, RULE))
    assert await (await seeing(real)).workloads.run(asked, pin("8")) == Done()
    assert (await real.get(DESTINATION_RULE, RULE))["spec"] == {"host": RULE, "trafficPolicy": FEW}


async def test_one_of_somebody_else_is_left_alone_and_said_to_be_in_the_way(real: RealCluster, asked: Rollout) -> None:
    kind, theirs = DESTINATION_RULE, {"host": RULE, "trafficPolicy": MANY}
    body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": RULE}, "spec": theirs}
    await real.request("POST", kind.path(real.namespace), body)
    refused = Failed("NameTaken", f"DestinationRule {real.namespace}/{RULE} exists and is not modelramp's")
    assert await real.process().workloads.run(asked, pin("8")) == refused
    assert (await real.get(kind, RULE))["spec"] == theirs


async def test_a_policy_that_istio_does_not_know_is_refused_by_its_field(real: RealCluster, asked: Rollout) -> None:
    process = real.process()
    refused = await process.workloads.run(asking(asked, {"connectionPool": {"http": {"maxRequest": 1}}}), pin("8"))
    assert isinstance(refused, Failed)
    assert "spec.trafficPolicy.connectionPool.http.maxRequest" in refused.message
