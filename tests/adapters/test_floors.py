"""PromotionPolicies of a real API server: what is read, how soon a change is, and what is said where none can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from modelramp.adapters import floors
from modelramp.adapters.floors import ClusterFloors, _parsed
from modelramp.adapters.kinds import PROMOTION_POLICY
from modelramp.adapters.kubernetes import Cluster
from modelramp.ports import Ref, Rollout
from modelramp.rollout.observation import Failed, Reading, Value
from modelramp.rollout.rulebook import Rulebook
from modelramp.rollout.spec import Spec
from modelramp.rollout.status import Status
from tests.adapters.real import RealCluster

pytestmark = pytest.mark.apiserver

SOON = 10.0  # seconds


@pytest.fixture
async def policies(real: RealCluster) -> AsyncIterator[ClusterFloors]:
    """Give the port, kept up with the API server; every policy goes afterwards."""
    port = ClusterFloors(real.cluster, again=0.1)
    running = asyncio.create_task(port.run())
    yield port
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await real.request("DELETE", PROMOTION_POLICY.path(None))


def rollout_in(namespace: str, **labels: str) -> Rollout:
    return Rollout(Ref(namespace, "fraud"), "uid", 1, "1", Spec("fraud", "8"), Status(), labels=labels)


async def write(real: RealCluster, name: str, spec: dict[str, Any]) -> None:
    body = {"apiVersion": PROMOTION_POLICY.api_version, "kind": "PromotionPolicy", "metadata": {"name": name}}
    path = f"{PROMOTION_POLICY.path(None, name)}?force=true"
    await real.request("PATCH", path, body | {"spec": spec}, kind="application/apply-patch+yaml")


async def until(
    port: ClusterFloors, rollout: Rollout, wanted: Callable[[Reading[Rulebook]], bool]
) -> Reading[Rulebook]:
    async with asyncio.timeout(SOON):
        while not wanted(found := await port.read(rollout)):  # noqa: ASYNC110 no bell
            await asyncio.sleep(0.05)
    return found


def named(name: str, generation: int) -> Callable[[Reading[Rulebook]], bool]:
    return lambda found: (
        isinstance(found, Value)
        and (name, generation) in {(each.name, each.generation) for each in found.value.policies}
    )


async def test_a_policy_is_read_with_what_its_selector_sees(real: RealCluster, policies: ClusterFloors) -> None:
    await write(
        real, "tier1", {"selector": {"namespaceLabels": {"env": "x"}}, "floor": {"shadow": {"duration": "24h"}}}
    )
    found = await until(policies, rollout_in(real.namespace, team="fraud"), named("tier1", 1))
    assert isinstance(found, Value)
    (tier1,) = found.value.policies
    assert tier1.floor.shadow is not None
    assert tier1.floor.shadow.duration == timedelta(hours=24)
    assert found.value.subject.namespace == real.namespace
    assert found.value.subject.namespace_labels["kubernetes.io/metadata.name"] == real.namespace
    assert found.value.subject.labels == {"team": "fraud"}


async def test_a_change_and_an_end_arrive_by_the_watch(real: RealCluster, policies: ClusterFloors) -> None:
    rollout = rollout_in(real.namespace)
    await write(real, "tier1", {"floor": {"ramp": {"firstStep": 5}}})
    await until(policies, rollout, named("tier1", 1))
    await write(real, "tier1", {"floor": {"ramp": {"firstStep": 1}}})
    found = await until(policies, rollout, named("tier1", 2))
    assert isinstance(found, Value)
    assert found.value.policies[0].floor.ramp is not None
    assert found.value.policies[0].floor.ramp.first_step == 1
    await real.request("DELETE", PROMOTION_POLICY.path(None, "tier1"))
    await until(policies, rollout, lambda found: isinstance(found, Value) and not found.value.policies)


async def test_a_label_of_the_namespace_arrives_too(real: RealCluster, policies: ClusterFloors) -> None:
    rollout = rollout_in(real.namespace)
    await write(real, "tier1", {"selector": {"namespaceLabels": {"env": "production"}}})
    await until(policies, rollout, named("tier1", 1))
    patch = {"metadata": {"labels": {"env": "production"}}}
    path = f"/api/v1/namespaces/{real.namespace}"
    await real.request("PATCH", path, patch, kind="application/merge-patch+json")
    await until(
        policies,
        rollout,
        lambda found: isinstance(found, Value) and found.value.subject.namespace_labels.get("env") == "production",
    )


async def test_where_nothing_changes_nothing_is_read_again(real: RealCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floors, "WATCH", 1)
    asked: list[str] = []
    cluster = await Cluster.connect(
        real.server.kubeconfig, on_call=lambda verb, plural, *_: asked.append(f"{verb} {plural}")
    )
    running = asyncio.create_task(ClusterFloors(cluster).run())
    try:
        async with asyncio.timeout(SOON):
            while asked.count("WATCH promotionpolicies") < 3:  # noqa: ASYNC110 no bell
                await asyncio.sleep(0.05)
        assert [each for each in asked if each == "GET promotionpolicies"] == ["GET promotionpolicies"]
    finally:
        running.cancel()
        await cluster.close()


async def test_before_the_first_list_nothing_is_known(real: RealCluster) -> None:
    found = await ClusterFloors(real.cluster).read(rollout_in(real.namespace))
    assert found == Failed("PromotionPoliciesUnknown", "the PromotionPolicies are not listed yet")


async def test_who_may_not_list_them_says_so_and_goes_on_asking(real: RealCluster) -> None:
    nobody = real.server.mint("system:serviceaccount:nowhere:nobody", "system:serviceaccounts")
    cluster = await Cluster.connect(nobody.kubeconfig)
    port = ClusterFloors(cluster, again=0.1)
    running = asyncio.create_task(port.run())
    try:
        found = await until(
            port, rollout_in(real.namespace), lambda found: isinstance(found, Failed) and "403" in found.message
        )
        assert isinstance(found, Failed)
        assert found.reason == "PromotionPoliciesUnknown"
        assert "GET /apis/modelramp.dev/v1alpha1/promotionpolicies: 403 Forbidden" in found.message
        assert not running.done()
    finally:
        running.cancel()
        await cluster.close()


@pytest.mark.parametrize("asked", [True, False])
def test_where_nobody_is_asked_who_writes_an_override_none_counts_that_a_policy_limits(asked: bool) -> None:
    limits = {"allowed": [{"gates": ["metric:*"], "groups": ["risk-officers"]}]}
    found = _parsed([{"metadata": {"name": "tier1"}, "spec": {"overrides": limits}}], asked=asked)
    assert isinstance(found, Value)
    assert found.value[0].allows("metric:auc") is asked
    assert not found.value[0].allows("signature")


def test_one_that_cannot_be_read_makes_all_unknown() -> None:
    good = {"metadata": {"name": "good"}, "spec": {}}
    bad = {"metadata": {"name": "old"}, "spec": {"floor": {"ramp": {"firstStep": 0}}}}
    found = _parsed([good, bad], asked=True)
    assert isinstance(found, Failed)
    assert found.reason == "PromotionPolicyInvalid"
    assert found.message.startswith("PromotionPolicy old: spec.floor.ramp.firstStep: 0: ")
