"""What model servers count themselves, asked of a real Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import pytest

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.prometheus import PrometheusMetrics
from modelramp.rollout.observation import Reading, Value
from modelramp.rollout.queries import Subject, render, values
from modelramp.rollout.runtime import BUILT_IN, Series
from modelramp.rollout.server_queries import server_template
from modelramp.rollout.spec import ConfigMapTraffic
from modelramp.rollout.status import Status
from modelramp.rollout.templates import ROUTER
from tests.prometheus_server import PrometheusServer

WINDOW = timedelta(seconds=4)
COUNTED = [name for name, runtime in BUILT_IN.items() if runtime.metrics]
pytestmark = [pytest.mark.server]


@dataclass(frozen=True)
class Pod:
    """Where a series comes from."""

    namespace: str
    name: str

    def series(self, series: Series, **more: str) -> str:
        """Return a series as the pod exposes it: of each pattern the first alternative, its dots made digits."""
        said = {label: example(pattern) for label, pattern in series.labels.items()}
        labels = {**said, **more, "namespace": self.namespace, "pod": self.name}
        pairs = ",".join(f'{label}="{value}"' for label, value in labels.items())
        return f"{series.name}{{{pairs}}}"


def example(pattern: str) -> str:
    """Return a text that a profile's pattern matches."""
    return pattern.partition("|")[0].replace(".+", "fraud").replace(".", "0")


def query(name: str, template: str, namespace: str, version: str) -> str:
    found = server_template(template, BUILT_IN[name].metrics)
    assert found is not None
    return render(
        found.query, values(Subject(namespace, "fraud", "fraud", version, ConfigMapTraffic()), Status(), WINDOW)
    )


async def ask(prometheus: PrometheusServer, text: str) -> Reading[float]:
    metrics = PrometheusMetrics(prometheus.url, SystemClock())
    try:
        return await metrics.query(text)
    finally:
        await metrics.close()


async def until_value(prometheus: PrometheusServer, text: str, good: float, within: float = 0.1) -> float:
    """Ask until the answer is about `good`; return the last answer."""
    last: Reading[float] | None = None
    for _ in range(60):
        last = await ask(prometheus, text)
        if isinstance(last, Value) and abs(last.value - good) <= within * good:
            return last.value
        await asyncio.sleep(0.25)
    raise AssertionError(f"{last} is not about {good}: {text}")


@pytest.mark.parametrize("name", COUNTED)
async def test_the_share_of_errors_is_of_one_version(prometheus: PrometheusServer, name: str) -> None:
    counted = BUILT_IN[name].metrics
    assert counted is not None
    namespace = f"share-{name}"
    failed = counted.errors[0]
    fine = Series(failed.name, {**failed.labels, **{key: "200" for key in failed.labels if "code" in key}})
    fine = counted.answers[0] if fine == failed else fine
    growth: Mapping[str, float] = {
        Pod(namespace, "fraud-v8-abc12-xyz34").series(failed): 1.0,
        Pod(namespace, "fraud-v8-abc12-xyz35").series(fine): 9.0,
        Pod(namespace, "fraud-v80-abc12-xyz34").series(failed): 50.0,
        Pod("elsewhere", "fraud-v8-abc12-xyz34").series(failed): 50.0,
        Pod(namespace, "fraud-v8-canary-abc12-xyz34").series(failed): 50.0,
    }
    prometheus.exporter.grow(growth)
    try:
        await until_value(prometheus, query(name, "error-rate", namespace, "8"), 0.1)
    finally:
        prometheus.exporter.withdraw(*growth)


@pytest.mark.parametrize("name", COUNTED)
async def test_the_latency_is_in_seconds(prometheus: PrometheusServer, name: str) -> None:
    counted = BUILT_IN[name].metrics
    assert counted is not None
    assert counted.latency is not None
    latency, namespace, pod = counted.latency, f"latency-{name}", Pod(f"latency-{name}", "fraud-v8-abc12-xyz34")
    if latency.is_summary:
        exposed = {pod.series(latency.series, quantile="0.99"): 0.1 * latency.unit.of_a_second}
        prometheus.exporter.expose(exposed)
    else:
        buckets = Series(f"{latency.series.name}_bucket", latency.series.labels)
        exposed = {pod.series(buckets, le="0.1"): 100.0, pod.series(buckets, le="+Inf"): 100.0}
        prometheus.exporter.grow(exposed)
    try:
        await until_value(prometheus, query(name, "latency-p99", namespace, "8"), 0.1)
    finally:
        prometheus.exporter.withdraw(*exposed)


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("template", ROUTER)
async def test_without_an_answer_there_is_no_number(prometheus: PrometheusServer, name: str, template: str) -> None:
    assert not isinstance(await ask(prometheus, query(name, template, "nowhere", "8")), Value)
