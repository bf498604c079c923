"""The scripted world's registry, looked at again."""

from __future__ import annotations

from collections.abc import Mapping

from modelramp.adapters.world import World
from modelramp.ports import Rollout
from modelramp.rollout.gates.ready import SUNSET_TAG
from modelramp.rollout.observation import Busy, Entry, ModelVersion, NoData, Reading, Value
from modelramp.rollout.status import Pin


class MemoryPins:
    """The world's registry, as far as it still has what was resolved."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def seen(self, rollout: Rollout) -> Mapping[str, Reading[Entry]]:
        """Return what the registry has now; nothing where it does not answer."""
        pins = [pin for pin in (rollout.status.stable, rollout.status.candidate) if pin is not None]
        if self._world.reach("registry"):
            return {}
        found = {pin.version: self._world.models.get((rollout.spec.model_name, pin.version)) for pin in pins}
        return {version: _resolved(version, model) for version, model in found.items() if not isinstance(model, Busy)}


def _resolved(version: str, model: Reading[ModelVersion] | None) -> Reading[Entry]:
    match model:
        case Value(found):
            pin = Pin(version, found.run_id, found.source, "", found.created)
            return Value(Entry(pin, found.tags.get(SUNSET_TAG, "")))
        case None:
            return NoData("VersionNotFound", "")
        case other:
            return other
