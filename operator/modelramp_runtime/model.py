"""One loaded pyfunc model: its input read against its signature, its predictions, its own faults.

Columns of scalars, by far the most models, are read here: MLflow's reading costs 2 ms a row, casts 40.5 to 40
and quotes the row in its errors. Tensors and nested types are judged here, then converted by MLflow's functions.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelramp_runtime import mlflow_api
from modelramp_runtime.contract import columns_of, judge, judge_params
from modelramp_runtime.mlflow_api import Loaded, MlflowException
from modelramp_runtime.payload import (
    CSV,
    FORMATS,
    JSON,
    Table,
    malformed,
    read_json,
    table_of,
    table_of_csv,
    table_of_parquet,
)
from modelramp_runtime.refusal import RequestError, Violation, misfit
from modelramp_runtime.settings import ExtraColumns, TextNumbers
from modelramp_runtime.tensors import judge_tensors


@dataclass(frozen=True, slots=True)
class Input:
    """What the model's predict gets. `is_bare`: the answer goes out without the `predictions` around it."""

    data: Any
    params: dict[str, Any] | None
    is_bare: bool = False


class Model:
    """A pyfunc model, its contract, and the one way to call it."""

    def __init__(self, loaded: Loaded, extra: ExtraColumns, text_numbers: TextNumbers) -> None:
        self._loaded = loaded
        self.flavor = loaded.flavor
        self.inputs, self.outputs = loaded.inputs, loaded.outputs
        self.param_names = frozenset(spec["name"] for spec in loaded.params)
        self._columns = None if loaded.has_type_hints else columns_of(loaded.inputs, extra, text_numbers)
        params = inspect.signature(loaded.predict).parameters.get("params")
        self._takes_params = params is not None and params.kind is not inspect.Parameter.VAR_KEYWORD

    def read(self, media_type: str, body: bytes) -> Input:
        """Return the input that a request body holds; raise `RequestError` (400) that names the column."""
        if media_type != JSON:
            return Input(self._read_file(media_type, body), self._fit_params(None))
        return self.read_payload(read_json(body))

    def read_payload(self, payload: dict[str, Any]) -> Input:
        """Return the input that the JSON of MLflow's protocol holds; raise `RequestError` (400)."""
        is_bare = not any(name in payload for name in FORMATS) and mlflow_api.is_bare(payload)
        if self._columns is None:
            return self._read_with_mlflow(payload, is_bare=is_bare)
        if is_bare:
            names = {spec["name"] for spec in self._loaded.params}
            row = {name: value for name, value in payload.items() if name not in names}
            table = Table(list(row), [[value] for value in row.values()], 1)
            return Input(self._columns.fit(table), self._fit_params(payload), is_bare)
        return Input(self._columns.fit(table_of(payload)), self._fit_params(payload.get("params")))

    def _read_file(self, media_type: str, body: bytes) -> Any:
        # Read here in any case: MLflow's errors quote the data.
        table = table_of_csv(body) if media_type == CSV else table_of_parquet(body)
        if self._columns is not None:
            return self._columns.fit(table)
        try:
            read = mlflow_api.read_csv(body, self._loaded) if media_type == CSV else mlflow_api.read_parquet(body)
            return mlflow_api.enforce(read, self._loaded)
        except Exception as error:
            raise self._unfit() from error

    def _read_with_mlflow(self, payload: dict[str, Any], *, is_bare: bool) -> Input:
        if not is_bare:
            self._judge(payload)
        try:
            data, params = mlflow_api.read_json(payload, self._loaded)
            data = mlflow_api.enforce(data, self._loaded)
        except Exception as error:
            raise self._unfit() from error
        return Input(data, self._fit_params(params), is_bare)

    def _judge(self, payload: dict[str, Any]) -> None:
        """Refuse what MLflow would cast with a loss, for the signatures that it reads itself."""
        if self._loaded.has_type_hints or not self.inputs:
            return
        is_tensor = self.inputs[0]["type"] == "tensor"
        found = judge_tensors(self.inputs, payload) if is_tensor else self._judge_nested(table_of(payload))
        if violations := list(found):
            raise misfit(violations)

    def _judge_nested(self, table: Table) -> Iterator[Violation]:
        given = dict(zip(table.names or range(len(table.columns)), table.columns, strict=True))
        for position, spec in enumerate(self.inputs):
            name = spec.get("name", position)
            if name not in given and spec.get("required", True):
                yield Violation(str(name), f"is missing; {spec['type']} is wanted")
            for value in given.get(name, ()):
                yield from judge(spec, value, str(name))

    def _fit_params(self, params: Any) -> dict[str, Any] | None:
        specs = self._loaded.params
        if not specs:
            return None if params is None else {}
        if violations := list(judge_params(specs, {} if params is None else params)):
            raise misfit(violations)
        names = {spec["name"] for spec in specs}
        known = {name: value for name, value in (params or {}).items() if name in names}
        try:
            return mlflow_api.enforce_params(known, self._loaded)
        except MlflowException as error:
            raise misfit([Violation("params", f"do not fit {self._loaded.params_schema}")]) from error

    def _unfit(self) -> RequestError:
        if not self.inputs:
            return malformed(f"The body cannot be read as any of {', '.join(FORMATS)}.")
        return misfit([Violation("", f"{self._loaded.input_schema} is wanted")])

    def predict(self, given: Input) -> Any:
        """Return the raw predictions; raises what the model raises, and `RequestError` (400) for type hints."""
        if self._columns is not None:
            # Past MLflow's own enforcement, which would only do again, in 0.8 ms, what was done.
            if self._takes_params:
                return self._loaded.predict(given.data, params=given.params)
            return self._loaded.predict(given.data)
        try:
            return self._loaded.pyfunc.predict(given.data, params=given.params)
        except MlflowException as error:
            # With type hints MLflow looks at the data inside predict.
            if self._loaded.has_type_hints and error.error_code == "INVALID_PARAMETER_VALUE":
                raise self._unfit() from error
            raise


def load_model(directory: Path, extra: ExtraColumns, text_numbers: TextNumbers) -> Model:
    """Load the model of a directory; raises whatever the model's flavor raises."""
    # Models may ask for this, as MLflow's own server sets it.
    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
    return Model(mlflow_api.load(directory), extra, text_numbers)
