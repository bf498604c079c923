"""Events on a real API server: each once, repeated ones counted, and never in a turn's way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelramp.adapters.events import BURST, COUNT_EVERY, ClusterEvents
from modelramp.adapters.kinds import EVENT
from modelramp.adapters.kubernetes import Cluster
from modelramp.ports import Rollout
from modelramp.rollout.actions import Event
from tests.adapters.real import RealCluster, Term, read

pytestmark = pytest.mark.apiserver
ROLLED_BACK = Event("RolledBack", "guardrail errors: 0.31 is over 0.05", normal=False)


@dataclass
class FakeClock:
    time: datetime = datetime(2026, 1, 5, 9, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


@contextlib.asynccontextmanager
async def posting(cluster: Cluster, clock: FakeClock, lease: Term | None = None) -> AsyncIterator[ClusterEvents]:
    """Run what posts events."""
    events = ClusterEvents(cluster, lease or Term(), clock, instance="modelramp-0")
    task = asyncio.create_task(events.run())
    yield events
    await events.flush(5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def rollout(real: RealCluster) -> Rollout:
    return await read(real.process(), await real.create_model("fraud-detector"))


async def posted(real: RealCluster) -> list[Any]:
    listing = await real.request("GET", EVENT.path(real.namespace))
    return list(listing["items"])


async def test_an_event_is_about_the_object_and_says_why(real: RealCluster, rollout: Rollout) -> None:
    async with posting(real.cluster, FakeClock()) as events:
        await events.emit(rollout, [ROLLED_BACK])
    (event,) = await posted(real)
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "RolledBack", ROLLED_BACK.message)
    assert event["regarding"]["uid"] == rollout.uid
    assert event["reportingController"] == "modelramp"
    legacy = await real.request("GET", f"/api/v1/namespaces/{real.namespace}/events")
    assert legacy["items"][0]["involvedObject"]["name"] == "fraud-detector"  # what kubectl describe looks for


async def test_the_same_event_is_counted_at_most_once_a_minute(real: RealCluster, rollout: Rollout) -> None:
    clock = FakeClock()
    async with posting(real.cluster, clock) as events:
        await events.emit(rollout, [ROLLED_BACK] * 4)
        await events.flush(5)
        assert "series" not in (await posted(real))[0]
        clock.time += COUNT_EVERY
        await events.emit(rollout, [ROLLED_BACK])
        await events.flush(5)
        (event,) = await posted(real)
        assert event["series"]["count"] == 5


async def test_a_restart_does_not_say_it_twice(real: RealCluster, rollout: Rollout) -> None:
    for _ in range(2):
        async with posting(real.cluster, FakeClock()) as events:
            await events.emit(rollout, [ROLLED_BACK])
    (event,) = await posted(real)
    assert event["series"]["count"] == 2


async def test_an_event_that_the_server_has_dropped_is_said_anew(real: RealCluster, rollout: Rollout) -> None:
    clock = FakeClock()
    async with posting(real.cluster, clock) as events:
        await events.emit(rollout, [ROLLED_BACK])
        await events.flush(5)
        (event,) = await posted(real)
        await real.request("DELETE", EVENT.path(real.namespace, event["metadata"]["name"]))
        clock.time += COUNT_EVERY
        await events.emit(rollout, [ROLLED_BACK])
    assert len(await posted(real)) == 1


async def test_a_flood_of_one_kind_leaves_room_for_a_rollback(real: RealCluster, rollout: Rollout) -> None:
    async with posting(real.cluster, FakeClock()) as events:
        await events.emit(rollout, [Event("GuardrailPassing", f"number {number}") for number in range(BURST + 10)])
        await events.emit(rollout, [ROLLED_BACK])
    assert ROLLED_BACK.reason in {event["reason"] for event in await posted(real)}


async def test_a_flood_of_one_object_is_cut(real: RealCluster, rollout: Rollout) -> None:
    clock = FakeClock()
    async with posting(real.cluster, clock) as events:
        await events.emit(rollout, [Event("Held", f"number {number}") for number in range(BURST + 10)])
        assert events.dropped == 10
        clock.time += timedelta(minutes=2)
        await events.emit(rollout, [Event("Held", "later"), Event("Held", "too"), Event("Held", "many")])
        assert events.dropped == 11
    assert len(await posted(real)) == BURST + 2


async def test_a_long_message_is_cut_to_what_the_api_takes(real: RealCluster, rollout: Rollout) -> None:
    async with posting(real.cluster, FakeClock()) as events:
        await events.emit(rollout, [Event("Held", "ü" * 2000)])
    (event,) = await posted(real)
    assert event["note"] == "ü" * 512


async def test_who_does_not_lead_says_nothing(real: RealCluster, rollout: Rollout) -> None:
    async with posting(real.cluster, FakeClock(), Term(leading=False)) as events:
        await events.emit(rollout, [ROLLED_BACK])
    assert await posted(real) == []


async def test_an_api_server_that_is_away_stops_no_turn(real: RealCluster, rollout: Rollout) -> None:
    real.server.stop()
    try:
        async with posting(real.cluster, FakeClock()) as events:
            begin = asyncio.get_running_loop().time()
            await events.emit(rollout, [ROLLED_BACK])
            assert asyncio.get_running_loop().time() - begin < 0.1
            await events.flush(5)
            assert events.failed == 1
    finally:
        real.server.start()
