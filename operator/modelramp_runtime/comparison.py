"""Compare what two versions answered to the same request: pure, row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Columns = Mapping[str, Sequence[Any]]
LONGEST_NUMBER = 64
"""Bits of a whole number that is compared as one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one version said: its outputs by name, what the rules made of them, and which rules those were."""

    outputs: Columns
    decisions: Columns | None = None
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """How many predictions were compared, how many disagree, how far apart numbers are, and one that disagrees."""

    predictions: int = 0
    disagreements: int = 0
    differences: Mapping[str, Sequence[float]] = field(default_factory=dict)
    example: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None


def compare(ours: Answer, theirs: Answer, tolerance: float) -> Compared | None:
    """Return how two answers to one request compare, None where different rules decided them.

    Decisions are what counts where there are any, else outputs; numbers agree within `tolerance`, in their own unit.
    """
    if ours.policy != theirs.policy:
        return None
    if ours.decisions is not None and theirs.decisions is not None:
        mine, other = ours.decisions, theirs.decisions
    else:
        mine, other = ours.outputs, theirs.outputs
    rows = max(_rows(mine), _rows(other))
    apart = [row for row in range(rows) if not _agree(_row(mine, row), _row(other, row), tolerance)]
    example = (_row(mine, apart[0]), _row(other, apart[0])) if apart else None
    return Compared(rows, len(apart), dict(_differences(ours.outputs, theirs.outputs)), example)


def _rows(columns: Columns) -> int:
    return max(map(len, columns.values()), default=0)


def _row(columns: Columns, row: int) -> dict[str, Any]:
    return {name: values[row] for name, values in columns.items() if row < len(values)}


def _agree(mine: Mapping[str, Any], other: Mapping[str, Any], tolerance: float) -> bool:
    return mine.keys() == other.keys() and all(_same(value, other[name], tolerance) for name, value in mine.items())


def _same(one: Any, other: Any, tolerance: float) -> bool:
    if _is_number(one) and _is_number(other):
        # Two that are no numbers are the same answer; infinity less itself is none either.
        return one == other or (math.isnan(one) and math.isnan(other)) or abs(one - other) <= tolerance
    return type(one) is type(other) and bool(one == other)


def _is_number(value: Any) -> bool:
    # One of more than 64 bits is in no table, and has no difference from a float.
    is_whole = isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= LONGEST_NUMBER
    return is_whole or isinstance(value, float)


def _differences(ours: Columns, theirs: Columns) -> Iterator[tuple[str, Sequence[float]]]:
    for name, values in ours.items():
        pairs = zip(values, theirs.get(name, ()), strict=False)
        found = [abs(one - other) for one, other in pairs if _is_number(one) and _is_number(other)]
        if finite := [difference for difference in found if math.isfinite(difference)]:
            yield name, finite
