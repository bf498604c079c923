"""People change their minds: at the object, at the route, with the operator there and away."""

from __future__ import annotations

import asyncio

import pytest

from modelramp.adapters.kinds import CONFIG_MAP, MODEL_DEPLOYMENT
from modelramp.ports import Ref
from tests.whole.conftest import Residence
from tests.whole.invariants import moves, violations
from tests.whole.manifests import rail, steps
from tests.whole.prometheus import BAD
from tests.whole.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
ENDLESS = {"ramp": {"steps": steps(10, 100, hold="1h")}}


async def test_a_patch_back_to_a_warm_version_is_one_write(residence: Residence) -> None:
    ref = await residence.promoted("1", "2")
    before = len(moves(residence.trace, ref))
    await residence.stage.pin(ref, "1")
    await residence.trace.until_phase(ref, "Promoted", "1")
    (move,) = moves(residence.trace, ref)[before:]
    assert move.after.weights == {"1": 100}
    assert residence.violations(ref) == []


async def test_a_patch_back_in_mid_ramp_takes_the_traffic_back(residence: Residence) -> None:
    ref = await residence.promoted("1", **ENDLESS)
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    await residence.stage.pin(ref, "1")
    await residence.trace.until_weights(ref, v1=100)
    await residence.trace.until_phase(ref, "Promoted", "1")
    assert residence.trace.status(ref).get("candidate") is None
    assert residence.violations(ref) == []


async def test_a_new_pin_in_mid_ramp_begins_from_nothing(residence: Residence) -> None:
    ref = await residence.promoted("1", **ENDLESS)
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    await residence.stage.pin(ref, "3")
    await residence.trace.until_weights(ref, v1=90, v3=10)
    shares = [dict(move.after.weights) for move in moves(residence.trace, ref)]
    positive = [{version: share for version, share in each.items() if share} for each in shares]
    assert positive == [{"1": 100}, {"1": 90, "2": 10}, {"1": 100}, {"1": 90, "3": 10}]
    assert residence.violations(ref) == []


async def test_an_edit_of_the_plan_waits_for_the_next_attempt(residence: Residence) -> None:
    ref = await residence.promoted("1", ramp={"steps": steps(10, 50, 100, hold="2s")})
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    await residence.stage.admin.edit(ref, ramp={"steps": steps(20, 100, hold="1s")})
    await residence.trace.until_phase(ref, "Promoted", "2")
    await residence.stage.pin(ref, "3")
    await residence.trace.until_phase(ref, "Promoted", "3")
    shares = [[move.after.weight(v) for move in moves(residence.trace, ref)] for v in ("2", "3")]
    assert [sorted({share for share in each if share}) for each in shares] == [[10, 50, 80, 100], [20, 100]]
    assert residence.violations(ref) == []


async def test_a_pause_stops_progress_and_never_protection(residence: Residence) -> None:
    ref = await residence.promoted("1", ramp={"steps": steps(10, 50, 100, hold="1s")})
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    await residence.stage.admin.edit(ref, paused=True)
    await residence.trace.until(lambda: residence.trace.status(ref)["reason"] == "Paused", "paused")
    await asyncio.sleep(3.0)  # three holds and three verdicts
    assert residence.trace.weights(ref) == {"1": 90, "2": 10}
    residence.stage.prometheus.say(ref, "2", BAD)
    await residence.trace.until_weights(ref, within=3.0, v1=100)
    await residence.trace.until_phase(ref, "RolledBack", "1")
    assert residence.violations(ref) == []


async def test_a_step_with_approval_waits_for_exactly_that(residence: Residence) -> None:
    ref = await residence.promoted("1", ramp={"steps": [{"weight": 10, "approval": True}, {"weight": 100}]})
    await residence.stage.pin(ref, "2")
    await residence.trace.until(lambda: residence.trace.status(ref)["reason"] == "AwaitingApproval", "waits")
    await residence.stage.admin.edit(ref, approve="1/10")
    await asyncio.sleep(2.0)
    assert residence.trace.weights(ref) == {"1": 90, "2": 10}
    await residence.stage.admin.edit(ref, approve="2/10")
    await residence.trace.until_phase(ref, "Promoted", "2")
    assert residence.violations(ref) == []


async def test_an_abort_takes_the_traffic_back_and_a_retry_begins_again(residence: Residence) -> None:
    ref = await residence.promoted("1", **ENDLESS)
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    await residence.stage.admin.edit(ref, abort="2")
    await residence.trace.until_weights(ref, v1=100)
    await residence.trace.until_phase(ref, "RolledBack", "1")
    await asyncio.sleep(1.0)
    assert residence.trace.weights(ref) == {"1": 100}, "nothing begins again by itself"
    await residence.stage.admin.edit(ref, abort=None, retry="once more")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    assert residence.violations(ref) == []


async def test_a_breach_after_promotion_goes_back_to_the_warm_version(residence: Residence) -> None:
    ref = await residence.promoted("1", "2")
    residence.stage.prometheus.say(ref, "2", BAD)
    await residence.trace.until_weights(ref, within=5.0, v1=100)
    await residence.trace.until_phase(ref, "RolledBack", "1")
    assert residence.violations(ref) == []


async def test_a_hand_at_the_route_in_mid_ramp_sticks(residence: Residence) -> None:
    ref = await residence.promoted("1", **ENDLESS)
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    await roll_back_by_hand(residence.stage, ref, to="1", of="2")
    await residence.trace.until_phase(ref, "RolledBack", "1")
    assert ("ManualRollback", "Warning") in await kinds_of_events(residence, ref)
    await asyncio.sleep(1.5)
    assert residence.trace.weights(ref) == {"1": 100}
    assert residence.violations(ref, hands=True) == []


async def test_a_hand_towards_the_candidate_is_repaired(residence: Residence) -> None:
    ref = await residence.promoted("1", **ENDLESS)
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    await residence.stage.admin.merge(
        CONFIG_MAP, Ref(ref.namespace, f"{ref.name}-traffic"), {"data": {"weight.v1": "0", "weight.v2": "100"}}
    )
    await residence.trace.until_weights(ref, v2=100)
    await residence.trace.until_weights(ref, within=3.0, v1=90, v2=10)
    assert residence.trace.status(ref)["phase"] == "Ramping"
    assert residence.violations(ref, hands=True) == []


# In the loop of the module like all others: while another runs, the way of its operator to the API server stands still.
async def test_a_hand_at_the_route_with_the_operator_away_is_kept_when_it_comes_back(residence: Residence) -> None:
    stage = residence.stage
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    async with stage.observed(namespace) as trace:
        async with stage.operator(namespace) as operator:
            await stage.create(ref)
            await trace.until_phase(ref, "Promoted", "1")
            await stage.pin(ref, "2")
            await trace.until_phase(ref, "Promoted", "2")
            assert await operator.terminate() == 0
        await roll_back_by_hand(stage, ref, to="1", of="2")
        await trace.until_weights(ref, v1=100)
        async with stage.operator(namespace, name="b"):
            await trace.until_phase(ref, "RolledBack", "1", within=15)  # the Lease was given up: no wait for its end
            await asyncio.sleep(1.0)
        assert trace.weights(ref) == {"1": 100}
        assert trace.status(ref)["stable"]["version"] == "1"
        assert violations(trace, ref, stage.prometheus, hands=True) == []


async def roll_back_by_hand(stage: Stage, ref: Ref, *, to: str, of: str) -> None:
    """Do what the runbook says for 2 AM."""
    numbers = {f"weight.v{of}": "0", f"weight.v{to}": "100"}
    await stage.admin.merge(CONFIG_MAP, Ref(ref.namespace, f"{ref.name}-traffic"), {"data": numbers})


async def kinds_of_events(residence: Residence, ref: Ref) -> set[tuple[str, str]]:
    """Return reason and type of each Event about an object, once the rollback's is posted."""
    path = f"/apis/events.k8s.io/v1/namespaces/{ref.namespace}/events"
    await residence.trace.until(
        lambda: any(reason == "ManualRollback" for reason, _ in residence.trace.events(ref)), "the Event is posted"
    )
    found = (await residence.stage.admin.request("GET", path))["items"]
    return {(each["reason"], each["type"]) for each in found if each["regarding"]["name"] == ref.name}


async def test_a_pin_that_was_rejected_is_not_tried_again_by_a_sync(residence: Residence) -> None:
    ref = await residence.promoted("1", guardrails=[rail()])
    residence.stage.prometheus.say(ref, "2", BAD)
    await residence.stage.pin(ref, "2")
    await residence.trace.until_phase(ref, "RolledBack", "1")
    await residence.trace.until_weights(ref, v1=100)  # remembered first, then written
    stored = await residence.stage.admin.get(MODEL_DEPLOYMENT, ref.namespace, ref.name)
    for label in ("one", "two"):  # as Argo CD does: the same spec again, marks of its own
        await residence.stage.admin.merge(
            MODEL_DEPLOYMENT, ref, {"metadata": {"labels": {"sync": label}}, "spec": stored["spec"]}
        )
    await residence.promoted("1")  # what was waiting in the operator's queue before has had its turn
    assert residence.trace.status(ref)["phase"] == "RolledBack"
    assert residence.trace.weights(ref) == {"1": 100}
    assert residence.violations(ref) == []
