"""The steps of a rollout as they were seen, and what the model servers counted in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cluster.demo.observed import between
from tests.cluster.meter import Series, served
from tests.cluster.world import Recording, Sight


@dataclass(frozen=True, slots=True)
class Stay:
    """A time in which one split was in effect: from when it was seen to be, until the operator decided to go on."""

    phase: str
    weight: int
    begin: float
    end: float


def stays(recording: Recording) -> list[Stay]:
    """Return the shadow and the steps, in order."""
    found: list[Stay] = []
    open_: Stay | None = None
    for sight in recording.statuses:
        status = sight.object.get("status") or {}
        settled = "settledAt" in (status.get("attempt") or {}) and status["phase"] in ("Shadowing", "Ramping")
        here = (status["phase"], int(status.get("weight") or 0)) if settled else None
        if open_ and here != (open_.phase, open_.weight):
            found.append(Stay(open_.phase, open_.weight, open_.begin, _left(open_, sight, status)))
            open_ = None
        if here and not open_:
            open_ = Stay(*here, sight.at, sight.at)
    return found


def ramp(recording: Recording) -> list[Stay]:
    """Return the steps, in order."""
    return [stay for stay in stays(recording) if stay.phase == "Ramping"]


def stay_at(recording: Recording, weight: int) -> Stay:
    """Return the step with this weight."""
    return next(stay for stay in ramp(recording) if stay.weight == weight)


def _left(stay: Stay, sight: Sight, status: Mapping[str, Any]) -> float:
    """Return when the operator went on: the route can have moved before anybody sees the status that says so.

    A promotion moves nothing, and begins no phase of the attempt: it is when it is seen.
    """
    since = (status.get("attempt") or {}).get("phaseSince")
    decided = datetime.fromisoformat(since).timestamp() if since else sight.at
    return min(sight.at, decided) if decided > stay.begin else sight.at


def counted(recording: Recording, stay: Stay) -> Counter[Series]:
    """Return what the model servers counted in a stay, by version and arm; nothing where they were not read twice."""
    inside = [count for count in recording.counts if stay.begin <= count.began and count.ended <= stay.end]
    return served(inside[0], inside[-1]) if len(inside) > 1 else Counter()


def seen_by_clients(recording: Recording, stay: Stay) -> Counter[str]:
    """Return what the clients were answered in a stay, by version."""
    return Counter(answer.version for answer in between(recording.answers, stay.begin, stay.end))


def weights(recording: Recording, version: str) -> Sequence[int]:
    """Return the shares that a version had in the stored route, in order, without zeros and doubles."""
    found: list[int] = []
    for split in recording.splits:
        weight = int(split.get(f"weight.v{version}", "0"))
        if weight and (not found or found[-1] != weight):
            found.append(weight)
    return found
