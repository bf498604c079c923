"""Statuses of every shape, made from the core's own types."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from modelramp.rollout.status import Condition, GuardrailState, Status

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: _TEXT,
    bool: st.booleans(),
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(timezones=st.just(UTC)),
    timedelta: st.integers(0, 10**12).map(lambda milliseconds: timedelta(milliseconds=milliseconds)),
}


@cache
def values(hint: Any) -> st.SearchStrategy[Any]:
    """Return every value of a type of the core, as far as the API server can hold it."""
    if get_origin(hint) in (Union, UnionType):
        return st.none() | values(next(choice for choice in get_args(hint) if choice is not NoneType))
    if get_origin(hint) is tuple:
        return _lists(get_args(hint)[0])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    return _records(hint) if is_dataclass(hint) else _SCALARS[hint]


def _lists(item: Any) -> st.SearchStrategy[Any]:
    keys = {GuardrailState: lambda state: state.name, Condition: lambda condition: condition.type}
    return st.lists(values(item), max_size=3, unique_by=keys.get(item)).map(tuple)


def _records(kind: Any) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    of_fields = {field.name: values(hints[field.name]) for field in fields(kind)}
    if kind is Condition:
        of_fields["status"] = st.sampled_from(["True", "False", "Unknown"])
    return st.builds(kind, **of_fields)


statuses: st.SearchStrategy[Status] = values(Status)
