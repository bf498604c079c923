"""The API server restarts, goes away at the worst moment, and falls silent."""

from __future__ import annotations

import asyncio
import time

import pytest

from modelramp.ports import Ref
from tests.whole.invariants import violations
from tests.whole.manifests import rail, steps
from tests.whole.prometheus import BAD
from tests.whole.stage import Stage
from tests.whole.test_edits import roll_back_by_hand

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
ENDLESS = {"ramp": {"steps": steps(10, 100, hold="1h")}}
INTERVAL = 1.0  # of the guardrail, seconds


async def test_a_ramp_goes_on_over_a_restart_of_the_api_server(stage: Stage) -> None:
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    async with stage.observed(namespace) as trace, stage.operator(namespace) as operator:
        await stage.create(ref, ramp={"steps": steps(10, 50, 100, hold="1s")})
        await trace.until_phase(ref, "Promoted", "1")
        await stage.pin(ref, "2")
        await trace.until_weights(ref, v1=90, v2=10)
        await stage.kill_api_server()
        await stage.start_api_server()
        await trace.until_phase(ref, "Promoted", "2")
        assert operator.runs, "the same life of it"
        assert violations(trace, ref, stage.prometheus) == []


@pytest.mark.parametrize("seconds", [5, 12])
async def test_a_breach_while_the_api_server_is_away_is_stored_within_two_seconds_of_its_return(
    stage: Stage, seconds: int, record_property: pytest.RecordProperty
) -> None:
    """After 12 s the leader may not write any more, until its Lease is confirmed again."""
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    async with stage.observed(namespace) as trace, stage.operator(namespace):
        await stage.create(ref, **ENDLESS)
        await trace.until_phase(ref, "Promoted", "1")
        await stage.pin(ref, "2")
        await trace.until_weights(ref, v1=90, v2=10)
        await stage.kill_api_server()
        stage.prometheus.say(ref, "2", BAD)
        await asyncio.sleep(seconds)
        await stage.start_api_server()
        returned = time.monotonic()  # as its own /readyz says
        stored = await trace.until_weights(ref, v1=100)
        record_property("seconds from return to zero", round(stored - returned, 3))
        print(f"API server away for {seconds} s: zero {stored - returned:.2f} s after its return")
        assert stored - returned < 2.0
        await trace.until_phase(ref, "RolledBack", "1")
        assert violations(trace, ref, stage.prometheus) == []


async def test_a_breach_is_acted_on_though_every_watch_is_silent(stage: Stage) -> None:
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    async with (
        stage.observed(namespace) as trace,
        stage.proxied() as proxy,
        stage.operator(namespace, through=proxy),
    ):
        await stage.create(ref, **ENDLESS)
        await trace.until_phase(ref, "Promoted", "1")
        await stage.pin(ref, "2")
        await trace.until_weights(ref, v1=90, v2=10)
        proxy.stall_watches()
        stage.prometheus.say(ref, "2", BAD)
        await trace.until_weights(ref, INTERVAL + 1.0, v1=100)
        await trace.until_phase(ref, "RolledBack", "1")
        assert violations(trace, ref, stage.prometheus) == []


async def test_a_hand_at_the_route_is_seen_by_the_next_full_read_though_every_watch_is_silent(stage: Stage) -> None:
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    often = {"MODELRAMP_RELIST_SECONDS": "2"}
    async with (
        stage.observed(namespace) as trace,
        stage.proxied() as proxy,
        stage.operator(namespace, through=proxy, environment=often),
    ):
        await stage.create(ref, guardrails=[], ramp={"steps": steps(10, 100, hold="1h")})
        await trace.until_phase(ref, "Promoted", "1")
        await stage.pin(ref, "2")
        await trace.until_weights(ref, v1=90, v2=10)
        proxy.stall_watches()
        await roll_back_by_hand(stage, ref, to="1", of="2")
        await trace.until_phase(ref, "RolledBack", "1", within=10)
        assert violations(trace, ref, stage.prometheus, hands=True) == []


async def test_connections_that_break_in_mid_ramp_cost_nothing_but_time(stage: Stage) -> None:
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    async with (
        stage.observed(namespace) as trace,
        stage.proxied() as proxy,
        stage.operator(namespace, through=proxy),
    ):
        await stage.create(ref, guardrails=[rail()], ramp={"steps": steps(10, 50, 100, hold="1s")})
        await trace.until_phase(ref, "Promoted", "1")
        await stage.pin(ref, "2")
        for share in (10, 50):
            await trace.until(lambda share=share: trace.weights(ref).get("2", 0) >= share, f"{share} %")
            with proxy.cut():
                await asyncio.sleep(1.5)
        await trace.until_phase(ref, "Promoted", "2")
        assert violations(trace, ref, stage.prometheus) == []
