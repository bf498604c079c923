"""What the gates of one attempt look at, and how they say what they found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from modelramp.rollout.gates.spec import Gates
from modelramp.rollout.observation import Metric, ModelVersion, NoData, Rules, Value
from modelramp.rollout.status import GateResult

NOISE = 2.0**-49
"""What a subtraction or two leave of float noise, as a share of what they were done with."""
LONGEST_MESSAGE = 400
LONGEST_DETAIL = 120
DATASET = "dataset "


@dataclass(frozen=True, slots=True)
class Case:
    """`stable` is None while nothing is stable, and NoData where the registry no longer has the stable version."""

    gates: Gates
    candidate: ModelVersion
    stable: ModelVersion | NoData | None
    now: datetime
    rules: Value[Rules] | NoData | None = None
    """The business rules; None where there are to be none."""


def at_most(value: float, bound: float, scale: float = 0.0) -> bool:
    """Tell whether a value is at most a bound, which is inclusive: 0.95 - 0.9 is at most 0.05.

    `scale` is the greatest size of the numbers that the value came from. Noise is a share of it, never an amount of
    its own, so that a bound of 1e-12 means what it says.
    """
    return value <= bound + NOISE * max(abs(bound), scale)


def passes(gate: str, reason: str, message: str, value: str = "", bound: str = "", source: str = "") -> GateResult:
    """Return a result that lets the attempt go on, its texts cut to length."""
    value, bound, source = (cut(text, LONGEST_DETAIL) for text in (value, bound, source))
    return GateResult(gate, True, reason, cut(message, LONGEST_MESSAGE), value, bound, source)


def fails(gate: str, reason: str, message: str, value: str = "", bound: str = "", source: str = "") -> GateResult:
    """Return a result that ends the attempt, its texts cut to length."""
    return replace(passes(gate, reason, message, value, bound, source), passed=False)


def cut(text: str, length: int) -> str:
    """Return the text on one line, the end of one that is too long left out."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def spot(metric: Metric) -> str:
    """Return where a metric was found."""
    where = f"{DATASET}{metric.dataset}" if metric.dataset else "no dataset"
    return f"{metric.key} on {where}" + (f", run {metric.run}" if metric.run else "")


def number(value: float) -> str:
    """Return a number as people read it."""
    return f"{value:.6g}"
