"""The port and the history against a real Prometheus: what only the server itself can say."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.prometheus import Limits, PrometheusMetrics
from modelramp.rollout.observation import Failed, NoData, Reading, Value
from tests.prometheus_server import PrometheusServer


@pytest.fixture
async def metrics(prometheus: PrometheusServer) -> AsyncIterator[PrometheusMetrics]:
    port = PrometheusMetrics(prometheus.url, SystemClock())
    yield port
    await port.close()


@pytest.fixture(scope="module", autouse=True)
def series(prometheus: PrometheusServer) -> None:
    prometheus.exporter.expose({'gauge{a="1"}': 1.5, 'gauge{a="2"}': 2.5, "zero": 0, 'nan{a="1"}': math.nan})
    prometheus.exporter.expose({"pushed": 4.0}, at=time.time() - 90)
    prometheus.exporter.await_scrapes(3)


def reason(reading: Reading[float]) -> str:
    assert isinstance(reading, NoData | Failed), reading
    return reading.reason


@pytest.mark.parametrize(
    ("promql", "value"), [("sum(gauge)", 4), ('gauge{a="2"}', 2.5), ("2.5", 2.5), ("zero", 0), ("-zero * 2", 0)]
)
async def test_one_number_is_read(metrics: PrometheusMetrics, promql: str, value: float) -> None:
    assert await metrics.query(promql) == Value(value)


@pytest.mark.parametrize(
    ("promql", "expected"),
    [
        ("absent_metric", "EmptyResult"),
        ("sum(absent_metric)", "EmptyResult"),
        ('gauge{a="1"} > 100', "EmptyResult"),
        ("nan", "NotANumber"),
        ("zero / zero", "NotANumber"),
        ("0 / 0", "NotANumber"),
        ("1 / zero", "Infinite"),
        ("-1 / 0", "Infinite"),
        ("gauge", "SeveralSeries"),
        ('{__name__=~".+"}', "SeveralSeries"),
        ("gauge[1m]", "WrongType"),
        ('"text"', "WrongType"),
        ("quantile(2, zero)", "Warnings"),
        ("sum(", "QueryRefused"),
        ("", "QueryRefused"),
        ('{a=""}', "QueryRefused"),
        ("zero * on(b) group_left gauge * on(b) group_right gauge", "QueryRefused"),
    ],
)
async def test_what_is_not_one_number_has_its_reason(metrics: PrometheusMetrics, promql: str, expected: str) -> None:
    assert reason(await metrics.query(promql)) == expected


async def test_an_info_about_the_query_is_no_warning_about_the_answer(metrics: PrometheusMetrics) -> None:
    assert await metrics.query('max(rate(gauge{a="1"}[10s]))') == Value(0)


async def test_a_raw_sample_is_seen_no_longer_than_the_lookback(prometheus: PrometheusServer) -> None:
    for lookback, expected in ((120, Value(4)), (60, NoData("EmptyResult", "no series answers the query"))):
        limits = Limits(lookback=timedelta(seconds=lookback))
        metrics = PrometheusMetrics(prometheus.url, SystemClock(), limits=limits)
        assert await metrics.query("pushed") == expected
        await metrics.close()


async def test_a_clock_that_is_off_is_found_out(prometheus: PrometheusServer) -> None:
    for hours, expected in ((1, "Stale"), (-1, "ClocksDiffer")):
        metrics = PrometheusMetrics(prometheus.url, SkewedClock(timedelta(hours=hours)))
        assert reason(await metrics.query("zero")) == expected
        await metrics.close()


class SkewedClock:
    """The machine's clock, off by some time."""

    def __init__(self, off: timedelta) -> None:
        self._off = off

    def now(self) -> datetime:
        return datetime.now(UTC) + self._off
