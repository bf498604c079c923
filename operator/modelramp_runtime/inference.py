"""The Open Inference Protocol, version 2, over REST: named tensors in, named tensors out.

Source of the shapes: https://github.com/open-inference/open-inference-protocol (REST, JSON data only).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelramp_runtime.answer import Encoded, null_non_finite
from modelramp_runtime.mlflow_api import NumpyEncoder
from modelramp_runtime.model import Input, Model
from modelramp_runtime.payload import malformed, read_json
from modelramp_runtime.refusal import Violation, misfit
from modelramp_runtime.scoring import Predicted

PLATFORM = "mlflow_pyfunc"
# MLflow's names of types, and numpy's where a signature is of tensors.
_OF_COLUMNS = {
    "boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64", "string": "BYTES",
    "binary": "BYTES", "datetime": "BYTES",
}  # fmt: skip
_OF_ARRAYS = {
    "bool": "BOOL", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64", "uint8": "UINT8",
    "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
DATATYPES = frozenset(_OF_ARRAYS.values()) | {"BYTES"}
POLICY_PREFIX = "policy."


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input as it was sent: `values` nested as `shape` says."""

    name: str
    shape: tuple[int, ...]
    values: list[Any]


@dataclass(frozen=True, slots=True)
class Inference:
    """A request to `/v2/models/NAME/infer`."""

    model_name: str
    model_version: str
    payload: Mapping[str, Any]

    @classmethod
    def parse(cls, model_name: str, model_version: str, body: bytes) -> Inference:
        """Read the JSON of a body; raise `RequestError` (400)."""
        payload = read_json(body)
        if not isinstance(payload.get("inputs"), list) or not payload["inputs"]:
            raise malformed("The body must have 'inputs', a list of tensors with name, shape, datatype and data.")
        if not isinstance(payload.get("id", ""), str):
            raise malformed("'id' must be text.")
        return cls(model_name, model_version, payload)

    def read(self, model: Model) -> Input:
        """Return the input: columns side by side, or tensors, as the model's signature has them."""
        tensors = [_tensor(number, item) for number, item in enumerate(self.payload["inputs"])]
        names = [tensor.name for tensor in tensors]
        if len(set(names)) != len(names):
            raise malformed("'inputs' names a tensor twice.")
        return model.read_payload({**_params(self.payload, model), **_as_mlflow(tensors, model)})

    def encode(self, given: Input, predicted: Predicted) -> Encoded:  # noqa: ARG002 the shape of the answer is its own
        """Return named tensors, the policy's decisions among them; NaN and infinity are null."""
        outputs = [_output(name, values) for name, values in self._chosen(predicted.outputs).items()]
        outputs += [_decided(name, values) for name, values in (predicted.decisions or {}).items()]
        if not outputs:
            raise ValueError("the predictions are no tensors")
        lost = sum(null_non_finite(output["data"]) for output in outputs)
        answer = {"model_name": self.model_name, "model_version": self.model_version, "outputs": outputs}
        if "id" in self.payload:
            answer["id"] = self.payload["id"]
        return Encoded(json.dumps(answer, cls=NumpyEncoder, allow_nan=False).encode(), lost)

    def _chosen(self, outputs: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        asked = self.payload.get("outputs") or []
        names = [item.get("name") for item in asked if isinstance(item, dict)]
        return {name: values for name, values in outputs.items() if name in names} if names else outputs


def _tensor(number: int, item: Any) -> Tensor:
    where = f"inputs[{number}]"
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise malformed(f"'{where}' must be a tensor with name, shape, datatype and data.")
    name, shape, data = item["name"][:64], item.get("shape"), item.get("data")
    if item.get("datatype") not in DATATYPES:
        raise misfit([Violation(name, f"its datatype must be one of {', '.join(sorted(DATATYPES))}")])
    if not isinstance(shape, list) or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise misfit([Violation(name, "its shape must be a list of whole numbers, such as [2, 1]")])
    if not isinstance(data, list):
        raise misfit([Violation(name, "has no data; a list is wanted (binary data is not served)")])
    flat = _flat(data)
    if len(flat) != math.prod(shape) or not flat:
        raise misfit([Violation(name, f"has {len(flat)} values, and its shape wants {math.prod(shape)}")])
    return Tensor(name, tuple(shape), _nested(flat, shape))


def _flat(data: list[Any]) -> list[Any]:
    """Return the values in order; a client may send them nested or not."""
    while data and all(isinstance(item, list) for item in data):
        data = [value for item in data for value in item]
    return data


def _nested(flat: list[Any], shape: Sequence[int]) -> list[Any]:
    for size in reversed(shape[1:]):
        flat = [flat[start : start + size] for start in range(0, len(flat), size)]
    return flat


def _as_mlflow(tensors: Sequence[Tensor], model: Model) -> dict[str, Any]:
    """Return the tensors as MLflow's own protocol has them: one reading, and one set of errors, for both."""
    if model.inputs and model.inputs[0]["type"] == "tensor":
        named = {tensor.name: tensor.values for tensor in tensors}
        alone = len(tensors) == 1 and "name" not in model.inputs[0]
        return {"inputs": tensors[0].values if alone else named}
    if len(tensors) == 1 and len(tensors[0].shape) == 2 and tensors[0].shape[1] > 1:
        columns = [spec["name"] for spec in model.inputs if "name" in spec]
        table: dict[str, Any] = {"data": tensors[0].values}
        return {"dataframe_split": table | ({"columns": columns} if columns else {})}
    return {"inputs": {tensor.name: _column(tensor) for tensor in tensors}}


def _column(tensor: Tensor) -> list[Any]:
    if len(tensor.shape) == 1:
        return tensor.values
    if len(tensor.shape) == 2 and tensor.shape[1] == 1:
        return [row[0] for row in tensor.values]
    wanted = "a column is [rows] or [rows, 1]"
    raise misfit([Violation(tensor.name, f"has the shape {list(tensor.shape)}; {wanted}")])


def _params(payload: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Return the request's parameters that the model declares; the others are the protocol's."""
    given = payload.get("parameters") or {}
    if not isinstance(given, dict):
        raise malformed("'parameters' must be an object.")
    known = {name: value for name, value in given.items() if name in model.param_names}
    return {"params": known} if known else {}


def _output(name: str, values: npt.NDArray[Any]) -> dict[str, Any]:
    datatype = _OF_ARRAYS.get(str(values.dtype), "BYTES")
    data = values.ravel().tolist()
    if values.dtype.kind == "O" and all(type(value) in (float, int) for value in data):
        datatype = "FP64"
    shape = list(values.shape) if values.ndim > 1 else [len(values), 1]
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def _decided(name: str, values: Sequence[Any]) -> dict[str, Any]:
    known = np.array([value for value in values if value is not None])
    datatype = _OF_ARRAYS.get(str(known.dtype), "BYTES")
    shape = [len(values), 1]
    return {"name": POLICY_PREFIX + name, "shape": shape, "datatype": datatype, "data": list(values)}


def metadata_of(model: Model, name: str, version: str) -> dict[str, Any]:
    """Return the model's metadata: its inputs and outputs as the signature has them."""
    return {
        "name": name,
        "versions": [version],
        "platform": PLATFORM,
        "inputs": [_described(spec, number) for number, spec in enumerate(model.inputs)],
        "outputs": [_described(spec, number) for number, spec in enumerate(model.outputs)],
    }


def _described(spec: Mapping[str, Any], number: int) -> dict[str, Any]:
    name = str(spec.get("name") or number)
    if spec["type"] == "tensor":
        tensor = spec["tensor-spec"]
        return {"name": name, "datatype": _OF_ARRAYS.get(tensor["dtype"], "BYTES"), "shape": list(tensor["shape"])}
    return {"name": name, "datatype": _OF_COLUMNS.get(spec["type"], "BYTES"), "shape": [-1, 1]}
