"""Whatever the registry refuses for good, it gets everything else, and is not asked for ever faster."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from modelramp.adapters.backlog import PACE
from modelramp.adapters.journal import Aliases, MlflowJournal
from modelramp.adapters.mlflow_process import Answer, Call
from modelramp.lease import AlwaysHeld
from modelramp.ports import Ref, Rollout
from modelramp.rollout.actions import Post
from modelramp.rollout.archive import address
from modelramp.rollout.observation import Busy, Failed, Posted, Reading, Value
from modelramp.rollout.spec import Spec
from modelramp.rollout.status import Record, Status
from tests.loop.virtual_time import now, on_virtual_time

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
REF = Ref("shop", "fraud")
LOOK = 15.0
HOUR = 3600.0
REASONS = ("RegistryRefused", "RegistryDenied", "RegistryAnswer", "RegistryError", "RegistryTimeout")
ALIASES = "aliases"


@dataclass
class PickyRegistry:
    """Takes what it is asked for, but for what it refuses, and nothing at all while it is away."""

    refuses: Mapping[str, Failed]
    away: tuple[float, float]
    asked: Counter[str] = field(default_factory=Counter)
    moved: list[str] = field(default_factory=list)
    """Where the alias of what serves was to lead, in turn."""
    kept: set[str] = field(default_factory=set)

    async def ready(self) -> None:
        """Be there."""

    def ask(self, question: Mapping[str, Any]) -> Call:
        call = Call(asyncio.get_running_loop().create_future())
        call.answer.set_result(self._answer(question.get("record", ALIASES)))
        if question["ask"] == ALIASES:
            self.moved.append(question["wanted"]["champion"])
        return call

    def kill(self, why: Failed) -> None:
        """Never hang."""
        raise AssertionError(why)

    def _answer(self, key: str) -> Answer:
        self.asked[key] += 1
        if self.away[0] <= now() < self.away[1]:
            return Failed("RegistryUnreachable", "the registry could not be reached")
        return self.refuses.get(key) or self._kept(key)

    def _kept(self, key: str) -> Answer:
        self.kept.add(key)
        return Value({"foreign": []})


@pytest.mark.parametrize("seed", range(40))
@on_virtual_time
async def test_a_record_that_is_refused_for_good_holds_up_no_other_and_no_alias(seed: int) -> None:
    dice = Random(seed)
    records = tuple(Record(NOON + timedelta(minutes=n), "1", "Moved", "", str(n)) for n in range(dice.randint(1, 8)))
    refused = dice.sample([record.id for record in records], dice.randint(0, len(records)))
    refused += [ALIASES] if dice.random() < 0.3 else []
    begins = dice.choice((0.0, 600.0, HOUR))
    registry = PickyRegistry(
        {key: Failed(dice.choice(REASONS), f"refused {key}") for key in refused},
        (begins, begins + dice.choice((0, 900))),
    )
    left, seen = await lived(registry, records)
    newest = {records[-1].id} if ALIASES in refused else set()
    assert {record.id for record in left} == {*refused, *newest} - {ALIASES}
    assert (ALIASES in registry.asked) >= (ALIASES not in refused)
    for key in refused:
        assert registry.asked[key] <= math.log2(PACE.longest / PACE.again) + 3 * HOUR / PACE.longest + 2
    if refused and left:
        assert isinstance(seen, Failed) or (isinstance(seen, Value) and seen.value.refused), "it is told"


async def lived(registry: PickyRegistry, records: tuple[Record, ...]) -> tuple[tuple[Record, ...], Reading[Posted]]:
    """Decide something every five minutes for as long as there is something, and let three hours pass."""
    journal = keeping(registry)
    outbox, coming, seen = (), list(records), Value(Posted())
    while now() < 3 * HOUR:
        due = now() >= 300 * (len(records) - len(coming))
        new = (coming.pop(0),) if coming and due else ()
        about = owing(*outbox)
        said = await journal.posted(about)
        outbox = address(outbox, new, said)
        if outbox and not isinstance(said, Busy):
            seen = said
            await journal.post(about, Post(outbox, "1", ""))
        await asyncio.sleep(LOOK)
    return outbox, seen


def keeping(registry: PickyRegistry) -> MlflowJournal:
    return MlflowJournal(registry, AlwaysHeld(), lambda _: None, Aliases())  # type: ignore[arg-type]


def record(number: int) -> Record:
    return Record(NOON + timedelta(minutes=number), "1", "Moved", "", str(number))


def owing(*outbox: Record, uid: str = "uid", deleting: bool = False) -> Rollout:
    return Rollout(REF, uid, 1, "1", Spec("fraud", "1"), Status(outbox=outbox), deleting=deleting)


@pytest.mark.parametrize(
    ("refused", "away"),
    [(["0"], (0.0, 0.0)), ([], (0.0, 600.0)), (["0"], (0.0, 600.0))],
    ids=["refused", "away", "both"],
)
@on_virtual_time
async def test_what_a_deleted_object_left_moves_no_alias_of_the_next_of_its_name(
    refused: list[str], away: tuple[float, float]
) -> None:
    registry = PickyRegistry({key: Failed("RegistryRefused", "") for key in refused}, away)
    journal = keeping(registry)
    await journal.post(owing(record(0), record(1), uid="old", deleting=True), Post((record(0), record(1)), "1", ""))
    await asyncio.sleep(60)
    after = owing(record(2), uid="new")
    while now() < HOUR:
        await journal.posted(after)
        await journal.post(after, Post((record(2),), "2", ""))
        await asyncio.sleep(LOOK)
    assert "1" not in registry.moved[registry.moved.index("2") :]
    assert registry.kept == {"1", "2", ALIASES} | ({"0"} - {*refused})


@pytest.mark.parametrize("seconds", [0.0, 1.0, 200.0, 700.0])
@on_virtual_time
async def test_what_an_object_leaves_is_written_whenever_it_goes(seconds: float) -> None:
    registry = PickyRegistry({}, (0.0, 900.0))
    journal = keeping(registry)
    while True:
        said = await journal.posted(owing(record(0)))
        if not isinstance(said, Busy):
            await journal.post(owing(record(0)), Post((record(0),), "1", ""))
        if now() >= seconds:
            break
        await asyncio.sleep(1)
    await journal.post(owing(record(0), record(1), deleting=True), Post((record(0), record(1)), "1", ""))
    await asyncio.sleep(HOUR)
    assert registry.kept == {"0", "1", ALIASES}
    assert max(registry.asked.values()) < 20


@on_virtual_time
async def test_a_record_that_was_merged_while_it_was_written_is_written_again() -> None:
    registry = PickyRegistry({}, (0.0, 0.0))
    journal = keeping(registry)
    await journal.post(owing(record(0), record(1)), Post((record(0), record(1)), "1", ""))
    await asyncio.sleep(1)
    merged = replace(record(0), times=2)
    said = await journal.posted(owing(merged, record(1)))
    assert said == Value(Posted(frozenset({"1"})))
    await journal.post(owing(merged), Post((merged,), "1", ""))
    await asyncio.sleep(1)
    assert await journal.posted(owing(merged)) == Value(Posted(frozenset({"0"})))
