"""Somebody else writes all the time, to the route or to the object: a rollback goes through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from modelramp.adapters.kinds import CONFIG_MAP, MODEL_DEPLOYMENT
from modelramp.ports import Ref
from tests.whole.admin import RefusedError
from tests.whole.conftest import Residence
from tests.whole.manifests import steps
from tests.whole.prometheus import BAD

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
EVERY = 0.02  # seconds
BOUND = 1.0 + 0.5  # an interval and what a retreat may take, seconds


@asynccontextmanager
async def writing_all_the_time(write: Callable[[int], Awaitable[object]]) -> AsyncIterator[list[int]]:
    """Write every 20 ms; the list counts what was stored."""
    written: list[int] = []

    async def go_on() -> None:
        while True:
            try:
                await write(len(written))
                written.append(len(written))
            except RefusedError:
                pass
            await asyncio.sleep(EVERY)

    task = asyncio.create_task(go_on())
    try:
        await more(written)
        yield written
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def more(written: list[int], count: int = 10) -> None:
    """Wait until that many more writes were stored."""
    wanted = len(written) + count
    async with asyncio.timeout(10):
        while len(written) < wanted:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(EVERY)


async def ramping(residence: Residence) -> Ref:
    """Return an object whose version 2 has 10 % and keeps it."""
    ref = await residence.promoted("1", ramp={"steps": steps(10, 100, hold="1h")})
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    return ref


def route(ref: Ref) -> Ref:
    """Return the route's name."""
    return Ref(ref.namespace, f"{ref.name}-traffic")


async def test_marks_on_the_route_every_20_ms_do_not_stop_a_rollback(residence: Residence) -> None:
    ref = await ramping(residence)

    async def mark(number: int) -> None:
        patch = {"metadata": {"annotations": {"somebody.example/mark": str(number)}}}
        await residence.stage.admin.merge(CONFIG_MAP, route(ref), patch)

    async with writing_all_the_time(mark) as written:
        residence.stage.prometheus.say(ref, "2", BAD)
        await residence.trace.until_weights(ref, BOUND, v1=100)
        await residence.trace.until_phase(ref, "RolledBack", "1")
        await more(written)
    found = await residence.stage.admin.get(CONFIG_MAP, ref.namespace, route(ref).name)
    assert "somebody.example/mark" in found["metadata"]["annotations"], "what is not ours stays"
    assert residence.violations(ref) == []


async def test_numbers_towards_the_candidate_every_20_ms_do_not_outlast_a_rollback(residence: Residence) -> None:
    ref = await ramping(residence)

    async def push(_: int) -> None:
        await residence.stage.admin.merge(CONFIG_MAP, route(ref), {"data": {"weight.v1": "10", "weight.v2": "90"}})

    async with writing_all_the_time(push):
        residence.stage.prometheus.say(ref, "2", BAD)
        await residence.trace.until_weights(ref, BOUND, v1=100)
        await residence.trace.until_phase(ref, "RolledBack", "1")
    await residence.trace.until_weights(ref, 3.0, v1=100)
    await asyncio.sleep(1.0)
    assert residence.trace.weights(ref) == {"1": 100}
    assert residence.violations(ref, hands=True) == []


async def test_a_storm_of_conflicts_at_the_object_does_not_stop_a_rollback(residence: Residence) -> None:
    ref = await ramping(residence)

    async def label(number: int) -> None:
        patch = {"metadata": {"labels": {"storm": str(number)}}}
        await residence.stage.admin.merge(MODEL_DEPLOYMENT, ref, patch)

    async with writing_all_the_time(label) as written:
        residence.stage.prometheus.say(ref, "2", BAD)
        await residence.trace.until_weights(ref, BOUND, v1=100)
        await more(written)
        assert residence.trace.weights(ref) == {"1": 100}
    await residence.trace.until_phase(ref, "RolledBack", "1", within=10)
    assert residence.violations(ref) == []
