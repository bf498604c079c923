"""The core's frozen values as JSON and back: camelCase, RFC 3339, durations as users write them.

What is None or empty by default is left out, so that equal values are equal JSON; a number is always written,
so that a newer operator's default does not change what an older one remembered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic.alias_generators import to_camel

from modelramp.api.durations import format_duration, parse_duration

Read = Callable[[Any], Any]


class UnreadableError(ValueError):
    """Carries where a value is and what it should be; never the value."""


def dump(value: Any) -> Any:
    """Return a core value as plain JSON values; a number that JSON does not know becomes None."""
    match value:
        case tuple():
            return [dump(item) for item in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            dumped = ((key, dump(getattr(value, name)), empty) for name, key, empty in _columns(type(value)))
            return {key: found for key, found, empty in dumped if found is not None and found not in empty}
        case _:
            return _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case Enum():
            return value.value
        case datetime():
            return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
        case timedelta():
            return format_duration(value)
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


@cache
def _columns(kind: Any) -> tuple[tuple[str, str, tuple[Any, ...]], ...]:
    """Return each field's name, its key, and what is left out: its default where that is empty."""
    return tuple((field.name, to_camel(field.name), tuple(_empty_default(field))) for field in fields(kind))


def _empty_default(field: Field[Any]) -> Iterator[Any]:
    if field.default is not MISSING and (default := dump(field.default)) in _EMPTY:
        yield default


_EMPTY: tuple[Any, ...] = ("", [], {})


@cache
def reader(hint: Any) -> Read:
    """Return what reads JSON into a value of this type and raises UnreadableError; unknown fields are skipped."""
    if get_origin(hint) in (Union, UnionType):
        return _optional(hint)
    if get_origin(hint) is tuple:
        return _elements(reader(get_args(hint)[0]))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    return _record(hint) if is_dataclass(hint) else _SCALARS[hint]


def _optional(hint: Any) -> Read:
    (inner,) = (choice for choice in get_args(hint) if choice is not NoneType)
    read = reader(inner)
    return lambda data: None if data is None else read(data)


def _elements(read: Read) -> Read:
    def elements(data: Any) -> tuple[Any, ...]:
        if not isinstance(data, list):
            raise UnreadableError("is no list")
        return tuple(_at(f"[{index}]", read, item) for index, item in enumerate(data))

    return elements


def _enum(kind: type[Enum]) -> Read:
    def member(data: Any) -> Enum:
        try:
            return kind(data)
        except ValueError:
            raise UnreadableError(f"is no {kind.__name__}") from None

    return member


def _record(kind: Any) -> Read:
    hints = get_type_hints(kind)
    readers = {field.name: (to_camel(field.name), reader(hints[field.name])) for field in fields(kind)}

    def record(data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise UnreadableError("is no object")
        values = {
            name: _at(f".{key}", read, data[key]) for name, (key, read) in readers.items() if data.get(key) is not None
        }
        try:
            return kind(**values)
        except TypeError:
            raise UnreadableError("lacks a field") from None

    return record


def _at(place: str, read: Read, data: Any) -> Any:
    try:
        return read(data)
    except UnreadableError as fault:
        text = str(fault)
        raise UnreadableError(f"{place}{'' if text.startswith(('.', '[')) else ' '}{text}") from None


def _typed(kind: type, convert: Read, wanted: str) -> Read:
    def scalar(data: Any) -> Any:
        if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
            raise UnreadableError(f"is no {wanted}")
        return convert(data)

    return scalar


def _timestamp(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):  # an offset that leads out of the years that there are
        raise UnreadableError("is no timestamp") from None


def _duration(text: str) -> timedelta:
    duration = parse_duration(text)
    if duration is None:
        raise UnreadableError("is no duration")
    return duration


def _whole(number: float) -> int:
    if not math.isfinite(number) or number != int(number):
        raise UnreadableError("is no whole number")
    return int(number)


_SCALARS: dict[Any, Read] = {
    str: _typed(str, str, "text"),
    bool: _typed(bool, bool, "boolean"),
    int: _typed((int, float), _whole, "whole number"),  # type: ignore[arg-type]
    float: _typed((int, float), float, "number"),  # type: ignore[arg-type]
    datetime: _typed(str, _timestamp, "timestamp"),
    timedelta: _typed(str, _duration, "duration"),
}
