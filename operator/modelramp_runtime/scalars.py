"""The signature's scalar types: JSON values in, an array of exactly the declared type out, or why not.

A value is taken only where nothing is lost: 40.0 is a long, 40.5 is not; 3e9 is a long, not an integer; true
is no number and 1 is no boolean. Source: the types of MLflow's signatures (`mlflow.types.DataType`).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[Any]

_NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]*)?([eE][+-]?[0-9]{1,4})?", re.ASCII)
_EXACT_IN_DOUBLE = 2**53
_FLOAT_MAX = float(np.finfo(np.float32).max)
_DOUBLE_MAX = float(np.finfo(np.float64).max)
# Below this many rows one value after the other is faster than an array.
_FEW = 16


class UnfitError(ValueError):
    """A value that the type cannot hold; the message says what was found and what would be right."""


_FOUND = {
    type(None): "null",
    bool: "true or false",
    str: "text",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def _found(value: object) -> str:
    """Name the kind of a JSON value, never the value."""
    return _FOUND.get(type(value), type(value).__name__)


def _whole(low: int, high: int, wanted: str) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if type(value) is float:
            if not value.is_integer():
                found = "a fraction" if math.isfinite(value) else "a number that is not finite"
                raise UnfitError(f"holds {found}; {wanted} is wanted")
            value = int(value)
        if type(value) is not int:
            raise UnfitError(f"holds {_found(value)}; {wanted} is wanted")
        if not low <= value <= high:
            raise UnfitError(f"holds a number out of range; {wanted} is wanted")
        return value

    return convert


def _kept(number: int, narrow: Callable[[float], Any]) -> bool:
    try:
        return int(narrow(float(number))) == number
    except OverflowError:
        return False


def _real(limit: float, narrow: Callable[[float], Any], wanted: str) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        if type(value) is int and abs(value) <= limit and _kept(value, narrow):
            return float(value)
        if type(value) is int:
            raise UnfitError(f"holds a whole number that cannot be kept exactly; {wanted} is wanted")
        if type(value) is not float:
            raise UnfitError(f"holds {_found(value)}; {wanted} is wanted")
        if not abs(value) <= limit:
            raise UnfitError(f"holds a number that is not finite or out of range; {wanted} is wanted")
        return value

    return convert


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise UnfitError(f"holds {_found(value)}; true or false is wanted")
    return value


def _string(value: Any) -> str:
    if type(value) is not str:
        raise UnfitError(f"holds {_found(value)}; text is wanted")
    return value


def _binary(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    if type(value) is not str:
        raise UnfitError(f"holds {_found(value)}; base64 text is wanted")
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UnfitError("holds text that is not base64; base64 text is wanted") from None


_WANTED_TIME = "an ISO 8601 date and time without a zone, such as 2026-01-31T12:00:00,"


def _datetime(value: Any) -> np.datetime64:
    if not isinstance(value, str | pd.Timestamp):
        raise UnfitError(f"holds {_found(value)}; {_WANTED_TIME} is wanted")
    try:
        moment = pd.to_datetime(value, format="ISO8601")
        if moment.tzinfo is None:
            return moment.to_datetime64().astype("datetime64[ns]")  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        raise UnfitError(f"holds text that is no date; {_WANTED_TIME} is wanted") from None
    raise UnfitError(f"holds a date with a zone; {_WANTED_TIME} is wanted")


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _quick_double(values: list[Any], kinds: set[type]) -> Array | None:
    if not kinds <= {float, int}:
        return None
    try:
        array = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    is_sure = np.isfinite(array).all() and (int not in kinds or np.abs(array).max() < _EXACT_IN_DOUBLE)
    return array if is_sure else None


def _quick_long(values: list[Any], kinds: set[type]) -> Array | None:
    try:
        return np.array(values, dtype=np.int64) if kinds == {int} else None
    except OverflowError:
        return None


def _quick_string(values: list[Any], kinds: set[type]) -> Array | None:
    return _objects(values) if kinds == {str} else None


def _never_quick(_values: list[Any], _kinds: set[type]) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Scalar:
    """One scalar type: how a value is converted, what arrays it makes, and an example of it.

    `quick` converts a column at once where the types of its values alone show that nothing can be lost.
    """

    name: str
    dtype: str
    dtype_with_nulls: str
    convert: Callable[[Any], Any]
    example: Any
    quick: Callable[[list[Any], set[type]], Array | None] = _never_quick


_INTEGER = _whole(-(2**31), 2**31 - 1, "a whole number from -2147483648 to 2147483647 (integer)")
_LONG = _whole(-(2**63), 2**63 - 1, "a whole number of 64 bits (long)")
_FLOAT = _real(_FLOAT_MAX, np.float32, "a number that 32 bits can hold (float)")
_DOUBLE = _real(_DOUBLE_MAX, float, "a finite number (double)")

# With nulls: the array that pandas and MLflow give to a model for such a column.
SCALARS = {
    scalar.name: scalar
    for scalar in (
        Scalar("boolean", "bool", "object", _boolean, example=True),
        Scalar("integer", "int32", "Int32", _INTEGER, 1),
        Scalar("long", "int64", "Int64", _LONG, 1, _quick_long),
        Scalar("float", "float32", "float32", _FLOAT, 1.0),
        Scalar("double", "float64", "float64", _DOUBLE, 1.0, _quick_double),
        Scalar("string", "object", "object", _string, "a", _quick_string),
        Scalar("binary", "object", "object", _binary, "YQ=="),
        Scalar("datetime", "datetime64[ns]", "datetime64[ns]", _datetime, "2000-01-01T00:00:00"),
    )
}


def _is_null(value: Any) -> bool:
    # NaN is how a JSON writer that knows no null spells one: MLflow's own client does.
    return value is None or (type(value) is float and math.isnan(value))


def _array(scalar: Scalar, converted: list[Any]) -> Any:
    dtype = scalar.dtype_with_nulls if None in converted else scalar.dtype
    if dtype == "object":
        return _objects(converted)
    if dtype in {"Int32", "Int64"}:
        return pd.array(converted, dtype=dtype)
    return np.array(converted, dtype=dtype)


def read_column(scalar: Scalar, values: list[Any], *, required: bool) -> Any | tuple[int, str]:
    """Return the column as an array of the scalar's type, or the first row that does not fit and why."""
    if len(values) >= _FEW and (array := scalar.quick(values, set(map(type, values)))) is not None:
        return array
    converted: list[Any] = []
    for row, value in enumerate(values):
        if _is_null(value):
            if required:
                return row, f"holds null; a value is required ({scalar.name})"
            converted.append(None)
            continue
        try:
            converted.append(scalar.convert(value))
        except UnfitError as unfit:
            return row, str(unfit)
    return _array(scalar, converted)


def from_text(scalar: Scalar, value: Any) -> Any:
    """Return the JSON value that a cell of text means, for a column of this type; the empty cell is null."""
    if not isinstance(value, str) or scalar.name in {"string", "binary", "datetime"}:
        return value if value != "" else None
    cell = value.strip()
    if scalar.name == "boolean":
        return {"true": True, "false": False, "": None}.get(cell.lower(), value)
    if cell == "" or cell.lower() == "nan":
        return None
    if not _NUMBER.fullmatch(cell):
        return value
    return int(cell) if cell.removeprefix("-").isdigit() else float(cell)
