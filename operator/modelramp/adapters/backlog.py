"""Whose turn it is to be written: what the registry did not take goes behind what it was not asked for yet.

Each has a pace of its own, so that a record which is refused for good holds up neither the others nor the aliases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from modelramp.rollout.actions import Post
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

    def due(self, wanted: Post, now: float) -> list[Record | None]:
        """Return what is to be written now, None for the aliases: what failed least often first."""
        lacking = [record for record in wanted.records if self.written.get(record.id) != record]
        due: list[Record | None] = [record for record in lacking if self._is_free(record.id, now)]
        if (due or not self.is_placed(wanted)) and self._is_free(ALIASES, now):
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

    def put_off(self, key: str, trouble: Failed, now: float) -> None:
        """Leave a record, or the aliases, alone for longer and longer."""
        times = self._times(key) + 1
        self.delayed[key] = _Delay(trouble, times, now + self.pace.pause(times))

    def forget(self, waiting: set[str]) -> None:
        """Forget what the status no longer holds."""
        self.written = {key: record for key, record in self.written.items() if key in waiting}
        self.delayed = {key: delay for key, delay in self.delayed.items() if key in {*waiting, ALIASES}}

    def taken(self, wanted: Post) -> frozenset[str]:
        """Return the records that may leave the status: the newest stays until the aliases are right."""
        newest = {wanted.records[-1].id} if wanted.records and not self.is_placed(wanted) else set()
        return frozenset(self.written.keys() - newest)

    def is_placed(self, wanted: Post) -> bool:
        """Tell whether the aliases were found right when they were last asked for."""
        return self.placed == (wanted.stable, wanted.candidate) and ALIASES not in self.delayed

    def is_done(self, wanted: Post) -> bool:
        """Tell whether nothing is left to write."""
        return self.is_placed(wanted) and all(record.id in self.written for record in wanted.records)

    def rest(self, now: float) -> float:
        """Return how long until something is due again."""
        return max(0.0, min((delay.until for delay in self.delayed.values()), default=now) - now)

    def refused(self, wanted: Post) -> Failed | None:
        """Return why something is left behind, by the oldest of it."""
        ids = [record.id for record in wanted.records if record.id in self.delayed]
        if not ids and ALIASES not in self.delayed:
            return None
        more = f" and {len(ids) - 1} more" if ids[1:] else ""
        what = f"record {ids[0]}{more}" if ids else "the aliases"
        trouble = self.delayed[ids[0] if ids else ALIASES].trouble
        return Failed(trouble.reason, f"{what}: {trouble.message}")

    def _is_free(self, key: str, now: float) -> bool:
        return key not in self.delayed or now >= self.delayed[key].until

    def _times(self, key: str) -> int:
        return self.delayed[key].times if key in self.delayed else 0
