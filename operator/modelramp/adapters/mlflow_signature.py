"""The signature of an MLmodel file: JSON in texts, as the core's types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modelramp.rollout.signature import Field, Kind, ListOf, MapOf, ObjectOf, Param, Plain, Signature, Tensor


class MalformedSignatureError(ValueError):
    """Says which part cannot be read; never its content."""


def read_signature(logged: Any) -> Signature | None:
    """Read what an MLmodel file has under `signature`; None where it has none. Raises MalformedSignatureError."""
    if not logged:
        return None
    if not isinstance(logged, Mapping):
        raise MalformedSignatureError("the signature is no object")
    read = {part: _read(part, logged.get(part)) for part in ("inputs", "outputs", "params")}
    if read["inputs"] is None and read["outputs"] is None and read["params"] is None:
        return None
    return Signature(read["inputs"], read["outputs"], read["params"] or ())


def _read(part: str, text: Any) -> Any:
    if text is None:
        return None
    try:
        listed = json.loads(text) if isinstance(text, str) else text
        return tuple((_param if part == "params" else _field)(each) for each in listed)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise MalformedSignatureError(f"the signature's {part} cannot be read") from None


def _field(column: Mapping[str, Any]) -> Field:
    return Field(str(column.get("name") or ""), _kind(column), bool(column.get("required", True)))


def _kind(described: Mapping[str, Any]) -> Kind:
    match described["type"]:
        case "tensor":
            spec = described["tensor-spec"]
            return Tensor(str(spec["dtype"]), tuple(int(length) for length in spec["shape"]))
        case "array":
            return ListOf(_kind(described["items"]))
        case "map":
            return MapOf(_kind(described["values"]))
        case "object":
            properties = sorted(described["properties"].items())
            return ObjectOf(
                tuple(Field(name, _kind(each), bool(each.get("required", True))) for name, each in properties)
            )
        case str(name):
            return Plain(name)
        case _:
            raise ValueError


def _param(described: Mapping[str, Any]) -> Param:
    kind, default = described["type"], json.dumps(described.get("default"), sort_keys=True)
    shape = described.get("shape")
    whole = kind if kind != "object" else json.dumps(described.get("properties"), sort_keys=True)
    return Param(str(described["name"]), str(whole), default, str(list(shape)) if shape else "")
