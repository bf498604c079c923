"""The port of PromotionPolicies on a world in memory."""

from __future__ import annotations

from modelramp.adapters.world import World
from modelramp.ports import Rollout
from modelramp.rollout.observation import Reading, Value
from modelramp.rollout.rulebook import Rulebook, Subject


class MemoryFloors:
    """The world's PromotionPolicies."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def read(self, rollout: Rollout) -> Reading[Rulebook]:
        """Read them; they see the object's namespace and labels."""
        if failed := self._world.reach("floors"):
            return failed
        return Value(Rulebook(self._world.floors, Subject(rollout.ref.namespace, labels=rollout.labels)))
