"""Keep records within bounds: the newest whole, older ones without what they rest on, then merged, never unsaid."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import accumulate

from modelramp.rollout.observation import Busy, NoData, Posted, Reading, Value
from modelramp.rollout.status import Record

HISTORY, HISTORY_BYTES = 20, 24_000
OUTBOX, OUTBOX_BYTES = 100, 64_000
FIELD = 24
"""Bytes of a field's key, about as many as of a number."""


def shelve(history: tuple[Record, ...], new: tuple[Record, ...]) -> tuple[Record, ...]:
    """Return the last records; what they rest on is kept for as many of the newest as there is room for."""
    return lighten((*history, *new)[-HISTORY:], HISTORY_BYTES) if new else history


def address(
    outbox: tuple[Record, ...], new: tuple[Record, ...], seen: Reading[Posted] | Busy | None
) -> tuple[Record, ...]:
    """Return what is to go to the registry: what it has not taken yet, and what is new."""
    if isinstance(seen, NoData):
        return ()
    taken = seen.value.ids if isinstance(seen, Value) else frozenset[str]()
    waiting = (*(record for record in outbox if record.id not in taken), *new)
    return lighten(_merge(waiting), OUTBOX_BYTES) if waiting != outbox else outbox


def _merge(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """Merge the oldest where there are too many: those that say the same, of one version, then of any.

    How often, when last, why last and which attempt last stays; each merged record says for how many it stands.
    """
    keys: tuple[Callable[[Record], tuple[str, ...]], ...] = (
        lambda record: (record.version, record.event),
        lambda record: (record.event,),
    )
    for key in keys:
        if len(records) > OUTBOX:
            older, newer = records[: -OUTBOX // 2], records[-OUTBOX // 2 :]
            records = (*_merged(older, key), *newer)
    return records


def _merged(records: tuple[Record, ...], key: Callable[[Record], tuple[str, ...]]) -> Iterable[Record]:
    last: dict[tuple[str, ...], Record] = {}
    for record in records:
        before = last.pop(key(record), None)
        times = (before.times or 1) + (record.times or 1) if before else record.times
        last[key(record)] = replace(record, times=times)
    return last.values()


def lighten(records: tuple[Record, ...], room: int) -> tuple[Record, ...]:
    """Return the records, without their evidence from the newest on with which they take more than `room` bytes."""
    light = tuple(bare(record) for record in records)
    sizes = [size(thin) for thin in light]
    spare = room - sum(sizes)
    costs = [
        0 if record == thin else size(record) - least for record, thin, least in zip(records, light, sizes, strict=True)
    ]
    sums = list(accumulate(reversed(costs)))[::-1]
    return tuple(record if total <= spare else thin for record, thin, total in zip(records, light, sums, strict=True))


def bare(record: Record) -> Record:
    """Return a record without what it rests on: what was decided, when, why, by whom stays."""
    return replace(record, pin=None, evidence=())


def size(value: object) -> int:
    """Return about how many bytes a record, or a part of one, takes as JSON: its texts, and the rest by the field."""
    if isinstance(value, str):
        return FIELD + len(value.encode()) if value else 0
    if isinstance(value, tuple):
        return sum(map(size, value))
    if value is None:
        return 0
    # What dataclasses.fields() reads; that looks each kind up anew, and this is asked in most turns.
    names = getattr(value, "__dataclass_fields__", ())
    return sum(size(getattr(value, name)) for name in names) if names else 2 * FIELD
