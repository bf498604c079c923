"""Rehearsals in memory, on a scripted world."""

from __future__ import annotations

from collections.abc import Mapping

from modelramp.adapters.world import StoredRehearsal, World
from modelramp.lease import Lease
from modelramp.ports import Deposed, Done, Ref, Rollout, Written
from modelramp.rollout.actions import RunRehearsal
from modelramp.rollout.observation import Busy, Failed, Reading, Rehearsal, Value


class MemoryRehearsals:
    """Rehearsals that end by the script."""

    def __init__(self, world: World, lease: Lease) -> None:
        self._world = world
        self._lease = lease
        self._unmade: dict[Ref, dict[str, Failed]] = {}

    async def read(self, rollout: Rollout) -> Reading[Mapping[str, Rehearsal | Busy | Failed]]:
        """Read every rehearsal."""
        if failed := self._world.reach("api"):
            return failed
        begun = self._world.rehearsals.get(rollout.ref, {})
        return Value(self._unmade.get(rollout.ref, {}) | {key: self._result(each) for key, each in begun.items()})

    async def run(self, rollout: Rollout, wanted: RunRehearsal) -> Written:
        """Begin a rehearsal, once."""
        if refused := self._refused():
            return refused
        if failed := self._world.reach("jobs"):
            self._unmade[rollout.ref] = {wanted.attempt: failed}
            return failed
        self._unmade.pop(rollout.ref, None)
        begun = self._world.rehearsals.setdefault(rollout.ref, {})
        if wanted.attempt not in begun:
            self._world.write(f"rehearse v{wanted.candidate.version}")
            begun[wanted.attempt] = StoredRehearsal(wanted, self._world.now)
        return Done()

    async def stop(self, rollout: Rollout, attempt: str) -> Written:
        """Clear a rehearsal away."""
        if refused := self._refused():
            return refused
        if attempt in (begun := self._world.rehearsals.get(rollout.ref, {})):
            self._world.write(f"stop rehearsal v{begun.pop(attempt).wanted.candidate.version}")
        return Done()

    def _result(self, found: StoredRehearsal) -> Rehearsal | Busy:
        takes = self._world.rehearsed_after
        is_over = takes is not None and self._world.now - found.started_at >= takes
        return self._world.rehearse(found.wanted) if is_over else Busy("")

    def _refused(self) -> Written | None:
        return self._world.reach("api") if self._lease.held() else Deposed()
