"""Where traffic belongs, what was done to it by hand, and what has to be written: pure views of the status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from modelramp.rollout.actions import Action, Claim, RunVersion, SetTraffic, StopVersion
from modelramp.rollout.observation import Effect, Failed, NoData, Observation, Reading, Route, Split, Value, Workload
from modelramp.rollout.status import Phase, Pin, Status

EVERYTHING = 100
RETREAT = "retreat"
"""How a retreat signs its write, so that a crash between write and status is told from a hand at the route."""
BY_HAND = "ManualRollback"

UNUSABLE = frozenset({"NoRoute", "AmbiguousRoute", "NotOptedIn", "RouteTaken", "NameTaken"})
"""Why a route of somebody else's cannot be steered: it is missing, or not for this ModelDeployment."""

AT_REST = (Phase.PROMOTED, Phase.ROLLED_BACK, Phase.REJECTED)
WITH_CANDIDATE = (Phase.STARTING, Phase.STAGING, Phase.SHADOWING, Phase.RAMPING)


class DriftKind(Enum):
    """What a stored split that is not the desired one means."""

    NONE = "None"
    REVERTED = "Reverted"
    """Somebody sent traffic back: it sticks."""
    REPAIR = "Repair"
    """Anything else: write ours again."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The difference between the stored split and ours; `target` is the version that traffic was sent back to."""

    kind: DriftKind
    target: str = ""
    why: str = ""
    foreign: bool = False
    """Somebody else wrote; not a write of ours that was cut short."""


def desired(status: Status) -> Split | None:
    """Return the split that this status stands for, None while no version holds any traffic."""
    if status.stable is None:
        return None
    stable, attempt = status.stable.version, status.attempt
    if status.drill is not None and status.drill.is_away and status.phase in AT_REST:
        return Split({status.drill.version: EVERYTHING})
    if attempt is None or status.candidate is None:
        return Split({stable: EVERYTHING})
    if status.phase is Phase.SHADOWING and attempt.plan.shadow:
        return Split({stable: EVERYTHING}, {status.candidate.version: attempt.plan.shadow.percent})
    if status.phase is Phase.RAMPING:
        weight = attempt.plan.steps[attempt.step].weight
        return Split({stable: EVERYTHING - weight, status.candidate.version: weight})
    return Split({stable: EVERYTHING})


def unremembered(status: Status, reading: Reading[Route], pinned: str) -> str:
    """Return the version that has traffic where the status knows of none: a status was lost, the route was not.

    Without it the pinned version would be taken for the first of all and get everything.
    """
    if status.stable is not None or not isinstance(reading, Value) or reading.value.split is None:
        return ""
    weights = reading.value.split.weights
    others = [version for version, percent in weights.items() if percent > 0 and version != pinned]
    return max(others, key=reading.value.split.weight, default="")


def running(status: Status, keep_warm: int) -> tuple[Pin, ...]:
    """Return the versions whose pods are to be ready: stable, the candidate, and those kept warm."""
    candidate = (status.candidate,) if status.candidate and status.phase in WITH_CANDIDATE else ()
    stable = (status.stable,) if status.stable else ()
    return (*stable, *candidate, *status.previous[:keep_warm])


def leaving(
    status: Status, keep_warm: int, route: Reading[Route], workloads: Reading[Mapping[str, Workload]]
) -> frozenset[str]:
    """Return the versions that are on their way out: still in the route, or with pods, and to be neither."""
    routed = route.value.backends if isinstance(route, Value) else frozenset()
    run = frozenset(workloads.value) if isinstance(workloads, Value) else frozenset()
    return (routed | run) - {pin.version for pin in running(status, keep_warm)}


def detect_drift(status: Status, reading: Reading[Route]) -> Drift:
    """Tell a hand at the route from our own unfinished write, and a rollback by hand from anything else."""
    wanted = desired(status)
    if wanted is None or not isinstance(reading, Value):
        return Drift(DriftKind.NONE)
    route, split = reading.value, reading.value.split
    if split is None:
        return Drift(DriftKind.REPAIR, foreign=True)
    if split.same(wanted):
        return Drift(DriftKind.NONE)
    if route.written is not None and split.same(route.written):
        return _unfinished(status, route)
    if (target := _sent_back_to(status, wanted, split)) is not None:
        return Drift(
            DriftKind.REVERTED,
            target,
            f"{BY_HAND}: traffic was sent back to version {target} by {route.author or 'somebody'}",
            foreign=True,
        )
    return Drift(DriftKind.REPAIR, foreign=route.written is not None)


def _unfinished(status: Status, route: Route) -> Drift:
    """Tell a retreat of ours that the status has missed from a write that is to be done again."""
    mark = _mark(status)
    drills = status.drill is not None and status.drill.is_running
    if drills or status.phase is Phase.ROLLED_BACK or not route.why.startswith(mark):
        return Drift(DriftKind.REPAIR)
    good = (*((status.stable,) if status.stable else ()), *status.previous)
    back = (pin.version for pin in good if route.split and route.split.weight(pin.version) == EVERYTHING)
    target = next(back, None)
    return Drift(DriftKind.REVERTED, target, route.why.removeprefix(mark)) if target else Drift(DriftKind.REPAIR)


def _mark(status: Status) -> str:
    return f"{RETREAT} {status.attempt.id if status.attempt else 'stable'} "


def _sent_back_to(status: Status, wanted: Split, split: Split) -> str | None:
    """Return the version that was stable and got share by hand, else stable itself where the candidate lost some."""
    candidate = status.candidate.version if status.candidate and status.phase in WITH_CANDIDATE else ""
    back = [pin.version for pin in status.previous if split.weight(pin.version) > wanted.weight(pin.version)]
    if split.weight(candidate) > wanted.weight(candidate) and candidate not in back:
        return None
    if back:
        return max(back, key=split.weight)
    less = _share(split, candidate) < _share(wanted, candidate)
    return status.stable.version if less and status.stable else None


def _share(split: Split, version: str) -> int:
    return split.weight(version) + split.mirror.get(version, 0)


def converged(status: Status, seen: Observation) -> bool:
    """Tell whether what is stored and what the proxies do is what this status stands for."""
    wanted = desired(status)
    if wanted is None:
        return True
    stored = (
        isinstance(seen.route, Value) and seen.route.value.split is not None and seen.route.value.split.same(wanted)
    )
    return stored and isinstance(seen.effect, Value) and _runs(seen.effect.value, wanted)


def is_scarce(status: Status, seen: Observation) -> bool:
    """Tell whether the split is stored and only the requests are missing that would show it in effect."""
    wanted = desired(status)
    stored = wanted is not None and not differs(wanted, seen.route)
    return stored and isinstance(seen.effect, Value) and seen.effect.value.scarce


def preceding(status: Status) -> Split | None:
    """Return the split that was in effect before the present one of an attempt, None at rest."""
    attempt = status.attempt
    if status.stable is None or status.candidate is None or attempt is None:
        return None
    stable, candidate = status.stable.version, status.candidate.version
    if status.phase is Phase.SHADOWING:
        return Split({stable: EVERYTHING})
    if status.phase is not Phase.RAMPING:
        return None
    weight = attempt.plan.steps[attempt.step - 1].weight if attempt.step else 0
    return Split({stable: EVERYTHING - weight, candidate: weight})


def _runs(effect: Effect, wanted: Split) -> bool:
    return effect.in_effect is not None and effect.in_effect.same(wanted)


def converge(
    status: Status, keep_warm: int, seen: Observation, *, claimed: bool, why: str, retreats: bool = False
) -> tuple[Action, ...]:
    """Return what is missing between the status and the world, in the order in which it is safe to do.

    With `retreats` traffic is being taken away this very turn: it is written even where the route cannot be read.
    """
    pins = running(status, keep_warm)
    claim = () if claimed or not pins else (Claim(),)
    blind = retreats and isinstance(seen.route, Failed)
    moves = _blind_retreat(status, pins, why) if blind else _route(status, pins, seen, why)
    return _retreat_first((*claim, *_runs_missing(pins, seen), *moves, *_stops(pins, seen)))


def _retreat_first(actions: Iterable[Action]) -> tuple[Action, ...]:
    return tuple(sorted(actions, key=lambda action: not (isinstance(action, SetTraffic) and action.retreat)))


def _runs_missing(pins: tuple[Pin, ...], seen: Observation) -> Iterator[Action]:
    if isinstance(seen.workloads, Value):
        yield from (RunVersion(pin) for pin in pins if _stale(seen.workloads.value, pin.version))


def _route(status: Status, pins: tuple[Pin, ...], seen: Observation, why: str) -> Iterator[Action]:
    wanted, backends = desired(status), _backends(pins, seen)
    if wanted is not None and status.stable is not None and _misrouted(wanted, backends, seen.route):
        retreat = _takes_away(wanted, status.stable.version, seen.route)
        yield SetTraffic(wanted, status.stable.version, backends, retreat, _signed(status, retreat, why))


def _blind_retreat(status: Status, pins: tuple[Pin, ...], why: str) -> Iterator[Action]:
    if (wanted := desired(status)) is not None and status.stable is not None:
        backends = tuple(sorted((pin.version for pin in pins), key=int))
        yield SetTraffic(wanted, status.stable.version, backends, retreat=True, why=_signed(status, True, why))


def _stops(pins: tuple[Pin, ...], seen: Observation) -> Iterator[Action]:
    if isinstance(seen.workloads, Value):
        kept = {pin.version for pin in pins} | set(_backends(pins, seen))
        gone = (version for version in sorted(seen.workloads.value) if version not in kept)
        yield from (StopVersion(version) for version in gone if _unrouted(version, seen))


def _stale(workloads: Mapping[str, Workload], version: str) -> bool:
    return version not in workloads or not workloads[version].current


def _backends(pins: tuple[Pin, ...], seen: Observation) -> tuple[str, ...]:
    """Name the versions of the route: ours, and those that requests may still be on their way to."""
    ours = {pin.version for pin in pins}
    stored = seen.route.value.backends if isinstance(seen.route, Value) else frozenset()
    leaving = {version for version in stored - ours if not _drained(version, seen.effect)}
    return tuple(sorted(ours | leaving, key=int))


def _drained(version: str, effect: Reading[Effect]) -> bool:
    if not isinstance(effect, Value) or effect.value.in_effect is None:
        return False
    return effect.value.in_effect.weight(version) == 0 and not effect.value.active.get(version)


def _misrouted(wanted: Split, backends: tuple[str, ...], reading: Reading[Route]) -> bool:
    match reading:
        case Value(route):
            same = route.split is not None and route.split.same(wanted) and not route.malformed
            return not same or not route.current or route.backends != frozenset(backends)
        case NoData():
            return True
        case _:
            return False


def differs(wanted: Split, reading: Reading[Route]) -> bool:
    """Tell whether the stored split is known to be another, or is not known."""
    return not (isinstance(reading, Value) and reading.value.split is not None and reading.value.split.same(wanted))


def _takes_away(wanted: Split, stable: str, reading: Reading[Route]) -> bool:
    """Tell whether the write sends everything to stable while something else is stored, or may be."""
    return wanted.same(Split({stable: EVERYTHING})) and differs(wanted, reading) and not isinstance(reading, NoData)


def _signed(status: Status, retreat: bool, why: str) -> str:
    """Sign what ends an attempt with its id, so that the write is known again should the status have missed it."""
    return f"{_mark(status)}{why}" if retreat and status.phase is Phase.ROLLED_BACK else why


def _unrouted(version: str, seen: Observation) -> bool:
    """Tell whether no route names the version, neither the stored one nor any proxy's."""
    match seen.route:
        case Value(route):
            return version not in route.backends and _drained(version, seen.effect)
        case NoData():
            return True
        case _:
            return False
