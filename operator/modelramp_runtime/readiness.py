"""Whether this server should get requests, and why not: ready only after one real prediction."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from modelramp_runtime.logs import fields
from modelramp_runtime.payload import JSON
from modelramp_runtime.scalars import SCALARS

LOG = logging.getLogger("modelramp.readiness")


class Phase(StrEnum):
    """Where the server stands between its start and its end."""

    TRYING = "Trying"
    READY = "Ready"
    FAILED = "Failed"
    DRAINING = "Draining"


@dataclass(slots=True)
class Readiness:
    """The phase and the reason that `/ready` tells. Changes only forward: a draining server stays that."""

    phase: Phase = Phase.TRYING
    reason: str = "the first prediction is being made"

    def passed(self, source: str) -> None:
        """Note that the first prediction was made, and from which input."""
        if self.phase is Phase.TRYING:
            self.phase, self.reason = Phase.READY, f"a prediction was made from the {source}"

    def waits(self, reason: str) -> None:
        """Note what is missing for the first answer."""
        if self.phase is Phase.TRYING:
            self.reason = reason

    def failed(self, reason: str) -> None:
        """Note that the first prediction could not be made."""
        if self.phase is Phase.TRYING:
            self.phase, self.reason = Phase.FAILED, reason

    def draining(self) -> None:
        """Note that the server is going away."""
        self.phase, self.reason = Phase.DRAINING, "the server is shutting down"


@dataclass(frozen=True, slots=True)
class Trial:
    """The first request: its body, and where it comes from, as a person says it."""

    source: str
    body: bytes
    media_type: str = JSON


class NoTrialError(Exception):
    """The model has neither an input example nor a signature."""


def read_trial(directory: Path, inputs: list[Mapping[str, Any]]) -> Trial:
    """Return the logged input example as a request, or a row made up from the signature."""
    example = directory / "serving_input_example.json"
    if example.is_file():
        return Trial("logged input example", example.read_bytes())
    if not inputs:
        raise NoTrialError("the model has neither an input example nor a signature to make a prediction from")
    LOG.warning("no input example was logged with the model; trying a row made up from its signature", extra=fields())
    return Trial("signature's made-up row", json.dumps(made_up(inputs)).encode())


def made_up(inputs: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a request of one row that fits a signature."""
    if inputs[0]["type"] == "tensor":
        tensors = {spec.get("name"): _ones(spec["tensor-spec"]) for spec in inputs}
        return {"inputs": tensors.get(None, tensors)}
    row = [_example(spec) for spec in inputs]
    if all("name" in spec for spec in inputs):
        return {"dataframe_split": {"columns": [spec["name"] for spec in inputs], "data": [row]}}
    return {"dataframe_split": {"data": [row]}}


def _ones(tensor: Mapping[str, Any]) -> Any:
    kind = str(tensor["dtype"])
    value: Any = {"bool": True, "object": "a"}.get(kind, "a" if kind.startswith(("str", "<U")) else 1)
    for size in reversed(tensor["shape"]):
        value = [value] * (1 if size == -1 else size)
    return value


def _example(spec: Mapping[str, Any]) -> Any:
    match spec["type"]:
        case "array":
            return [_example(spec["items"])]
        case "map":
            return {"a": _example(spec["values"])}
        case "object":
            return {name: _example(inner) for name, inner in spec["properties"].items()}
        case "any":
            return "a"
        case name:
            return SCALARS[name].example
