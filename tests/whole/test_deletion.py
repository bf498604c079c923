"""Deleting the object leaves all traffic on stable and never hangs, whatever else is gone."""

from __future__ import annotations

import pytest

from modelramp.adapters.kinds import MODEL_DEPLOYMENT
from modelramp.ports import Ref
from tests.whole.conftest import Residence
from tests.whole.invariants import moves, violations
from tests.whole.kubelet import NEVER
from tests.whole.manifests import steps
from tests.whole.observer import Trace
from tests.whole.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
ENDLESS = {"ramp": {"steps": steps(10, 100, hold="1h")}}


async def until_gone(trace: Trace, ref: Ref, within: float = 10.0) -> None:
    """Wait until the object is gone: our finalizer is off."""
    await trace.until(lambda: trace.newest(MODEL_DEPLOYMENT, ref.name) is None, "the object goes", within)


async def test_deletion_in_mid_ramp_sends_everything_to_stable_first(residence: Residence) -> None:
    ref = await residence.promoted("1", **ENDLESS)
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    await residence.stage.delete(ref)
    await until_gone(residence.trace, ref)
    back = moves(residence.trace, ref)[-1]
    gone = residence.trace.revisions(MODEL_DEPLOYMENT, ref.name)[-1]
    assert {v: share for v, share in back.after.weights.items() if share} == {"1": 100}
    assert back.revision.version < gone.version, "traffic first, then the object"
    assert residence.violations(ref) == []


async def test_deletion_after_promotion_moves_nothing(residence: Residence) -> None:
    ref = await residence.promoted("1", "2")
    before = len(moves(residence.trace, ref))
    await residence.stage.delete(ref)
    await until_gone(residence.trace, ref)
    assert len(moves(residence.trace, ref)) == before
    assert residence.violations(ref) == []


async def test_deletion_while_the_candidate_never_comes_up(residence: Residence) -> None:
    ref = await residence.promoted("1")
    residence.stage.kubelet.decree(ref, "2", NEVER)
    await residence.stage.pin(ref, "2")
    await residence.trace.until_phase(ref, "Starting", "2")
    await residence.stage.delete(ref)
    await until_gone(residence.trace, ref)
    assert residence.violations(ref) == []


async def test_deletion_of_what_was_never_served(residence: Residence) -> None:
    ref = residence.ref()
    async with residence.stage.registry.away():
        await residence.stage.create(ref)
        await residence.trace.until_phase(ref, "Gating")
        await residence.stage.delete(ref)
        await until_gone(residence.trace, ref)
    assert moves(residence.trace, ref) == []


async def test_a_second_object_of_the_same_name_begins_from_nothing(residence: Residence) -> None:
    ref = await residence.promoted("1", "2")
    await residence.stage.delete(ref)
    await until_gone(residence.trace, ref)
    await residence.stage.create(ref, "3")
    await residence.trace.until_phase(ref, "Promoted", "3")
    status = residence.trace.status(ref)
    assert (status["stable"]["version"], status.get("previous")) == ("3", None)


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize("phase", ["Gating", "Ramping", "Promoted"])
async def test_deletion_with_prometheus_registry_and_routers_gone(stage: Stage, phase: str) -> None:
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    async with stage.observed(namespace) as trace, stage.operator(namespace):
        await stage.create(ref, **ENDLESS)
        await trace.until_phase(ref, "Promoted", "1")
        if phase == "Ramping":
            await stage.pin(ref, "2")
            await trace.until_weights(ref, v1=90, v2=10)
        async with stage.prometheus.away(), stage.registry.away():
            stage.routers.of(ref).away = True
            if phase == "Gating":
                await stage.pin(ref, "2")
                await trace.until_phase(ref, "Gating")
            await stage.delete(ref)
            await until_gone(trace, ref)
        assert {v: share for v, share in moves(trace, ref)[-1].after.weights.items() if share} == {"1": 100}
        assert violations(trace, ref) == []
