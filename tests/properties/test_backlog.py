"""Whatever the registry refuses for good, it gets everything else, and is not asked for ever faster."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
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

    async def ready(self) -> None:
        """Be there."""

    def ask(self, question: Mapping[str, Any]) -> Call:
        call = Call(asyncio.get_running_loop().create_future())
        call.answer.set_result(self._answer(question.get("record", ALIASES)))
        return call

    def kill(self, why: Failed) -> None:
        """Never hang."""
        raise AssertionError(why)

    def _answer(self, key: str) -> Answer:
        self.asked[key] += 1
        if self.away[0] <= now() < self.away[1]:
            return Failed("RegistryUnreachable", "the registry could not be reached")
        return self.refuses.get(key) or Value({"foreign": []})


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
    journal = MlflowJournal(registry, AlwaysHeld(), lambda _: None, Aliases())  # type: ignore[arg-type]
    outbox, coming, seen = (), list(records), Value(Posted())
    while now() < 3 * HOUR:
        due = now() >= 300 * (len(records) - len(coming))
        new = (coming.pop(0),) if coming and due else ()
        about = Rollout(Ref("shop", "fraud"), "uid", 1, "1", Spec("fraud", "1"), Status(outbox=outbox))
        said = await journal.posted(about)
        outbox = address(outbox, new, said)
        if outbox and not isinstance(said, Busy):
            seen = said
            await journal.post(about, Post(outbox, "1", ""))
        await asyncio.sleep(LOOK)
    return outbox, seen
