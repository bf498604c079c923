"""Whose turn it is to be written: what the registry did not take goes behind what it was not asked for yet.

Each has a pace of its own, so that a record which is refused for good holds up neither the others nor the aliases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from modelramp.rollout.actions import Post
from modelramp.rollout.archive import bare
from modelramp.rollout.observation import Failed
from modelramp.rollout.status import Record

ALIASES = ""
"""The aliases among the ids of records."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: how long one record may take, and how long until the next try, doubled up to the longest."""

    deadline: float = 60.0
    again: float = 5.0
    longest: float = 300.0

    def pause(self, failures: int) -> float:
        """Return the seconds until the next try after so many failures in a row."""
        return min(self.again * float(1 << min(failures - 1, 16)), self.longest) if failures else 0.0


PACE = Pace()


@dataclass(frozen=True, slots=True)
class _Delay:
    trouble: Failed
    times: int
    until: float


@dataclass(eq=False)
class Backlog:
    """What one ModelDeployment has in the registry, and what is left alone until when; all times are seconds."""

    pace: Pace
    written: dict[str, Record] = field(default_factory=dict)
    delayed: dict[str, _Delay] = field(default_factory=dict)
    placed: tuple[str, str] | None = None
    foreign: tuple[str, ...] = ()
    ceded: bool = False
    """The aliases are for others to move."""

    def due(self, wanted: Post, now: float) -> list[Record | None]:
        """Return what is to be written now, None for the aliases: what failed least often first."""
        lacking = (record for record in wanted.records if not self._has(record))
        due: list[Record | None] = [record for record in lacking if self._is_free(record.id, now)]
        if not self.ceded and (due or not self.is_placed(wanted)) and self._is_free(ALIASES, now):
            due.append(None)
        return sorted(due, key=lambda item: self._times(item.id if item else ALIASES))

    def take(self, record: Record) -> None:
        """Note that the registry has a record."""
        self.written[record.id] = record
        self.delayed.pop(record.id, None)

    def place(self, wanted: Post, foreign: Iterable[str]) -> None:
        """Note that the aliases are right, but for those that are somebody else's."""
        self.placed, self.foreign = (wanted.stable, wanted.candidate), tuple(foreign)
        self.delayed.pop(ALIASES, None)

    def cede(self) -> None:
        """Leave the aliases alone for good: the object is going, and another of its name may move them."""
        self.ceded = True
        self.delayed.pop(ALIASES, None)

    def put_off(self, key: str, trouble: Failed, now: float) -> None:
        """Leave a record, or the aliases, alone for longer and longer."""
        times = self._times(key) + 1
        self.delayed[key] = _Delay(trouble, times, now + self.pace.pause(times))

    def forget(self, waiting: Sequence[Record]) -> None:
        """Forget what the status no longer holds, or holds otherwise than it was written: merged with another."""
        known = {record.id for record in waiting if self._has(record)}
        self.written = {key: record for key, record in self.written.items() if key in known}
        kept = {*(record.id for record in waiting), ALIASES}
        self.delayed = {key: delay for key, delay in self.delayed.items() if key in kept}

    def taken(self, wanted: Post) -> frozenset[str]:
        """Return the records that may leave the status: the newest stays until the aliases are right."""
        newest = {wanted.records[-1].id} if wanted.records and not self.is_placed(wanted) else set()
        return frozenset(self.written.keys() - newest)

    def is_placed(self, wanted: Post) -> bool:
        """Tell whether the aliases were found right when they were last asked for."""
        return self.ceded or (self.placed == (wanted.stable, wanted.candidate) and ALIASES not in self.delayed)

    def is_done(self, wanted: Post) -> bool:
        """Tell whether nothing is left to write."""
        return self.is_placed(wanted) and all(self._has(record) for record in wanted.records)

    def rest(self, wanted: Post, now: float) -> float:
        """Return how long until something is due again."""
        keys = (ALIASES, *(record.id for record in wanted.records if not self._has(record)))
        until = (self.delayed[key].until for key in keys if key in self.delayed)
        return max(0.0, min(until, default=now) - now)

    def refused(self, wanted: Post) -> Failed | None:
        """Return why something is left behind, by the oldest of it."""
        ids = [record.id for record in wanted.records if record.id in self.delayed]
        if not ids and ALIASES not in self.delayed:
            return None
        more = f" and {len(ids) - 1} more" if ids[1:] else ""
        aliases = " and the aliases" if ALIASES in self.delayed else ""
        what = f"record {ids[0]}{more}{aliases}" if ids else "the aliases"
        trouble = self.delayed[ids[0] if ids else ALIASES].trouble
        return Failed(trouble.reason, f"{what}: {trouble.message}")

    def _has(self, record: Record) -> bool:
        """Tell whether the registry has a record as it is; one that lost its evidence since says nothing else."""
        known = self.written.get(record.id)
        return known is not None and bare(known) == bare(record)

    def _is_free(self, key: str, now: float) -> bool:
        return key not in self.delayed or now >= self.delayed[key].until

    def _times(self, key: str) -> int:
        return self.delayed[key].times if key in self.delayed else 0
