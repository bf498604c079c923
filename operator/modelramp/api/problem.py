"""Why something that a user wrote cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError


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
    first = fault.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Input ")
    path = _path(root, first["loc"]) + first.get("ctx", {}).get("at", "")
    value = first["input"]
    # What is set in the environment may be a secret.
    is_shown = isinstance(value, str | int | float) and "env" not in first["loc"] and first["type"] != "missing"
    return Problem(path, str(value)[:64] if is_shown else "", message)


def _path(root: str, location: Sequence[int | str]) -> str:
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
