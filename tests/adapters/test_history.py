"""Range queries: what a chart shows, and every failure as a value."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from modelramp.adapters.history import read_range
from modelramp.adapters.prometheus_access import Access
from modelramp.rollout.observation import Failed, NoData, Value
from tests.adapters.prometheus_peer import SECRET, Talk, http, reset, saying, serving
from tests.prometheus_server import PrometheusServer

STEP = timedelta(seconds=1)


def test_values_come_by_series_and_time(prometheus: PrometheusServer) -> None:
    exporter, began = prometheus.exporter, datetime.now(UTC)
    exporter.grow({'steps{version="8"}': 1.0, 'steps{version="7"}': 10.0})
    exporter.await_seconds_of_scrapes(3)
    found = read_range(Access(prometheus.url), "steps", began, datetime.now(UTC), STEP)
    assert isinstance(found, Value)
    by_version = {series.labels["version"]: series.points for series in found.value}
    assert set(by_version) == {"7", "8"}
    times, values = zip(*by_version["8"], strict=True)
    assert all(later - earlier == STEP for earlier, later in pairwise(times))
    assert values[-1] > values[0]
    assert [value * 10 for value in values] == pytest.approx([value for _, value in by_version["7"]])


def test_nothing_is_no_data(prometheus: PrometheusServer) -> None:
    now = datetime.now(UTC)
    found = read_range(Access(prometheus.url), "absent_metric", now - STEP, now, STEP)
    assert found == NoData("EmptyResult", "no series answers the query")


@pytest.mark.parametrize(("promql", "days"), [("sum(", 0), ("up", 30)])
def test_a_query_or_range_that_is_refused_is_a_value(prometheus: PrometheusServer, promql: str, days: int) -> None:
    now = datetime.now(UTC)
    found = read_range(Access(prometheus.url), promql, now - timedelta(days=days), now, STEP)
    assert found == Failed("QueryRefused", "Prometheus refused the query or the range")


FAILURES: dict[str, tuple[str, Talk]] = {
    "login page": ("NotPrometheus", saying(http(b"<html>" + SECRET.encode()))),
    "another API": ("NotPrometheus", saying(http(b'{"data": "s3cret"}'))),
    "a vector": ("NotPrometheus", saying(http(b'{"data": {"result": [{"metric": {}, "value": [0, "1"]}]}}'))),
    "no numbers": ("NotPrometheus", saying(http(b'{"data": {"result": [{"metric": {}, "values": [[0, "s3cret"]]}]}}'))),
    "redirect": ("Redirected", saying(http(b"", f"Location: https://sso.test/?{SECRET}", status="302 Found"))),
    "unauthorized": ("Unauthorized", saying(http(SECRET.encode(), status="401 Unauthorized"))),
    "unavailable": ("ServerError", saying(http(SECRET.encode(), status="503 Service Unavailable"))),
    "reset": ("Unreachable", reset),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_a_failure_is_named_and_holds_no_body(case: str) -> None:
    reason, talk = FAILURES[case]
    now = datetime.now(UTC)
    async with serving(talk) as peer:
        found = await asyncio.to_thread(read_range, Access(peer.url), "up", now - STEP, now, STEP)
    assert isinstance(found, Failed)
    assert found.reason == reason
    assert SECRET not in found.message


async def test_the_token_goes_with_the_query_and_no_proxy_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("a-token")
    now = datetime.now(UTC)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with serving(saying(http(b'{"data": {"result": []}}'))) as peer:
        access = Access(peer.url, token_file=tmp_path / "token")
        found = await asyncio.to_thread(read_range, access, "up", now - STEP, now, STEP)
    assert isinstance(found, NoData)
    assert b"Authorization: Bearer a-token\r\n" in peer.requests[0]
