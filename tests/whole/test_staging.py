"""Before its first traffic a version is rehearsed by one Job, whose verdict outlives the operator."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelramp.adapters.kinds import DEPLOYMENT, JOB, MODEL_DEPLOYMENT, NAME, POD
from modelramp.ports import Ref
from tests.whole.conftest import Residence
from tests.whole.invariants import violations
from tests.whole.manifests import rail, steps
from tests.whole.observer import Trace
from tests.whole.stage import Stage

pytestmark = pytest.mark.timeout(120)
GATES = {"staging": {"requests": 50, "p99": "50ms", "memory": "512Mi"}, "rollback": {}}
STAGED: dict[str, Any] = {"gates": GATES, "ramp": {"steps": steps(50, 100)}, "guardrails": [rail()]}


async def left(stage: Stage, ref: Ref) -> dict[str, list[str]]:
    """Return the Jobs and the pods of rehearsals that are there."""
    selector = f"{NAME}={ref.name},modelramp.dev/component=staging"
    lists = {kind.plural: await stage.admin.list(kind, ref.namespace, selector) for kind in (JOB, POD)}
    return {plural: [each["metadata"]["name"] for each in items] for plural, (items, _) in lists.items()}


async def until_cleared(stage: Stage, ref: Ref) -> None:
    """Wait until nothing is left of any rehearsal. Raises TimeoutError."""
    async with asyncio.timeout(15):
        while any((await left(stage, ref)).values()):  # noqa: ASYNC110 no bell
            await asyncio.sleep(0.05)


async def until_stopped(stage: Stage, ref: Ref, version: str) -> None:
    """Wait until a version's Deployment is gone. Raises TimeoutError."""
    async with asyncio.timeout(15):
        while await stage.admin.get(DEPLOYMENT, ref.namespace, f"{ref.name}-v{version}"):  # noqa: ASYNC110 no bell
            await asyncio.sleep(0.05)


def evidence(trace: Trace, ref: Ref) -> dict[str, dict[str, Any]]:
    """Return the newest attempt's results by gate."""
    return {each["gate"]: each for each in trace.status(ref)["attempt"]["gates"]}


@pytest.mark.asyncio(loop_scope="module")
class TestInResidence:
    async def test_every_version_is_rehearsed_once_and_then_goes_its_way(self, residence: Residence) -> None:
        ref = await residence.promoted("1", "2", **STAGED)
        assert len(residence.stage.jobs.made[ref]) == 2
        results = evidence(residence.trace, ref)
        assert {"staging:errorRate", "staging:p99", "staging:memory", "rollback"} <= set(results)
        assert results["staging:p99"]["value"] == "12 ms"
        assert results["rollback"]["reason"] == "FallbackAnswers"
        assert residence.violations(ref) == []
        await until_cleared(residence.stage, ref)

    async def test_what_is_too_slow_gets_no_traffic_and_leaves_nothing_behind(self, residence: Residence) -> None:
        ref = await residence.promoted("1", **STAGED)
        residence.stage.jobs.decree(ref, "2", {"p99": 0.0612, "answered": 49, "complaint": "1 × status 500"})
        await residence.stage.pin(ref, "2")
        await residence.trace.until_phase(ref, "Rejected", "1")
        results = evidence(residence.trace, ref)
        assert (results["staging:p99"]["passed"], results["staging:p99"]["reason"]) == (False, "StagingSlow")
        assert "1 × status 500" in results["staging:errorRate"]["message"]
        assert residence.trace.weights(ref) == {"1": 100}
        assert residence.violations(ref) == []
        await until_cleared(residence.stage, ref)
        await residence.trace.until(lambda: "GatesFailed" in dict(residence.trace.events(ref)), "an Event says so")
        await until_stopped(residence.stage, ref, "2")

    async def test_deletion_does_not_wait_for_it(self, residence: Residence) -> None:
        ref = await residence.promoted("1", **STAGED)
        residence.stage.jobs.decree(ref, "2", None)
        await residence.stage.pin(ref, "2")
        await residence.trace.until_phase(ref, "Staging", "2")
        await residence.stage.delete(ref)
        gone = residence.trace.newest
        await residence.trace.until(lambda: gone(MODEL_DEPLOYMENT, ref.name) is None, "the object goes", 10)
        await until_cleared(residence.stage, ref)

    async def test_a_way_back_waits_for_no_rehearsal(self, residence: Residence) -> None:
        ref = await residence.promoted("1", "2", **STAGED)
        residence.stage.jobs.decree(ref, "1", None)
        await residence.stage.pin(ref, "1")
        await residence.trace.until_weights(ref, 5.0, v1=100)
        assert len(residence.stage.jobs.made[ref]) == 2
        assert residence.violations(ref) == []


async def test_an_operator_that_dies_meanwhile_leaves_one_job_and_one_verdict(stage: Stage) -> None:
    namespace = await stage.namespace()
    ref, same_pod = Ref(namespace, "fraud"), {"POD_UID": namespace}
    stage.jobs.decree(ref, "1", None)
    async with stage.observed(namespace) as trace:
        async with stage.operator(namespace, environment=same_pod) as operator:
            await stage.create(ref, "1", **STAGED)
            await trace.until_phase(ref, "Staging", "1")
            await trace.until(lambda: stage.jobs.made.get(ref), "the Job is there")
            await operator.kill()
        await stage.jobs.end(ref, "1")
        async with stage.operator(namespace, environment=same_pod):
            await trace.until_phase(ref, "Promoted", "1")
            assert len(stage.jobs.made[ref]) == 1
            assert evidence(trace, ref)["staging:p99"]["passed"]
            assert violations(trace, ref) == []
            await until_cleared(stage, ref)
