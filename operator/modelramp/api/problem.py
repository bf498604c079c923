"""Why something that a user wrote cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a spec cannot be used: the field's path, its value where that is short and no secret, and what is wrong."""

    field: str
    value: str
    message: str

    def __str__(self) -> str:
        """Return one line for a condition."""
        value = "" if not self.value or self.value in self.message else f"{self.value}: "
        return f"{self.field}: {value}{self.message}"


def problem_of(fault: ValidationError, root: str) -> Problem:
    """Return the first thing that is wrong below the field `root`."""
    return problems_of(fault, root)[0]


def problems_of(fault: ValidationError, root: str) -> list[Problem]:
    """Return everything that is wrong below the field `root`."""
    return [_problem(error, root) for error in fault.errors(include_url=False)]


def _problem(error: ErrorDetails, root: str) -> Problem:
    path = _path(root, error["loc"]) + error.get("ctx", {}).get("at", "")
    value = error["input"]
    # What is set in the environment may be a secret.
    is_shown = isinstance(value, str | int | float) and "env" not in error["loc"] and error["type"] != "missing"
    return Problem(path, str(value)[:64] if is_shown else "", error["msg"].removeprefix("Input "))


def _path(root: str, location: Sequence[int | str]) -> str:
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
