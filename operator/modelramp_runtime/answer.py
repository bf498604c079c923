"""From raw predictions to the bytes of an answer: the one place every answer passes.

`outputs_of` gives names and values, which the metrics count and a policy can decide on; `encode` writes JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelramp_runtime.mlflow_api import NumpyEncoder, jsonable_of

Outputs = dict[str, npt.NDArray[Any]]

# The name of the only output of a model that gives no names.
PREDICTION = "prediction"


def outputs_of(predictions: Any) -> Outputs:
    """Return the predictions by output name, one array per output; nothing for what has no such shape."""
    match predictions:
        case pd.DataFrame():
            return {str(name): _array(predictions[name]) for name in predictions.columns}
        case pd.Series():
            return {str(predictions.name or PREDICTION): _array(predictions)}
        case Mapping():
            return {str(name): _array(np.atleast_1d(value)) for name, value in predictions.items() if _flat(value)}
        case np.ndarray() | list():
            return _unnamed_outputs_of(predictions)
    return {}


def _unnamed_outputs_of(predictions: npt.NDArray[Any] | list[Any]) -> Outputs:
    match predictions:
        case np.ndarray() if predictions.ndim == 1:
            return {PREDICTION: predictions}
        case np.ndarray() if predictions.ndim == 2:
            return {str(n): predictions[:, n] for n in range(predictions.shape[1])}
        case list() if predictions and all(isinstance(row, dict) for row in predictions):
            return outputs_of(pd.DataFrame(predictions))
        case list() if predictions and not any(isinstance(row, list | dict) for row in predictions):
            return {PREDICTION: _array(pd.Series(predictions))}
    return {}


def _array(values: Any) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.asarray(values)
    return array


def _flat(value: Any) -> bool:
    return np.isscalar(value) or (isinstance(value, list | np.ndarray) and np.ndim(value) == 1)


def finite_of(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """Return the finite numbers of a float array, and how many were not."""
    is_finite = np.isfinite(values)
    if is_finite.all():
        return values, 0
    return values[is_finite], int((~is_finite).sum())


@dataclass(frozen=True, slots=True)
class Encoded:
    """An answer as JSON, and how many of its numbers were NaN or infinite (they are null in it)."""

    body: bytes
    non_finite: int = 0


def encode(predictions: Any, *, is_bare: bool, decisions: Mapping[str, Any] | None = None) -> Encoded:
    """Return the answer in the shape of MLflow's server: rows of a frame as objects, arrays as lists.

    Decisions of a policy come beside the predictions, so that with them no answer is bare.
    Raises `TypeError` or `ValueError` for a value that JSON cannot hold.
    """
    jsonable = jsonable_of(predictions)
    try:
        return Encoded(_json(_body(jsonable, is_bare=is_bare, decisions=decisions)))
    except ValueError:
        plain = json.loads(json.dumps(jsonable, cls=NumpyEncoder))
    count = null_non_finite(plain)
    return Encoded(_json(_body(plain, is_bare=is_bare, decisions=decisions)), count)


def _body(jsonable: Any, *, is_bare: bool, decisions: Mapping[str, Any] | None) -> Any:
    if decisions is not None:
        return {"predictions": jsonable, "decisions": decisions}
    return jsonable if is_bare else {"predictions": jsonable}


def _json(body: Any) -> bytes:
    return json.dumps(body, cls=NumpyEncoder, allow_nan=False).encode()


def null_non_finite(plain: Any) -> int:
    """Replace each NaN and infinity in nested lists and dicts by None; return how many there were."""
    places = list(_non_finite(plain))
    for holder, key in places:
        holder[key] = None
    return len(places)


def _non_finite(holder: Any) -> Iterator[tuple[Any, Any]]:
    items = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
    for key, value in items:
        if isinstance(value, float) and not math.isfinite(value):
            yield holder, key
        else:
            yield from _non_finite(value)
