"""What Prometheus' answer to an instant query is worth: one finite, fresh number, or the reason why not.

The format: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from modelramp.rollout.observation import Failed, NoData, Reading, Value

# Every number of the document itself is a time; as a float none is too long to be read.
_DECODER = json.JSONDecoder(parse_int=float)
_NUMBER = re.compile(r"NaN|[+-]?(?:Inf|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)", re.ASCII)
_ERROR_TYPES = frozenset(("bad_data", "execution", "cost_limit", "canceled", "timeout", "internal"))
_AGES = 1e9  # seconds; a message is short whatever the server says
JUDGED_BY_BODY = frozenset((HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY))
"""The statuses whose body is read; of all others the status says enough."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `body` is empty where the status is not JUDGED_BY_BODY."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class _Sample:
    evaluated_at: float
    number: str


def judge(answer: Answer, asked_at: datetime, freshness: timedelta) -> Reading[float]:
    """Return the one number that was answered, or why there is none to rely on."""
    if answer.status not in JUDGED_BY_BODY:
        return refusal(answer.status)
    match document := _document(answer.body):
        case Failed():
            return document
        case {"status": "success", "data": {"resultType": str(kind), "result": result}} if answer.status == 200:
            sample = _sample(kind, result)
            if document.get("warnings") and not isinstance(sample, Failed):
                return Failed("Warnings", "the answer came with warnings: it may lack a part of the data")
            return _number(sample, asked_at, freshness) if isinstance(sample, _Sample) else sample
        case {"status": "error", "errorType": str(kind)} if kind in _ERROR_TYPES:
            return Failed("QueryRefused", f"Prometheus refused the query: {kind}")
        case _:
            return Failed("NotPrometheus", f"answered {answer.status} and JSON that is not Prometheus'")


def refusal(status: int) -> Failed:
    """Return what a status says that is not JUDGED_BY_BODY."""
    match status:
        case 401 | 403:
            return Failed("Unauthorized", f"answered {status}: the token is missing, wrong or lacks the right")
        case 429:
            return Failed("Throttled", "answered 429: too many queries")
        case _ if 300 <= status < 400:
            return Failed("Redirected", f"answered {status}: redirects are not followed; is it a login page?")
        case _ if status >= 500:
            return Failed("ServerError", f"answered {status}")
        case _:
            return Failed("NotPrometheus", f"answered {status}: there is no query API at this address")


def _document(body: bytes) -> dict[str, Any] | Failed:
    text = body.strip()
    try:
        document = _DECODER.decode(text.decode())
    except (ValueError, RecursionError):
        if text.startswith(b"{") and not text.endswith(b"}"):
            return Failed("Truncated", "the answer broke off")
        return Failed("NotPrometheus", "the answer is no JSON; is it a login page?")
    return document if isinstance(document, dict) else {}


def _sample(kind: str, result: object) -> _Sample | NoData | Failed:
    match kind, result:
        case ("vector", []):
            return NoData("EmptyResult", "no series answers the query")
        case ("vector", [_, _, *_]):
            return Failed("SeveralSeries", "several series answer the query; aggregate them: sum(...), max(...)")
        case ("vector", [{"histogram": _}]):
            return Failed("WrongType", "the answer is a native histogram, not a number; use histogram_quantile(...)")
        case ("vector", [{"value": [float(at), str(number)]}]) | ("scalar", [float(at), str(number)]):
            return _Sample(at, number)
        case ("matrix" | "string", _):
            return Failed("WrongType", f"the answer is a {kind}, not one number")
        case _:
            return Failed("NotPrometheus", "the answer is not in Prometheus' format")


def _number(sample: _Sample, asked_at: datetime, freshness: timedelta) -> Reading[float]:
    age, allowed = asked_at.timestamp() - sample.evaluated_at, freshness.total_seconds()
    if not _NUMBER.fullmatch(sample.number):
        return Failed("NotPrometheus", "the answer's value is no number")
    if not age <= allowed:
        return Failed("Stale", f"answered as of {min(age, _AGES):.0f} s ago: a cache, or a clock that is off")
    if age < -allowed:
        return Failed("ClocksDiffer", f"answered as of {min(-age, _AGES):.0f} s from now: compare the two clocks")
    return _finite(float(sample.number))


def _finite(number: float) -> Reading[float]:
    if math.isnan(number):
        return NoData("NotANumber", "the answer is NaN: most often 0/0, no traffic yet")
    if math.isinf(number):
        return Failed("Infinite", f"the answer is {number:+}: most often a division by 0")
    return Value(number)
