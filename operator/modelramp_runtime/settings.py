"""What the environment says about one model server, read once and never changed."""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

KEEPALIVE = 3900
"""Seconds: longer than Envoy's hour, so that the proxy and not the server ends an idle connection.

A request sent into a connection that is being closed is a lost request."""
# Edges where latency limits are usually drawn: a limit between two edges cannot be judged from a histogram.
DURATION_BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1),
    *(0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
# Twentieths between 0 and 1, where scores live, and decades outside, for regressions.
PREDICTION_BUCKETS = (
    *(-1000.0, -100.0, -10.0, -1.0),
    *(n / 20 for n in range(21)),
    *(2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 1e4, 1e5, 1e6),
)


class SettingsError(Exception):
    """One line per variable that cannot be used: its name, its value, what would be right."""


class NonFinite(StrEnum):
    """What becomes of an answer with NaN or infinity in it, which JSON cannot hold."""

    ERROR = "error"
    PASS = "pass"  # noqa: S105 a word of the setting, not a secret


class ExtraColumns(StrEnum):
    """What becomes of a column that the signature does not know."""

    IGNORE = "ignore"
    REJECT = "reject"


class TextNumbers(StrEnum):
    """What becomes of "55.5" where the signature wants a number."""

    REJECT = "reject"
    ACCEPT = "accept"


class Preload(StrEnum):
    """Whether the model is loaded once, before the workers are forked, or by each of them."""

    YES = "yes"
    NO = "no"


class Asks(StrEnum):
    """For which kept answers another version's are asked for."""

    COPIES = "copies"
    ALL = "all"


class LogRequests(StrEnum):
    """Which answers get a log line of their own."""

    ALL = "all"
    ERRORS = "errors"


class LogLevel(StrEnum):
    """The least important line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Settings:
    """One model server. Seconds and bytes where the names say so."""

    model_name: str
    model_version: str
    model_run_id: str
    model_dir: Path
    policy_dir: Path | None
    policy_kept_dir: Path | None
    host: str
    port: int
    workers: int
    preload: Preload
    threads: int
    queue: int
    max_body_bytes: int
    timeout_seconds: float
    drain_seconds: float
    shutdown_seconds: float
    keepalive_seconds: int
    non_finite: NonFinite
    extra_columns: ExtraColumns
    text_numbers: TextNumbers
    duration_buckets: tuple[float, ...]
    prediction_buckets: tuple[float, ...]
    max_classes: int
    max_outputs: int
    log_level: LogLevel
    log_requests: LogRequests
    capture_percent: float
    capture_tolerance: float
    capture_peers: str
    capture_asks: Asks


@dataclass(slots=True)
class Environment:
    """The variables of a process, and what was found wrong with them."""

    variables: Mapping[str, str]
    problems: list[str]

    def read(self, name: str, default: T | None, parse: Callable[[str], T]) -> T:
        """Return the variable parsed, or the default; note what is wrong with it for `complain`."""
        text = self.variables.get(name, "").strip()
        if not text and default is not None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.problems.append(f"{name}={text!r}: {error}" if text else f"{name} is not set: {error}")
            return default  # type: ignore[return-value]  # never used: `complain` raises

    def complain(self) -> None:
        """Raise `SettingsError` when any variable was wrong."""
        if self.problems:
            raise SettingsError("; ".join(self.problems))


def text(wanted: str, allowed: Callable[[str], bool] = bool) -> Callable[[str], str]:
    """Return a parser of text that `allowed` must hold for; `wanted` says what would be right."""

    def parse(value: str) -> str:
        if not allowed(value):
            raise ValueError(f"must be {wanted}")
        return value

    return parse


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`."""

    def parse(value: str) -> int:
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and low <= int(value) <= high):
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def number(low: float, high: float, unit: str = "") -> Callable[[str], float]:
    """Return a parser of numbers from `low` to `high`; a fraction is allowed."""

    def parse(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if not low <= found <= high:
            raise ValueError(f"must be {unit}a number from {low:g} to {high:g}")
        return found

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of seconds from `low` to `high`."""
    return number(low, high, "seconds, ")


def address(value: str) -> str:
    """Parse `HOST:PORT`."""
    host, _, port = value.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError("must be a host and a port, such as fraud-peers:8080")
    return value


def one_of(kind: type[E]) -> Callable[[str], E]:
    """Return a parser of the words of `kind`."""

    def parse(value: str) -> E:
        try:
            return kind(value.lower())
        except ValueError:
            raise ValueError(f"must be one of {', '.join(kind)}") from None

    return parse


def edges(value: str) -> tuple[float, ...]:
    """Parse bucket edges such as `0.1,0.5,1`: finite and ascending."""
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    ascending = all(a < b for a, b in itertools.pairwise(numbers))
    if not numbers or not ascending or not all(map(math.isfinite, numbers)):
        raise ValueError("must be ascending finite numbers with commas between them, such as 0.1,0.5,1")
    return numbers


def _threads(workers: int) -> int:
    # More prediction threads than this only fight over the interpreter's lock.
    return max(1, min(4, len(os.sched_getaffinity(0)) // workers))


def read_settings(variables: Mapping[str, str]) -> Settings:
    """Return the settings that the environment gives; raise `SettingsError` that names every bad variable."""
    env = Environment(variables, [])
    read = env.read
    policy_dir, kept_dir = (variables.get(name, "").strip() for name in ("POLICY_DIR", "POLICY_KEPT_DIR"))
    workers = read("MODELRAMP_WORKERS", 1, whole(1, 64))
    settings = Settings(
        model_name=read("MODEL_NAME", None, text("the registered model's name")),
        model_version=read("MODEL_VERSION", None, text("the registry's version number", str.isdigit)),
        model_run_id=variables.get("MODEL_RUN_ID", ""),
        model_dir=Path(read("MODEL_DIR", "/mnt/model", text("a path"))),
        policy_dir=Path(policy_dir) if policy_dir else None,
        policy_kept_dir=Path(kept_dir) if policy_dir and kept_dir else None,
        host=read("HOST", "0.0.0.0", text("an address to listen on")),  # noqa: S104 a pod's own address
        port=read("PORT", 8080, whole(1, 65535)),
        workers=workers,
        preload=read("MODELRAMP_PRELOAD", Preload.YES, one_of(Preload)),
        threads=read("MODELRAMP_THREADS", _threads(workers), whole(1, 256)),
        queue=read("MODELRAMP_QUEUE", 128, whole(0, 100_000)),
        max_body_bytes=read("MODELRAMP_MAX_BODY_BYTES", 16 * 2**20, whole(1, 2**32)),
        timeout_seconds=read("MODELRAMP_TIMEOUT_SECONDS", 60.0, seconds(0.001, 86_400)),
        drain_seconds=read("MODELRAMP_DRAIN_SECONDS", 5.0, seconds(0, 3600)),
        shutdown_seconds=read("MODELRAMP_SHUTDOWN_SECONDS", 30.0, seconds(0, 3600)),
        keepalive_seconds=read("MODELRAMP_KEEPALIVE_SECONDS", KEEPALIVE, whole(1, 86_400)),
        non_finite=read("MODELRAMP_NON_FINITE", NonFinite.ERROR, one_of(NonFinite)),
        extra_columns=read("MODELRAMP_EXTRA_COLUMNS", ExtraColumns.IGNORE, one_of(ExtraColumns)),
        text_numbers=read("MODELRAMP_TEXT_NUMBERS", TextNumbers.REJECT, one_of(TextNumbers)),
        duration_buckets=read("MODELRAMP_DURATION_BUCKETS", DURATION_BUCKETS, edges),
        prediction_buckets=read("MODELRAMP_PREDICTION_BUCKETS", PREDICTION_BUCKETS, edges),
        max_classes=read("MODELRAMP_MAX_CLASSES", 50, whole(1, 1000)),
        max_outputs=read("MODELRAMP_MAX_OUTPUTS", 20, whole(1, 1000)),
        log_level=read("MODELRAMP_LOG_LEVEL", LogLevel.INFO, one_of(LogLevel)),
        log_requests=read("MODELRAMP_LOG_REQUESTS", LogRequests.ERRORS, one_of(LogRequests)),
        capture_percent=read("MODELRAMP_CAPTURE_PERCENT", 0.0, number(0, 100)),
        capture_tolerance=read("MODELRAMP_CAPTURE_TOLERANCE", 0.0, number(0, sys.float_info.max)),
        capture_peers=read("MODELRAMP_CAPTURE_PEERS", "", address),
        capture_asks=read("MODELRAMP_CAPTURE_ASKS", Asks.COPIES, one_of(Asks)),
    )
    env.complain()
    return settings
