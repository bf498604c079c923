"""The signature's tensors: does a nested list of JSON numbers fit a dtype and a shape without loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelramp_runtime.payload import Table, read_format, table_of
from modelramp_runtime.refusal import Violation

Array = npt.NDArray[Any]
Shape = Sequence[int]


def _lossy(array: Array, dtype: np.dtype[Any]) -> str | None:
    with np.errstate(all="ignore"):
        kept = array.astype(dtype)
        if dtype.kind == "f" and array.dtype.kind == "f":
            # Rounding to fewer digits is what float32 means; leaving its range is not.
            return "holds a number out of range" if np.isinf(kept).any() else None
        same = kept.astype(array.dtype) == array
    return None if bool(np.all(same)) else "holds a fraction or a number out of range"


def _natural(values: Any, dtype: np.dtype[Any]) -> Array | str:
    """Return the values as the array that they are, before any cast, or why they are none."""
    try:
        array = np.array(values)
    except ValueError:
        return "holds lists of different lengths"
    if array.dtype.kind != "O":
        return array
    leaves = set(map(type, array.ravel().tolist()))
    if dtype.kind == "f" and leaves <= {int, float, type(None)}:
        try:
            return array.astype(np.float64)
        except OverflowError:
            return "holds a number out of range"
    return "holds null" if type(None) in leaves else "holds something else, or a number out of range"


def judge_tensor(values: Any, dtype: np.dtype[Any], shape: Shape | None) -> str | None:
    """Return why the values do not fit, or None. Null and NaN fit a float: a tensor knows no optional value."""
    if dtype.kind == "O":
        return None
    array = _natural(values, dtype)
    wanted = f"{dtype} is wanted"
    if isinstance(array, str):
        return f"{array}; {wanted}"
    if shape is not None and not _fits(array.shape, shape):
        return f"has the shape {array.shape}; {tuple(shape)} is wanted (-1: any length)"
    number = dtype.kind in "iuf"
    if (array.dtype.kind in "iuf") != number or (not number and array.dtype.kind != dtype.kind):
        found = {"U": "text", "b": "true or false", "i": "numbers", "u": "numbers", "f": "numbers"}
        return f"holds {found.get(array.dtype.kind, 'something else')}; {wanted}"
    problem = _lossy(array, dtype) if number else None
    return f"{problem}; {wanted}" if problem else None


def _fits(actual: Shape, wanted: Shape) -> bool:
    return len(actual) == len(wanted) and all(w in (-1, a) for a, w in zip(actual, wanted, strict=True))


def judge_tensors(specs: Sequence[Mapping[str, Any]], payload: dict[str, Any]) -> Iterator[Violation]:
    """Yield which tensors of a JSON payload are missing or do not fit."""
    is_frame = read_format(payload).startswith("dataframe")
    for spec in specs:
        name, tensor = spec.get("name"), spec["tensor-spec"]
        values = _values(payload, name, alone=len(specs) == 1)
        if values is None:
            yield Violation(name or "", "is missing")
            continue
        # A frame's cells hold flattened rows, which MLflow reshapes.
        shape = None if is_frame else tensor["shape"]
        if problem := judge_tensor(values, np.dtype(tensor["dtype"]), shape):
            yield Violation(name or "", problem)


def _values(payload: dict[str, Any], name: str | None, *, alone: bool) -> Any:
    form = read_format(payload)
    if form.startswith("dataframe"):
        return _of_table(table_of(payload), name)
    data = payload[form]
    if name is None:
        return data
    if isinstance(data, dict):
        return data.get(name)
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        return [row[name] for row in data] if all(name in row for row in data) else None
    return data if alone else None


def _of_table(table: Table, name: str | None) -> Any:
    if name is None:
        return table.columns
    return dict(zip(table.names or (), table.columns, strict=False)).get(name)
