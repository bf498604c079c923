"""The model's signature as a contract: does this input fit, and if not, which column and what would be right.

Pure: JSON values in, a frame or a `RequestError` out. The messages name columns, rows and types, never a value.
Source of the shapes: `signature` in MLmodel (`type`, `name`, `required`, `items`, `properties`, `values`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from modelramp_runtime.payload import Table
from modelramp_runtime.refusal import Kind, RequestError, Violation, misfit
from modelramp_runtime.scalars import SCALARS, Scalar, UnfitError, from_text, read_column
from modelramp_runtime.settings import ExtraColumns, TextNumbers

Spec = Mapping[str, Any]
_SHOWN_NAME = 64


@dataclass(frozen=True, slots=True)
class Column:
    """One scalar column of a signature."""

    name: str
    scalar: Scalar
    required: bool


@dataclass(frozen=True, slots=True)
class Columns:
    """A signature of scalar columns, named or counted."""

    columns: tuple[Column, ...]
    are_named: bool
    extra: ExtraColumns
    text_numbers: TextNumbers

    def fit(self, table: Table) -> pd.DataFrame:
        """Return the frame the model is to see: declared columns, declared types; raise `RequestError` (400)."""
        given, names = self._match(table)
        arrays: dict[Any, Any] = {}
        violations: list[Violation] = []
        as_text = table.is_text or self.text_numbers is TextNumbers.ACCEPT
        for column, name in zip(self.columns, names, strict=True):
            if name is None:
                continue
            values = given[name]
            if as_text:
                values = [from_text(column.scalar, value) for value in values]
            read = read_column(column.scalar, values, required=column.required)
            if isinstance(read, tuple):
                violations.append(Violation(column.name, read[1], read[0]))
            else:
                arrays[name] = read
        if violations:
            raise misfit(violations)
        return _frame(arrays, table)

    def _match(self, table: Table) -> tuple[dict[Any, list[Any]], list[Any]]:
        """Return the columns by name, and each declared one's name in them (None: optional and not sent)."""
        if self.are_named:
            given = self._by_name(table)
            names = [column.name if column.name in given else None for column in self.columns]
        else:
            given = dict(zip(table.names or range(len(table.columns)), table.columns, strict=True))
            names = (list(given) + [None] * len(self.columns))[: len(self.columns)]
        if violations := list(self._absent(names)) + list(self._surplus(given, names)):
            raise misfit(violations)
        return given, names

    def _by_name(self, table: Table) -> dict[Any, list[Any]]:
        if table.names is not None:
            return dict(zip(table.names, table.columns, strict=True))
        if len(self.columns) == 1 and len(table.columns) == 1:
            return {self.columns[0].name: table.columns[0]}
        wanted = ", ".join(column.name for column in self.columns)
        raise RequestError(Kind.SCHEMA, f"The rows have no column names; the model's columns are: {wanted}.")

    def _absent(self, names: Sequence[Any]) -> Iterator[Violation]:
        for column, name in zip(self.columns, names, strict=True):
            if name is None and column.required:
                yield Violation(column.name, f"is missing; {column.scalar.name} is wanted")

    def _surplus(self, given: Mapping[Any, Any], names: Sequence[Any]) -> Iterator[Violation]:
        if self.extra is ExtraColumns.REJECT:
            for name in given.keys() - set(names):
                yield Violation(str(name)[:_SHOWN_NAME], "is not in the signature")


def _frame(arrays: dict[Any, Any], table: Table) -> pd.DataFrame:
    index = None if table.index is None else pd.Index(table.index)
    dtypes = {array.dtype for array in arrays.values()}
    if len(dtypes) == 1 and isinstance(next(iter(dtypes)), np.dtype):
        # One block instead of one per column: 0.02 ms instead of 0.15 ms for ten columns.
        return pd.DataFrame(np.array(list(arrays.values())).T, columns=list(arrays), index=index, copy=False)
    return pd.DataFrame(arrays, index=index)


def columns_of(specs: Sequence[Spec], extra: ExtraColumns, text_numbers: TextNumbers) -> Columns | None:
    """Return the contract of a signature's inputs, or None when they are not all scalar columns."""
    if not specs or not all(spec["type"] in SCALARS for spec in specs):
        return None
    columns = tuple(
        Column(str(spec.get("name", position)), SCALARS[spec["type"]], spec.get("required", True))
        for position, spec in enumerate(specs)
    )
    return Columns(columns, all("name" in spec for spec in specs), extra, text_numbers)


def judge(spec: Spec, value: Any, where: str) -> Iterator[Violation]:
    """Yield where a JSON value does not fit a type that may be nested."""
    if value is None and not spec.get("required", True):
        return
    match spec["type"]:
        case "any":
            return
        case "array":
            yield from _judge_array(spec, value, where)
        case "object":
            yield from _judge_object(spec, value, where)
        case "map":
            if not isinstance(value, dict):
                yield Violation(where, "an object is wanted")
                return
            for item in value.values():
                yield from judge(spec["values"], item, where + "{}")
        case name:
            yield from _judge_scalar(SCALARS[name], value, where)


def _judge_scalar(scalar: Scalar, value: Any, where: str) -> Iterator[Violation]:
    if value is None:
        yield Violation(where, f"holds null; a value is required ({scalar.name})")
        return
    try:
        scalar.convert(value)
    except UnfitError as unfit:
        yield Violation(where, str(unfit))


def _judge_array(spec: Spec, value: Any, where: str) -> Iterator[Violation]:
    if not isinstance(value, list):
        yield Violation(where, "a list is wanted")
        return
    for item in value:
        yield from judge(spec["items"], item, where + "[]")


def _judge_object(spec: Spec, value: Any, where: str) -> Iterator[Violation]:
    if not isinstance(value, dict):
        yield Violation(where, "an object is wanted")
        return
    for name, inner in spec["properties"].items():
        if name in value:
            yield from judge(inner, value[name], f"{where}.{name}")
        elif inner.get("required", True):
            yield Violation(f"{where}.{name}", "is missing")
    for name in value.keys() - spec["properties"].keys():
        yield Violation(f"{where}.{str(name)[:_SHOWN_NAME]}", "is not in the signature")


def judge_params(specs: Sequence[Spec], params: Any) -> Iterator[Violation]:
    """Yield which inference params do not fit their declaration; unknown ones are ignored, as MLflow does."""
    if not isinstance(params, dict):
        yield Violation("params", "an object of names and values is wanted")
        return
    for spec in specs:
        if params.get(spec["name"]) is not None:
            wanted: Spec = {"type": "array", "items": spec} if spec.get("shape") else spec
            yield from judge(wanted, params[spec["name"]], f"params.{spec['name']}")
