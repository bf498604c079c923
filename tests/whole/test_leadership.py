"""Two operators at once: one writes. A leader that was stopped past its Lease is refused, or never tries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelramp.adapters.kinds import CONFIG_MAP, EPOCH
from modelramp.ports import Ref
from tests.whole.invariants import violations
from tests.whole.manifests import steps
from tests.whole.observer import Trace
from tests.whole.prometheus import BAD, GOOD
from tests.whole.proxy import ApiProxy, Write
from tests.whole.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
TAKEOVER = 40.0  # seconds: 15 of the Lease, a look every 2, a busy machine


def moves_traffic(write: Write) -> bool:
    """Tell whether a write is to the object or to its route."""
    return write.resource in ("configmaps", "modeldeployments/status")


def is_calm(status: dict[str, Any]) -> bool:
    """Tell whether a step is held, with its guardrail passing, so that no write is to be expected."""
    return status["reason"] == "Holding" and [each["verdict"] for each in status.get("guardrails") or ()] == ["Pass"]


def epoch_of(trace: Trace, ref: Ref) -> int:
    """Return the leadership that wrote the route last."""
    newest = trace.newest(CONFIG_MAP, f"{ref.name}-traffic")
    return int(newest.object["metadata"]["annotations"][EPOCH]) if newest else 0


async def test_of_two_only_the_leader_writes_and_the_other_takes_over(stage: Stage) -> None:
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    async with (
        stage.observed(namespace) as trace,
        stage.proxied() as first,
        stage.proxied() as second,
        stage.operator(namespace, name="a", through=first) as leader,
    ):
        await stage.create(ref, ramp={"steps": steps(10, 50, 100, hold="1s")})
        await trace.until_phase(ref, "Promoted", "1")
        async with stage.operator(namespace, name="b", through=second) as follower:
            await stage.pin(ref, "2")
            await trace.until_phase(ref, "Promoted", "2")
            await follower.until_up()
            assert second.numbered == [], "a follower writes nothing"
            await stage.pin(ref, "3")
            await trace.until_weights(ref, v2=90, v3=10)
            epoch = epoch_of(trace, ref)
            await leader.kill()
            await trace.until_phase(ref, "Promoted", "3", within=TAKEOVER)
            assert epoch_of(trace, ref) == epoch + 1
        assert violations(trace, ref, stage.prometheus) == []


async def test_a_frozen_leader_writes_nothing_more_and_ends(stage: Stage) -> None:
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    async with (
        stage.observed(namespace) as trace,
        stage.proxied() as first,
        stage.proxied() as second,
        stage.operator(namespace, name="a", through=first) as frozen,
    ):
        await stage.create(ref, ramp={"steps": steps(10, 50, 100, hold="1s")})
        await trace.until_phase(ref, "Promoted", "1")
        await stage.pin(ref, "2")
        await trace.until_weights(ref, v1=90, v2=10)
        async with stage.operator(namespace, name="b", through=second):
            frozen.freeze()
            written = len(first.numbered)
            await trace.until_phase(ref, "Promoted", "2", within=TAKEOVER)
            frozen.thaw()
            assert await asyncio.wait_for(frozen.process.wait(), 20) == 1, "it ends, to be started again"
            assert len(first.numbered) == written
        assert violations(trace, ref, stage.prometheus) == []


async def test_a_retreat_that_arrives_after_another_has_taken_over_is_refused(stage: Stage) -> None:
    """The retreat's own write holds nothing but the epoch: here it is late by a whole leadership."""
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    async with (
        stage.observed(namespace) as trace,
        stage.proxied() as first,
        stage.operator(namespace, name="a", through=first) as old,
    ):
        await stage.create(ref, ramp={"steps": steps(10, 100, hold="1h")})
        await trace.until_phase(ref, "Promoted", "1")
        await stage.pin(ref, "2")
        await trace.until_weights(ref, v1=90, v2=10)
        await trace.until(lambda: is_calm(trace.status(ref)), "nothing is on its way")
        with first.holding(moves_traffic) as late:
            stage.prometheus.say(ref, "2", BAD)
            await trace.until(lambda: len(late.held) >= 2, "both writes of the retreat are on their way")
            old.freeze()
            await _taken_over(stage, trace, ref)
            late.release()
            await trace.until(lambda: all(write.status for write in late.held), "the late writes are answered")
        assert {write.resource for write in late.held} == {"configmaps", "modeldeployments/status"}
        assert {write.status for write in late.held} <= {409, 422}, late.held
        assert trace.weights(ref) == {"1": 90, "2": 10}, "the ramp of the new leader goes on"
        assert violations(trace, ref, stage.prometheus, retried=True) == []


async def _taken_over(stage: Stage, trace: Trace, ref: Ref) -> None:
    """Let another lead: it takes the traffic back itself, and begins anew when it is asked to."""
    epoch = epoch_of(trace, ref)
    new: ApiProxy
    async with stage.proxied() as new, stage.operator(ref.namespace, name="b", through=new) as operator:
        await trace.until_weights(ref, TAKEOVER, v1=100)
        await trace.until_phase(ref, "RolledBack", "1")
        stage.prometheus.say(ref, "2", GOOD)
        await stage.admin.edit(ref, retry="once more")
        await trace.until_weights(ref, v1=90, v2=10)
        assert epoch_of(trace, ref) == epoch + 1
        await operator.kill()  # so that nobody but the API server can refuse what is late
