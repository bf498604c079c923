"""A request that gets no prediction: which status, which words, what to count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Why a request got no prediction; the label `kind` of `modelramp_request_errors_total`."""

    MALFORMED = "malformed"
    SCHEMA = "schema"
    MEDIA_TYPE = "media_type"
    TOO_LARGE = "too_large"
    SLOW_BODY = "slow_body"
    DISCONNECTED = "disconnected"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    MODEL = "model"
    POLICY = "policy"
    NON_FINITE = "non_finite"
    UNENCODABLE = "unencodable"
    INTERNAL = "internal"


# The status of each kind, and MLflow's own word for it where MLflow has one.
STATUS = {
    Kind.MALFORMED: (400, "BAD_REQUEST"),
    Kind.SCHEMA: (400, "INVALID_PARAMETER_VALUE"),
    Kind.MEDIA_TYPE: (415, "UNSUPPORTED_MEDIA_TYPE"),
    Kind.TOO_LARGE: (413, "PAYLOAD_TOO_LARGE"),
    Kind.SLOW_BODY: (408, "REQUEST_TIMEOUT"),
    Kind.DISCONNECTED: (499, "CANCELLED"),
    Kind.OVERLOADED: (429, "RESOURCE_EXHAUSTED"),
    Kind.TIMEOUT: (504, "DEADLINE_EXCEEDED"),
    Kind.MODEL: (500, "INTERNAL_ERROR"),
    Kind.POLICY: (500, "INTERNAL_ERROR"),
    Kind.NON_FINITE: (500, "INTERNAL_ERROR"),
    Kind.UNENCODABLE: (500, "INTERNAL_ERROR"),
    Kind.INTERNAL: (500, "INTERNAL_ERROR"),
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where the input does not fit the signature; never a value of it.

    `row` counts from 0 and is None when the whole column is meant.
    """

    column: str
    problem: str
    row: int | None = None

    def __str__(self) -> str:
        where = f"column '{self.column}'" if self.column else "the input"
        return f"{where}: {self.problem}" if self.row is None else f"{where}, row {self.row}: {self.problem}"


class RequestError(Exception):
    """The request gets no prediction. The message may be shown to the caller: it holds no row data."""

    def __init__(self, kind: Kind, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.violations = tuple(violations)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.kind][0]

    @property
    def error_code(self) -> str:
        """The word that MLflow's clients look for."""
        return STATUS[self.kind][1]


_SHOWN = 10


def misfit(violations: Sequence[Violation]) -> RequestError:
    """Return the refusal of an input that does not fit the signature: every column named, ten at most."""
    shown = violations[:_SHOWN]
    more = f"; and {len(violations) - _SHOWN} more" if len(violations) > _SHOWN else ""
    message = "The input does not fit the model's signature: " + "; ".join(map(str, shown)) + more
    return RequestError(Kind.SCHEMA, message, shown)
