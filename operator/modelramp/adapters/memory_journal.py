"""The journal in memory, on a scripted world."""

from __future__ import annotations

from modelramp.adapters.world import World
from modelramp.ports import Done, Ref, Rollout, Written
from modelramp.rollout.actions import Post
from modelramp.rollout.observation import Busy, Posted, Reading, Value


class MemoryJournal:
    """The world's records, each under its name."""

    def __init__(self, world: World) -> None:
        self._world, self._outcome = world, dict[Ref, Reading[Posted]]()

    async def posted(self, rollout: Rollout) -> Reading[Posted] | Busy:
        """Return what became of the last records."""
        return self._outcome.get(rollout.ref, Value(Posted()))

    async def post(self, rollout: Rollout, wanted: Post) -> Written:
        """Write the records now, where the registry answers."""
        if failed := self._world.reach("registry"):
            self._outcome[rollout.ref] = failed
            return Done()
        self._world.write("remember in the registry")
        kept = self._world.records.setdefault(rollout.ref, {})
        kept |= {record.id: record for record in wanted.records}
        self._world.aliases[rollout.ref] = (wanted.stable, wanted.candidate)
        self._outcome[rollout.ref] = Value(Posted(frozenset(record.id for record in wanted.records)))
        return Done()
