"""The model servers that the operator's administrator has described: one YAML file each, read at the start.

A description that cannot be used is a value, not an error: it stops those who name it, and nobody else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from modelramp.api.problem import Problem, problem_of
from modelramp.api.profile import Profile, core_runtime
from modelramp.api.run import Runtimes
from modelramp.api.schema import structural
from modelramp.check import unknown_fields
from modelramp.rollout.runtime import BUILT_IN, CUSTOM, Runtime

SUFFIX = ".yaml"


def read_runtimes(directory: Path | None) -> Runtimes:
    """Return every description of a directory, by its file's name; raises OSError where it cannot be read."""
    files = sorted(directory.glob(f"*{SUFFIX}")) if directory else []
    return {path.stem: read_runtime(path.stem, path.read_bytes()) for path in files}


def read_runtime(name: str, text: bytes) -> Runtime | Problem:
    """Return the model server that a text describes, or what is wrong with it."""
    if name in BUILT_IN or name == CUSTOM:
        return Problem(name, "", "is built in: choose another name")
    try:
        described: Any = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError):
        return Problem(name, "", "is no YAML")
    if not isinstance(described, dict):
        return Problem(name, "", "must be a map")
    if unknown := next(unknown_fields(described, structural(Profile), name), None):
        return unknown
    try:
        return core_runtime(name, Profile.model_validate(described))
    except ValidationError as fault:
        return problem_of(fault, name)
