"""Guardrails are asked in the background: each on its own clock, and no answer is lost on its way to a turn."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from modelramp.ports import Ref, Rollout
from modelramp.rollout.observation import Measurement, Reading, Value
from modelramp.rollout.spec import Guardrail, Plan, Spec
from modelramp.rollout.status import Phase, Pin, Status
from modelramp.sampling import BackgroundSampler
from tests.loop.virtual_time import now, on_virtual_time

REF = Ref("default", "fraud-detector")
BEGINNING = datetime(2026, 1, 5, tzinfo=UTC)


class LoopClock:
    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=now())


class SlowMetrics:
    """Answers each query with how many there were, after as many seconds as the query says."""

    asked = 0

    async def query(self, promql: str) -> Reading[float]:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(float(promql))
        return Value(float(number))


def watching(*guardrails: Guardrail) -> Rollout:
    spec = Spec("fraud_detector", "1", plan=Plan(guardrails=guardrails))
    return Rollout(REF, "uid", 1, "1", spec, Status(phase=Phase.PROMOTED, stable=Pin("1")))


async def collected(sampler: BackgroundSampler, rollout: Rollout, every: float, seconds: float) -> list[Measurement]:
    """Collect as turns do, each so often."""
    found: list[Measurement] = []
    while now() < seconds:
        found += await sampler.collect(rollout, None)
        await asyncio.sleep(every)
    return found


@on_virtual_time
async def test_an_answer_that_was_on_its_way_during_a_turn_is_in_the_next() -> None:
    metrics, rollout = SlowMetrics(), watching(Guardrail("errors", "0.5", interval=timedelta(seconds=1)))
    sampler = BackgroundSampler(metrics, LoopClock(), lambda _ref: None)
    found = await collected(sampler, rollout, every=0.1, seconds=10)
    assert [measurement.candidate for measurement in found] == [Value(float(n)) for n in range(1, 11)]
    sampler.forget(REF)


@on_virtual_time
async def test_a_slow_answer_delays_no_other() -> None:
    slow, quick = (
        Guardrail("slow", "3", interval=timedelta(seconds=1)),
        Guardrail("quick", "0", interval=timedelta(seconds=1)),
    )
    sampler = BackgroundSampler(SlowMetrics(), LoopClock(), lambda _ref: None)
    found = await collected(sampler, watching(slow, quick), every=0.1, seconds=9.5)
    counted = [measurement.guardrail for measurement in found]
    assert (counted.count("quick"), counted.count("slow")) == (10, 3)
    sampler.forget(REF)
