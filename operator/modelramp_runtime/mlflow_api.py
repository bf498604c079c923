# ruff: noqa: SLF001  MLflow's server keeps these functions private; this file is the only one that knows them
"""The parts of MLflow that the server stands on, each with a type; nothing else here knows MLflow's inside."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.models.utils
import mlflow.pyfunc
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.utils import serving_data_parser
from mlflow.utils import proto_json_utils
from mlflow.version import VERSION

__all__ = ["VERSION", "MlflowException"]

_pyfunc: Any = mlflow.pyfunc
_utils: Any = mlflow.models.utils
_server: Any = scoring_server
_parser: Any = serving_data_parser
_json: Any = proto_json_utils

NumpyEncoder = proto_json_utils.NumpyEncoder


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded pyfunc. `inputs` and `params` are the signature's parts as in MLmodel; empty when not given."""

    pyfunc: Any
    flavor: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    params: list[dict[str, Any]]
    input_schema: Any
    params_schema: Any
    has_type_hints: bool
    is_enforced: bool
    predict: Callable[..., Any]


def load(directory: Path) -> Loaded:
    """Load the model of a directory; raises whatever its flavor raises."""
    pyfunc = _pyfunc.load_model(str(directory))
    meta = pyfunc.metadata
    inputs, outputs, params = meta.get_input_schema(), meta.get_output_schema(), meta.get_params_schema()
    is_hinted = bool(meta._is_signature_from_type_hint())
    config = meta.flavors[_pyfunc.FLAVOR_NAME]
    return Loaded(
        pyfunc=pyfunc,
        flavor=next((name for name in meta.flavors if name != _pyfunc.FLAVOR_NAME), _pyfunc.FLAVOR_NAME),
        inputs=inputs.to_dict() if inputs is not None else [],
        outputs=outputs.to_dict() if outputs is not None else [],
        params=params.to_dict() if params is not None else [],
        input_schema=inputs,
        params_schema=params,
        has_type_hints=is_hinted or bool(meta._is_type_hint_from_example()),
        is_enforced=inputs is not None and not is_hinted,
        predict=getattr(pyfunc._model_impl, config.get("predict_fn", "predict")),
    )


def read_json(payload: dict[str, Any], loaded: Loaded) -> tuple[Any, Any]:
    """Return the data and params of a JSON request; the errors may quote the data."""
    parsed = _server._parse_json_data(payload, loaded.pyfunc.metadata, loaded.input_schema)
    return parsed.data, parsed.params


def read_csv(body: bytes, loaded: Loaded) -> Any:
    """Return the frame of a CSV request; the errors may quote the data."""
    return _server.parse_csv_input(io.BytesIO(body), loaded.input_schema)


def read_parquet(body: bytes) -> Any:
    """Return the frame of a Parquet request; the errors may quote the data."""
    return _server.parse_parquet_input(io.BytesIO(body))


def enforce(data: Any, loaded: Loaded) -> Any:
    """Return the data as the signature wants it; the errors may quote the data."""
    return _utils._enforce_schema(data, loaded.input_schema) if loaded.is_enforced else data


def enforce_params(params: dict[str, Any], loaded: Loaded) -> dict[str, Any]:
    """Return the params with their defaults; the errors may quote them."""
    enforced: dict[str, Any] = _utils._enforce_params_schema(params, loaded.params_schema)
    return enforced


def is_bare(payload: dict[str, Any]) -> bool:
    """Whether a request has one of the unwrapped forms: `messages`, `prompt`, `input`."""
    return bool(_parser.is_unified_llm_input(payload))


def jsonable_of(predictions: Any) -> Any:
    """Return predictions as the scoring server shapes them: a frame's rows as objects, arrays as lists."""
    return _json._get_jsonable_obj(predictions, pandas_orient="records")
