"""The built-in queries and the quoting, judged by a real Prometheus."""

from __future__ import annotations

import asyncio
import urllib.error
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, assume, example, given, settings

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.prometheus import PrometheusMetrics
from modelramp.rollout.observation import NoData, Reading, Value
from modelramp.rollout.queries import backend, problems, render
from modelramp.rollout.spec import GatewayKind, GatewayTraffic
from modelramp.rollout.templates import GATEWAY, ISTIO, ROUTER, SERVER, Templates
from tests.prometheus_server import Exporter, PrometheusServer
from tests.promql import hostile_text, query_text

WINDOW = 4.0  # seconds
fuzzed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def matcher(name: str, value: str) -> dict[str, str]:
    return {"name": name, "type": "=", "value": value}


@fuzzed
@given(namespace=hostile_text, version=hostile_text)
@example(namespace='"} or vector(1) #', version="\\")
@example(namespace="\ufffd", version="\ufeff\u2028\x00")
def test_a_hostile_value_is_one_matcher_of_the_parsed_selector(
    prometheus: PrometheusServer, namespace: str, version: str
) -> None:
    query = render("up{namespace={{namespace}}, version={{version}}}", {"namespace": namespace, "version": version})
    tree = prometheus.parse(query)
    assert tree["type"] == "vectorSelector"
    assert tree["matchers"] == [
        matcher("namespace", namespace), matcher("version", version), matcher("__name__", "up")
    ]  # fmt: skip


@fuzzed
@given(query=query_text, value=hostile_text)
@example(query="up{a={{name}}} # it's {{name}}", value="'\nor vector(1) #")
@example(query='{a="x{{name}} + b"}', value='"} or vector(1) #')
def test_a_value_never_changes_the_tree_of_a_query_that_has_no_problems(
    prometheus: PrometheusServer, query: str, value: str
) -> None:
    assume(not list(problems(query)))
    assert parsed(prometheus, query, value) == swapped(parsed(prometheus, query, "SAFE"), "SAFE", value)


def parsed(prometheus: PrometheusServer, query: str, value: str) -> object:
    """Return the query's syntax tree, or the status that refuses it."""
    names = ("namespace", "name", "model", "version", "candidate", "stable", "backend", "service")
    rendered = render(query, dict.fromkeys(names, value) | {"window": timedelta(minutes=1)})
    try:
        return prometheus.parse(rendered)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def swapped(tree: object, old: str, new: str) -> object:
    match tree:
        case dict():
            return {key: swapped(branch, old, new) for key, branch in tree.items()}
        case list():
            return [swapped(branch, old, new) for branch in tree]
        case _:
            return new if tree == old else tree


@pytest.fixture
async def metrics(prometheus: PrometheusServer) -> AsyncIterator[PrometheusMetrics]:
    port = PrometheusMetrics(prometheus.url, SystemClock())
    yield port
    await port.close()


@pytest.fixture
def exporter(prometheus: PrometheusServer) -> Exporter:
    return prometheus.exporter


def answers(cluster: str, code_class: int) -> str:
    return f'envoy_cluster_upstream_rq_xx{{envoy_response_code_class="{code_class}",envoy_cluster_name="{cluster}"}}'


def requests_begun(cluster: str) -> str:
    return f'envoy_cluster_upstream_rq_total{{envoy_cluster_name="{cluster}"}}'


def latency_buckets(cluster: str, counts: dict[str, float]) -> dict[str, float]:
    series = "envoy_cluster_upstream_rq_time_bucket"
    return {f'{series}{{envoy_cluster_name="{cluster}",le="{le}"}}': count for le, count in counts.items()}


async def share(
    metrics: PrometheusMetrics, subject: str, template: str = "error-rate", templates: Templates = ROUTER
) -> float | str:
    """Return the number that a built-in query gives, or the reason why there is no data."""
    version = subject.rpartition("-v")[2]
    values = {"backend": subject, "service": subject, "namespace": "shop", "model": "fraud", "version": version}
    if templates is GATEWAY:
        values["backend"] = behind_envoy_gateway(subject)
    query = render(templates[template].query, {**values, "window": timedelta(seconds=WINDOW)})
    reading: Reading[float] = await metrics.query(query)
    match reading:
        case Value(value=value):
            return value
        case NoData(reason=reason):
            return reason
        case _:
            pytest.fail(f"{reading}")


def sent(service: str, code: int, suffix: str = "requests_total", more: str = "") -> str:
    """Return Istio's series of the proxies that send to a version."""
    to = f'destination_service_name="{service}",destination_service_namespace="shop"'
    return f'istio_{suffix}{{reporter="source",{to},response_code="{code}"{more}}}'


def received(service: str, code: int, suffix: str = "requests_total", more: str = "") -> str:
    """Return Istio's series of the proxies beside a version's pods."""
    at = f'destination_workload="{service}",destination_workload_namespace="shop"'
    return f'istio_{suffix}{{reporter="destination",{at},response_code="{code}"{more}}}'


def behind_envoy_gateway(service: str) -> str:
    """Return the name of a version's cluster where Envoy Gateway merges backends."""
    name, _, version = service.rpartition("-v")
    return backend("shop", name, version, GatewayTraffic(GatewayKind.HTTP_ROUTE, "shop"))


def served(version: int, code: int) -> str:
    return f'modelramp_requests_total{{namespace="shop",model="fraud",version="{version}",code="{code}"}}'


@pytest.fixture(scope="module")
def traffic(prometheus: PrometheusServer) -> Exporter:
    """Have traffic of several kinds for longer than the window, each to a version of its own."""
    exporter = prometheus.exporter
    exporter.grow({answers("faultless-v8", 2): 10})
    exporter.grow({answers("quarter-v8", 2): 6, answers("quarter-v8", 4): 1, answers("quarter-v8", 5): 1})
    exporter.grow({answers("quarter-v7", 2): 6, answers("quarter-v7", 5): 600})
    exporter.grow({answers("dead-v8", 5): 5, requests_begun("dead-v8"): 0})
    exporter.expose({answers("silent-v8", 2): 100, answers("silent-v8", 5): 7})
    exporter.grow(latency_buckets("slow-v8", {"5": 0, "10": 50, "25": 98, "50": 100, "100": 100, "+Inf": 100}))
    exporter.expose(latency_buckets("silent-v8", {"5": 0, "10": 50, "+Inf": 100}))
    exporter.grow({sent("live-v8", 200): 3, sent("live-v8", 503): 1, received("live-v8", 200): 3})
    exporter.grow({received("copied-v8", 200): 3, received("copied-v8", 404): 1, received("copied-v8", 500): 1})
    exporter.expose({sent("copied-v8", 200): 900})
    exporter.grow(
        {
            received("copied-v8", 200, "request_duration_milliseconds_bucket", f',le="{le}"'): count
            for le, count in {"5": 0, "10": 50, "25": 98, "50": 100, "+Inf": 100}.items()
        }
    )
    exporter.grow(
        {answers(behind_envoy_gateway("proxied-v8"), 2): 3, answers(behind_envoy_gateway("proxied-v8"), 5): 2}
    )
    exporter.grow(latency_buckets(behind_envoy_gateway("proxied-v8"), {"5": 0, "10": 50, "+Inf": 50}))
    exporter.expose({answers(behind_envoy_gateway("idle-v8"), 2): 900})
    exporter.grow({served(8, 200): 3, served(8, 422): 1, served(9, 500): 5})
    exporter.await_seconds_of_scrapes(WINDOW + 1)
    return exporter


async def test_istios_sender_knows_of_errors_that_no_pod_has_seen(
    traffic: Exporter, metrics: PrometheusMetrics
) -> None:
    assert await share(metrics, "live-v8", "error-rate", ISTIO) == pytest.approx(1 / 4)


async def test_copies_are_judged_where_they_arrive_whatever_was_sent_long_ago(
    traffic: Exporter, metrics: PrometheusMetrics
) -> None:
    assert await share(metrics, "copied-v8", "error-rate", ISTIO) == pytest.approx(2 / 5)
    assert await share(metrics, "copied-v8", "server-error-rate", ISTIO) == pytest.approx(1 / 5)
    assert await share(metrics, "copied-v8", "latency-p50", ISTIO) == pytest.approx(0.010)


async def test_behind_a_gateway_the_model_servers_are_asked(traffic: Exporter, metrics: PrometheusMetrics) -> None:
    assert await share(metrics, "fraud-v8", "error-rate", SERVER) == pytest.approx(1 / 4)
    assert await share(metrics, "fraud-v8", "server-error-rate", SERVER) == 0
    assert await share(metrics, "fraud-v9", "server-error-rate", SERVER) == pytest.approx(1)


async def test_a_gateways_proxies_know_of_errors_that_no_pod_has_seen(
    traffic: Exporter, metrics: PrometheusMetrics
) -> None:
    assert await share(metrics, "proxied-v8", "error-rate", GATEWAY) == pytest.approx(2 / 5)
    assert await share(metrics, "proxied-v8", "server-error-rate", GATEWAY) == pytest.approx(2 / 5)
    assert await share(metrics, "proxied-v8", "latency-p50", GATEWAY) == pytest.approx(0.0075)


@pytest.mark.parametrize("service", ["idle-v8", "unmerged-v8"])
async def test_copies_and_proxies_that_do_not_tell_versions_apart_leave_it_to_the_model_servers(
    traffic: Exporter, metrics: PrometheusMetrics, service: str
) -> None:
    assert await share(metrics, service, "error-rate", GATEWAY) == pytest.approx(1 / 4)


@pytest.mark.parametrize("templates", [ISTIO, GATEWAY])
@pytest.mark.parametrize("template", ROUTER)
async def test_a_version_that_nobody_counts_is_no_data(
    traffic: Exporter, metrics: PrometheusMetrics, templates: Templates, template: str
) -> None:
    assert await share(metrics, "quarter-v80", template, templates) == "EmptyResult"


async def test_no_errors_yet_is_an_error_rate_of_zero(traffic: Exporter, metrics: PrometheusMetrics) -> None:
    assert await share(metrics, "faultless-v8") == 0


async def test_an_error_rate_is_the_share_of_all_answers(traffic: Exporter, metrics: PrometheusMetrics) -> None:
    assert await share(metrics, "quarter-v8") == pytest.approx(2 / 8)


async def test_client_errors_are_left_out_of_the_server_error_rate(
    traffic: Exporter, metrics: PrometheusMetrics
) -> None:
    assert await share(metrics, "quarter-v8", "server-error-rate") == pytest.approx(1 / 8)


async def test_a_version_that_takes_no_connection_fails_all_its_requests(
    traffic: Exporter, metrics: PrometheusMetrics
) -> None:
    assert await share(metrics, "dead-v8") == pytest.approx(1)


@pytest.mark.parametrize("template", ROUTER)
async def test_no_traffic_is_no_data_and_not_zero(traffic: Exporter, metrics: PrometheusMetrics, template: str) -> None:
    assert await share(metrics, "silent-v8", template) == "NotANumber"


@pytest.mark.parametrize("template", ROUTER)
async def test_a_version_that_prometheus_does_not_know_is_no_data(
    traffic: Exporter, metrics: PrometheusMetrics, template: str
) -> None:
    assert await share(metrics, "quarter-v80", template) == "EmptyResult"


async def test_latencies_are_seconds_at_their_quantile(traffic: Exporter, metrics: PrometheusMetrics) -> None:
    measured = [await share(metrics, "slow-v8", f"latency-{quantile}") for quantile in ("p50", "p95", "p99")]
    assert measured == pytest.approx([0.010, 0.010 + 0.015 * 45 / 48, 0.0375])


async def test_a_restarted_router_does_not_bend_the_error_rate(traffic: Exporter, metrics: PrometheusMetrics) -> None:
    series = {answers("restarted-v8", 2): 3.0, answers("restarted-v8", 5): 1.0}
    traffic.grow(series)
    traffic.await_seconds_of_scrapes(2)
    traffic.expose(dict.fromkeys(series, 0.0))
    traffic.grow(series)
    traffic.await_scrapes(2)
    assert await share(metrics, "restarted-v8") == pytest.approx(1 / 4)


async def test_the_first_errors_of_all_are_counted_at_their_first_scrape(
    traffic: Exporter, metrics: PrometheusMetrics
) -> None:
    traffic.expose({answers("faultless-v8", 5): 40})
    traffic.await_scrapes(1)
    assert await share(metrics, "faultless-v8") == pytest.approx(40 / (40 + 10 * 8), rel=0.2)
    traffic.await_seconds_of_scrapes(WINDOW + 1)
    assert await share(metrics, "faultless-v8") == 0


async def test_a_version_whose_first_answers_are_good_is_not_blamed(
    traffic: Exporter, metrics: PrometheusMetrics
) -> None:
    traffic.expose({answers("young-v8", 2): 50})
    traffic.await_scrapes(1)
    assert await share(metrics, "young-v8") == 0


async def test_when_the_target_is_gone_the_last_value_is_not_taken_for_news(
    exporter: Exporter, metrics: PrometheusMetrics
) -> None:
    exporter.expose({'psi{version="8"}': 0.1})
    exporter.await_scrapes(1)
    assert await metrics.query('psi{version="8"}') == Value(0.1)
    with exporter.down():
        exporter.await_scrapes(1)
        assert isinstance(await metrics.query('psi{version="8"}'), NoData)


async def test_all_of_this_can_be_asked_at_once(traffic: Exporter, metrics: PrometheusMetrics) -> None:
    asked = [share(metrics, "quarter-v8", template) for template in ("error-rate", "server-error-rate") * 50]
    assert await asyncio.gather(*asked) == pytest.approx([0.25, 0.125] * 50)
