"""What a query answered over a stretch of time: for charts and for replaying a guardrail, never for a verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect

from modelramp.adapters.prometheus_access import Access
from modelramp.adapters.prometheus_answer import JUDGED_BY_BODY, refusal
from modelramp.rollout.observation import Failed, NoData, Reading, Value

_TIMEOUT = 10  # seconds, between two bytes


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its labels and its values by time, NaN and infinities as they were."""

    labels: Mapping[str, str] = field(hash=False)
    points: tuple[tuple[datetime, float], ...]


def read_range(
    access: Access, promql: str, start: datetime, end: datetime, step: timedelta
) -> Reading[tuple[Series, ...]]:
    """Return every series from start to end, in whole seconds, one value per step; NoData when there is none.

    Blocks for seconds: call it from a thread or a command. Source: /api/v1/query_range.
    """
    authorization = access.authorization()
    if isinstance(authorization, Failed):
        return authorization
    try:
        client = _client(access, authorization)
        found = client.custom_query_range(promql, start, end, f"{step.total_seconds():g}", timeout=_TIMEOUT)
        series = tuple(_series(one) for one in found)
    except (PrometheusApiClientException, OSError, ValueError, LookupError, TypeError) as fault:
        return _explained(fault)
    return Value(series) if series else NoData("EmptyResult", "no series answers the query")


def _client(access: Access, authorization: Mapping[str, str]) -> PrometheusConnect:
    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc
    session.max_redirects = 0
    session.verify = str(access.ca_file) if access.ca_file else True
    address = str(access.url).rstrip("/")
    return PrometheusConnect(address, headers=dict(authorization), session=session, retry=0, method="GET")


def _series(found: Mapping[str, Any]) -> Series:
    values: Sequence[tuple[float, str]] = found["values"]
    points = tuple((datetime.fromtimestamp(at, UTC), float(number)) for at, number in values)
    return Series(dict(found["metric"]), points)


def _refused(message: str) -> Failed:
    # The client's message is the only place of the status, and it holds the body too.
    found = re.match(r"HTTP Status Code (\d+)", message)
    status = int(found[1]) if found else 0
    if status in JUDGED_BY_BODY:
        return Failed("QueryRefused", "Prometheus refused the query or the range")
    return refusal(status)


def _explained(fault: Exception) -> Failed:
    match fault:
        case PrometheusApiClientException():
            return _refused(str(fault))
        case requests.TooManyRedirects():
            return Failed("Redirected", "redirects are not followed; is it a login page?")
        case requests.Timeout():
            return Failed("Timeout", f"no answer within {_TIMEOUT} s")
        case requests.JSONDecodeError():
            return Failed("NotPrometheus", "the answer is no JSON; is it a login page?")
        case OSError():
            return Failed("Unreachable", "there was no connection, or TLS refused it")
        case _:
            return Failed("NotPrometheus", "the answer is not in Prometheus' format")
