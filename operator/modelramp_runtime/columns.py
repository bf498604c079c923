"""What rules may look at: a request's columns and its answer's outputs under the names that rules use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelramp_policy.rules import Kind
from modelramp_runtime.answer import Outputs

_DECLARED = {
    **dict.fromkeys(("double", "float", "long", "integer"), Kind.NUMBER),
    "string": Kind.TEXT,
    "boolean": Kind.TRUTH,
}
_SEEN = {**dict.fromkeys("iuf", Kind.NUMBER), "b": Kind.TRUTH, "U": Kind.TEXT}


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of one answer by the rules' names, not yet turned into values; `unknown` rows have NaN outputs."""

    arrays: Mapping[str, Any]
    rows: int
    unknown: frozenset[int] = frozenset()

    def values(self, names: frozenset[str]) -> dict[str, Sequence[Any]]:
        """Return the values of the known rows, of the columns that are asked for, alone or with their group."""
        wanted = {name for name in self.arrays if name in names or name.partition(".")[0] in names}
        return {name: self._known(list(_plain(self.arrays[name]))) for name in wanted}

    def _known(self, values: list[Any]) -> list[Any]:
        return [value for row, value in enumerate(values) if row not in self.unknown] if self.unknown else values


def columns_of(data: Any, outputs: Outputs, optional: Sequence[str] = ()) -> Columns:
    """Return the columns of one answer; inputs only where each row of them has one row of outputs.

    `optional` are inputs that may be left out: they are null then.
    """
    rows = min((len(values) for values in outputs.values()), default=0)
    arrays: dict[str, Any] = {f"outputs.{name}": values for name, values in outputs.items()}
    if len(outputs) == 1:
        arrays["score"] = next(iter(outputs.values()))
    if isinstance(data, pd.DataFrame) and len(data) == rows:
        arrays |= {f"inputs.{name}": [None] * rows for name in optional}
        arrays |= {f"inputs.{name}": data[name] for name in data.columns}
    return Columns(arrays, rows, _not_finite(outputs))


def _not_finite(outputs: Outputs) -> frozenset[int]:
    floats = [values for values in outputs.values() if values.dtype.kind == "f" and values.ndim == 1]
    bad = [~np.isfinite(values) for values in floats]
    return frozenset(int(row) for mask in bad if mask.any() for row in np.flatnonzero(mask))


def _plain(values: Any) -> Iterator[Any]:
    for value in values.tolist() if hasattr(values, "tolist") else values:
        yield None if value is pd.NaT or value is pd.NA else value


def kinds_of(columns: Columns, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Kind]:
    """Return what each column is: of inputs as the signature declares them, of all else as it was seen."""
    declared = {f"inputs.{spec.get('name', number)}": _declared(spec) for number, spec in enumerate(inputs)}
    return {name: declared.get(name) or _seen(np.asarray(values)) for name, values in columns.arrays.items()}


def _declared(spec: Mapping[str, Any]) -> Kind:
    return _DECLARED.get(spec["type"], Kind.ANY) if spec.get("required", True) else Kind.ANY


def _seen(values: npt.NDArray[Any]) -> Kind:
    if values.dtype.kind == "O" and len(values) and all(isinstance(value, str) for value in values):
        return Kind.TEXT
    return _SEEN.get(values.dtype.kind, Kind.ANY) if values.ndim == 1 else Kind.ANY
