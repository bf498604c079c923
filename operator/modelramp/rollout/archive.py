"""Keep records within bounds: the newest whole, older ones without what they rest on, then merged, never unsaid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, replace
from itertools import accumulate

from modelramp.rollout.status import Record

HISTORY, HISTORY_BYTES = 20, 24_000


def shelve(history: tuple[Record, ...], new: tuple[Record, ...]) -> tuple[Record, ...]:
    """Return the last records; what they rest on is kept for as many of the newest as there is room for."""
    return lighten((*history, *new)[-HISTORY:], HISTORY_BYTES) if new else history


def lighten(records: tuple[Record, ...], room: int) -> tuple[Record, ...]:
    """Return the records, without their evidence from the newest on with which they take more than `room` bytes."""
    light = tuple(bare(record) for record in records)
    spare = room - sum(map(size, light))
    costs = [size(record) - size(thin) for record, thin in zip(records, light, strict=True)]
    sums = list(accumulate(reversed(costs)))[::-1]
    return tuple(record if total <= spare else thin for record, thin, total in zip(records, light, sums, strict=True))


def bare(record: Record) -> Record:
    """Return a record without what it rests on: what was decided, when, why, by whom stays."""
    return replace(record, pin=None, evidence=())


def size(record: Record) -> int:
    """Return about how many bytes a record takes as JSON: its texts, and 24 a field for key and number."""
    return sum(len(leaf.encode()) if isinstance(leaf, str) else 24 for leaf in _leaves(astuple(record)))


def _leaves(value: object) -> Iterable[object]:
    if isinstance(value, tuple):
        for item in value:
            yield from _leaves(item)
    elif value not in (None, ""):
        yield value
        yield 0
