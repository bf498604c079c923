"""Whether a split is in effect, read from counters that grow while the test lets them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from modelramp.adapters.counters import CounterQueries, Counters, Pace
from modelramp.ports import Ref, Rollout
from modelramp.rollout.observation import Effect, Failed, NoData, Reading, Route, Split, Value
from modelramp.rollout.spec import Holding, IstioTraffic, Plan, Shadow, Spec, Step
from modelramp.rollout.status import Attempt, AttemptKind, Phase, Status
from modelramp.rollout.templates import ISTIO_LIVE, ISTIO_MIRRORED
from tests.adapters.real import pin
from tests.adapters.routes import NAME, Tally

ASKED = CounterQueries(ISTIO_LIVE, ISTIO_MIRRORED)
BEGUN = datetime(2026, 1, 5, tzinfo=UTC)
PLAN = Plan(shadow=Shadow(), steps=(Step(10), Step(50), Step(100)))
SPEC = Spec("fraud_detector", "8", traffic=IstioTraffic(Holding.PATCH, "shop", "score"), plan=PLAN)


def ramping(step: int, phase: Phase = Phase.RAMPING) -> Status:
    attempt = Attempt("8-a", "8", AttemptKind.FRESH, "", PLAN, BEGUN, BEGUN, step=step)
    return Status(phase=phase, stable=pin("7"), candidate=pin("8"), attempt=attempt)


@dataclass
class Mesh:
    """A mesh's counters, the object that they are about, and whoever looks at them."""

    tally: Tally = field(default_factory=Tally)
    counters: Counters = field(init=False)
    rollout: Rollout = field(default_factory=lambda: Rollout(Ref("shop", NAME), "u", 1, "1", SPEC, ramping(0)))

    def __post_init__(self) -> None:
        self.counters = Counters(self.tally, Pace(0.0, 0.0))
        self.tally.live = {"7": 1000, "8": 0}

    def send(self, to_7: int, to_8: int) -> None:
        self.tally.live = {"7": self.tally.live["7"] + to_7, "8": self.tally.live["8"] + to_8}

    async def reading(self, split: Split) -> Reading[Effect]:
        route = Route(split, split, frozenset({"7", "8"}))
        return await self.counters.measure(self.rollout, route, ASKED)

    async def look(self, split: Split) -> Effect:
        found = await self.reading(split)
        assert isinstance(found, Value)
        return found.value


TENTH, HALF = Split({"7": 90, "8": 10}), Split({"7": 50, "8": 50})


async def test_a_split_is_in_effect_once_requests_since_it_was_stored_show_it() -> None:
    mesh = Mesh()
    first = await mesh.look(TENTH)
    assert (first.in_effect, first.scarce) == (None, True)
    mesh.send(89, 11)
    assert (await mesh.look(TENTH)).in_effect == TENTH


async def test_requests_by_the_old_split_do_not_count_against_the_new_one_for_ever() -> None:
    mesh = Mesh()
    await mesh.look(TENTH)
    mesh.send(500, 0)
    late = await mesh.look(TENTH)
    assert (late.in_effect, late.scarce) == (None, False)
    assert late.detail == "version 7 got 500 of 500 requests where 90 % was asked for"
    mesh.send(90, 10)
    assert (await mesh.look(TENTH)).in_effect == TENTH


async def test_the_step_before_is_not_taken_for_the_next_one() -> None:
    mesh = Mesh()
    mesh.rollout = replace(mesh.rollout, status=ramping(1))
    await mesh.look(HALF)
    mesh.send(3, 1)
    assert (await mesh.look(HALF)).scarce
    mesh.send(50, 50)
    assert (await mesh.look(HALF)).in_effect == HALF


async def test_what_was_in_effect_stays_so_while_nobody_asks_and_not_against_the_evidence() -> None:
    mesh = Mesh()
    await mesh.look(TENTH)
    mesh.send(90, 10)
    await mesh.look(TENTH)
    assert (await mesh.look(TENTH)).in_effect == TENTH
    mesh.send(0, 400)
    assert (await mesh.look(TENTH)).in_effect is None


async def test_copies_are_counted_where_they_arrive() -> None:
    mesh = Mesh()
    mesh.rollout = replace(mesh.rollout, status=ramping(0, Phase.SHADOWING))
    shadow = Split({"7": 100}, {"8": 100})
    await mesh.look(shadow)
    mesh.send(100, 0)
    mesh.tally.mirrored = {"8": 97}
    found = await mesh.look(shadow)
    assert found.in_effect == shadow
    assert found.requests == {"7": 1100, "8": 97}


async def test_requests_only_grow_over_proxies_that_go() -> None:
    mesh = Mesh()
    mesh.send(0, 40)
    assert (await mesh.look(TENTH)).requests == {"7": 1000, "8": 40}
    mesh.tally.live = {"7": 20, "8": 2}
    assert (await mesh.look(TENTH)).requests == {"7": 1000, "8": 40}
    mesh.send(80, 8)
    assert (await mesh.look(TENTH)).requests == {"7": 1080, "8": 48}


async def test_a_counter_that_is_not_there_counts_nothing_and_a_silent_prometheus_is_no_count() -> None:
    mesh = Mesh()
    mesh.tally.live = {}
    assert (await mesh.look(TENTH)).requests == {"7": 0, "8": 0}

    async def silent(_promql: str) -> Reading[float]:
        return Failed("Timeout", "no whole answer within 3 s")

    mesh.tally.query = silent  # type: ignore[method-assign]
    assert await mesh.reading(TENTH) == Failed("Timeout", "the mesh's counters: no whole answer within 3 s")


async def test_prometheus_is_asked_no_more_often_than_the_pace_says_but_at_once_about_another_split() -> None:
    mesh = Mesh()
    mesh.counters = Counters(mesh.tally, Pace(60.0, 60.0))
    for _ in range(3):
        await mesh.look(TENTH)
        await asyncio.sleep(0)
    assert len(mesh.tally.asked) == 2
    await mesh.look(HALF)
    assert len(mesh.tally.asked) == 4
    assert isinstance(await mesh.tally.query("up"), NoData)
