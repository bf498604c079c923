"""Raise gates to a floor, field by field: both must hold, and what is already asked as strictly is not asked twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from modelramp.rollout.gates.case import LONGEST_DETAIL, cut
from modelramp.rollout.gates.phrases import phrase
from modelramp.rollout.gates.spec import (
    CompareOn,
    CompatibleWith,
    CoverageGate,
    DecisionGate,
    FairnessGate,
    Gates,
    Lineage,
    LineageGate,
    MetricGate,
    NoteFor,
    RollbackGate,
    SignatureGate,
    StagingGate,
    TagGate,
)
from modelramp.rollout.status import Raised

Floors = Sequence[tuple[str, Gates]]
"""Each policy's name and what it asks, by name."""


def raise_gates(own: Gates, floors: Floors) -> tuple[Gates, tuple[Raised, ...]]:
    """Return the gates that hold, and what was raised by whom."""
    added: dict[str, Any] = {each.field: (*getattr(own, each.field), *each.missing(own, floors)) for each in LISTED}
    raised: dict[str, Any] = {each.field: each.raised(own, floors) for each in SINGLE}
    told = (raised for part in (*LISTED, *SINGLE) for raised in part.told(own, floors))
    return replace(own, **added, **raised), tuple(told)


def _told(field: str, policy: str, holds: str, written: str) -> Raised:
    return Raised(f"gates.{field}", policy, cut(holds, LONGEST_DETAIL), cut(written, LONGEST_DETAIL))


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of gates: the floor's are added unless one that is there is as strict. `about` says of what one is."""

    field: str
    covers: Callable[[Any, Any], bool]
    about: Callable[[Any], str]

    def missing(self, own: Gates, floors: Floors) -> tuple[Any, ...]:
        """Return what the floors ask and no gate of the plan does, in an order of its own."""
        asked = {gate for _, floor in floors for gate in getattr(floor, self.field)}
        found = [gate for gate in asked if not any(self.covers(mine, gate) for mine in getattr(own, self.field))]
        return tuple(sorted(found, key=repr))

    def told(self, own: Gates, floors: Floors) -> Iterator[Raised]:
        """Yield each gate that is added, beside what the spec asks of the same."""
        for gate in self.missing(own, floors):
            by = next(policy for policy, floor in floors if gate in getattr(floor, self.field))
            mine = [phrase(each) for each in getattr(own, self.field) if self.about(each) == self.about(gate)]
            field = f"{self.field}[{self.about(gate)}]" if self.about(gate) else "name.pattern"
            yield _told(field, by, phrase(gate), " and ".join(mine))


@dataclass(frozen=True, slots=True)
class Single:
    """A gate that there is once: `raise_to` makes one of the plan's and all that floors ask."""

    field: str
    name: str
    raise_to: Callable[[Any, list[Any]], Any]

    def raised(self, own: Gates, floors: Floors) -> Any:
        """Return what holds."""
        return self.raise_to(getattr(own, self.field), [getattr(floor, self.field) for _, floor in floors])

    def told(self, own: Gates, floors: Floors) -> Iterator[Raised]:
        """Yield that it was raised, by the first policy that asks for more than the spec."""
        before, after = getattr(own, self.field), self.raised(own, floors)
        if before != after:
            by = next(policy for policy, floor in floors if self.raised(own, [(policy, floor)]) != before)
            yield _told(self.name, by, phrase(after), phrase(before))


# ---------------------------------------------------------------------- lists
def demands(own: MetricGate, asked: MetricGate) -> bool:
    """Tell whether a metric's gate lets nothing pass that the other refuses."""
    on = own.compare_on is CompareOn.SAME_DATASET or not asked.compares or own.compare_on is asked.compare_on
    changes = ("max", "max_drop", "max_increase", "max_drop_ratio", "max_increase_ratio")
    return (
        (own.metric, own.dataset) == (asked.metric, asked.dataset)
        and on
        and _at_least(own.min, asked.min)
        and all(_at_most(getattr(own, bound), getattr(asked, bound)) for bound in changes)
    )


def _is_as_fair(own: FairnessGate, asked: FairnessGate) -> bool:
    bounded = _at_least(own.min, asked.min) and _at_most(own.max, asked.max)
    return own.metric == asked.metric and bounded and set(own.groups) >= set(asked.groups)


def _is_as_covered(own: CoverageGate, asked: CoverageGate) -> bool:
    return own.metric == asked.metric and own.min >= asked.min


def _is_as_tagged(own: TagGate, asked: TagGate) -> bool:
    allowed = not asked.values or (bool(own.values) and set(own.values) <= set(asked.values))
    return own.key == asked.key and allowed


def _at_most(own: float | None, asked: float | None) -> bool:
    return asked is None or (own is not None and own <= asked)


def _at_least(own: float | None, asked: float | None) -> bool:
    return asked is None or (own is not None and own >= asked)


LISTED = (
    Listed("name_patterns", lambda own, asked: own == asked, lambda _: ""),
    Listed("metrics", demands, lambda gate: gate.metric),
    Listed("fairness", _is_as_fair, lambda gate: gate.metric),
    Listed("coverage", _is_as_covered, lambda gate: gate.metric),
    Listed("tags", _is_as_tagged, lambda gate: gate.key),
)


# ---------------------------------------------------------------------- single gates
def _signature(own: SignatureGate, asked: list[SignatureGate]) -> SignatureGate:
    stable = any(each.compatible_with is CompatibleWith.STABLE for each in asked)
    compatible = CompatibleWith.STABLE if stable else own.compatible_with
    return SignatureGate(own.required or any(each.required for each in asked), compatible)


def _lineage(own: LineageGate | None, floors: list[LineageGate | None]) -> LineageGate | None:
    """Require what anybody requires; a floor that asks for feature tables also says which tag has their version."""
    asked = [gate for gate in floors if gate]
    if not asked:
        return own
    required = {each for gate in (own, *asked) if gate for each in gate.require}
    tags = [gate.feature_table_tag for gate in (*asked, own) if gate and Lineage.FEATURE_TABLES in gate.require]
    known = tuple(each for each in (own.require if own else ()) if each in required)
    added = tuple(each for each in Lineage if each in required and each not in known)
    return LineageGate((*known, *added), *(tags[:1] or [own.feature_table_tag if own else asked[0].feature_table_tag]))


def _decision(own: DecisionGate | None, floors: list[DecisionGate | None]) -> DecisionGate | None:
    """Require a note for whom anybody requires it, where the first floor that asks for one says it is."""
    asked = [gate for gate in floors if gate]
    if not asked:
        return own
    everyone = any(gate.required_for is NoteFor.ALL for gate in (own, *asked) if gate)
    return replace(asked[0], required_for=NoteFor.ALL if everyone else NoteFor.TIER1)


def _staging(own: StagingGate | None, floors: list[StagingGate | None]) -> StagingGate | None:
    """Replay what is asked most, within the lowest bounds; the first floor that names a dataset says which."""
    asked = [gate for gate in floors if gate]
    if not asked:
        return own
    every = [*asked, own] if own else asked
    return StagingGate(
        requests=max(gate.requests for gate in every),
        concurrency=max(gate.concurrency for gate in every),
        p50=min((gate.p50 for gate in every if gate.p50 is not None), default=None),
        p95=min((gate.p95 for gate in every if gate.p95 is not None), default=None),
        p99=min((gate.p99 for gate in every if gate.p99 is not None), default=None),
        error_rate=min(gate.error_rate for gate in every),
        memory=min((gate.memory for gate in every if gate.memory is not None), default=None),
        dataset=next((gate.dataset for gate in every if gate.dataset), None),
        deadline=own.deadline if own else max(gate.deadline for gate in asked),
    )


def _rollback(own: RollbackGate | None, floors: list[RollbackGate | None]) -> RollbackGate | None:
    """Require it where anybody does; of all else that it can ask, which is a most, the least holds."""
    asked = [gate for gate in floors if gate and gate != RollbackGate(required=False)]
    if not asked:
        return own
    every = [*asked, own] if own else asked
    mosts = [each.name for each in fields(RollbackGate) if each.name != "required"]
    given = {name: [value for gate in every if (value := getattr(gate, name)) is not None] for name in mosts}
    least = {name: min(values) for name, values in given.items() if values}
    return RollbackGate(required=any(gate.required for gate in every), **least)


SINGLE = (
    Single("signature", "signature", _signature),
    Single("lineage", "lineage", _lineage),
    Single("decision", "decision", _decision),
    Single("require_policy", "policy.required", lambda own, floors: own or any(floors)),
    Single("staging", "staging", _staging),
    Single("rollback", "rollback", _rollback),
)
