"""Prometheus is away, or says something that is no number: nothing of that ever passes."""

from __future__ import annotations

import asyncio

import pytest

from modelramp.ports import Ref
from tests.whole.conftest import Residence
from tests.whole.manifests import rail, steps
from tests.whole.prometheus import BAD, GOOD, Odd

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
INTERVAL, DEADLINE = 1.0, 3.0  # seconds


def verdict(residence: Residence, ref: Ref) -> tuple[str, str]:
    """Return the guardrail's verdict and reason as they are remembered."""
    (state,) = residence.trace.status(ref).get("guardrails") or [{}]
    return state.get("verdict", ""), state.get("reason", "")


async def at_ten_percent(residence: Residence, **spec: object) -> Ref:
    """Return an object whose version 2 has 10 % and would go on at once."""
    ref = await residence.promoted("1", **spec)
    residence.stage.prometheus.say(ref, "2", Odd.EMPTY)  # nothing passes before it is set
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    return ref


async def test_prometheus_away_holds_the_ramp_which_then_goes_on(residence: Residence) -> None:
    ref = await at_ten_percent(residence)
    async with residence.stage.prometheus.away():
        residence.stage.prometheus.say(ref, "2", GOOD)
        await residence.trace.until(lambda: verdict(residence, ref)[0] == "NoData", "noticed")
        await asyncio.sleep(6 * INTERVAL)
        assert residence.trace.weights(ref) == {"1": 90, "2": 10}
    await residence.trace.until_phase(ref, "Promoted", "2")
    assert residence.violations(ref) == []


async def test_what_is_no_number_holds_by_default(residence: Residence) -> None:
    refs = await asyncio.gather(*(at_ten_percent(residence) for _ in Odd))
    for ref, reply in zip(refs, Odd, strict=True):
        residence.stage.prometheus.say(ref, "2", reply)
    await asyncio.sleep(6 * INTERVAL)
    for ref, reply in zip(refs, Odd, strict=True):
        assert residence.trace.weights(ref) == {"1": 90, "2": 10}, reply
        assert verdict(residence, ref)[0] in ("NoData", "Inconclusive"), reply
        assert residence.violations(ref) == []
    reasons = {verdict(residence, ref)[1] for ref in refs}
    assert len(reasons) >= len(Odd) - 1, f"each has a name of its own: {reasons}"
    await asyncio.gather(*(residence.stage.delete(ref) for ref in refs))


async def test_silence_past_its_deadline_takes_the_traffic_back_where_that_is_asked_for(residence: Residence) -> None:
    strict = {"guardrails": [rail(onNoData="Rollback", noDataDeadline="3s")]}
    replies = (Odd.NAN, Odd.EMPTY, Odd.SEVERAL, Odd.HTML)
    refs = [await residence.promoted("1", **strict, ramp={"steps": steps(10, 100, hold="1h")}) for _ in replies]
    for ref in refs:
        await residence.stage.pin(ref, "2")
    for ref, reply in zip(refs, replies, strict=True):
        await residence.trace.until_weights(ref, v1=90, v2=10)
        residence.stage.prometheus.say(ref, "2", reply)
    for ref, reply in zip(refs, replies, strict=True):
        stored = await residence.trace.until_weights(ref, v1=100)
        await residence.trace.until_phase(ref, "RolledBack", "1")
        silent = next(each for each in residence.stage.prometheus.answers(ref, "2") if each.reply is reply)
        assert DEADLINE - 0.1 <= stored - silent.at < DEADLINE + INTERVAL + 1.0, reply
        assert residence.trace.status(ref)["reason"] == "GuardrailBlind"
        assert residence.violations(ref) == []


async def test_the_first_bad_answer_takes_the_traffic_back_within_half_a_second(residence: Residence) -> None:
    ref = await residence.promoted("1", ramp={"steps": steps(10, 100, hold="1h")})
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    residence.stage.prometheus.say(ref, "2", BAD)
    stored = await residence.trace.until_weights(ref, v1=100)
    bad = next(each for each in residence.stage.prometheus.answers(ref, "2") if each.reply == BAD)
    print(f"first bad answer to stored zero: {stored - bad.at:.3f} s")
    assert stored - bad.at < 0.5
    await residence.trace.until_phase(ref, "RolledBack", "1")
    assert residence.violations(ref) == []
