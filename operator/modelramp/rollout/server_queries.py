"""The built-in queries on what model servers count themselves, pod by pod."""

from __future__ import annotations

import json

from modelramp.rollout.runtime import MLFLOW, Counted, Latency, Runtime, Series
from modelramp.rollout.spec import GatewayKind, GatewayTraffic, Traffic
from modelramp.rollout.templates import COPIES, ROUTER, Template, increase, proxies_first, templates_of

_PODS = "namespace={{namespace}}, pod=~{{pods}}"
_QUANTILES = {"latency-p50": "0.5", "latency-p95": "0.95", "latency-p99": "0.99"}


def built_in(name: str, runtime: Runtime, traffic: Traffic, *, asks_server: bool) -> Template | None:
    """Return a built-in template's query, None where there is none of that name or nobody counts what it asks for."""
    if name in COPIES:
        return COPIES[name] if runtime == MLFLOW else None
    if name not in ROUTER:
        return None
    if asks_server:
        return server_template(name, runtime.metrics)
    if isinstance(traffic, GatewayTraffic) and runtime != MLFLOW:
        servers = server_template(name, runtime.metrics)
        if servers is None or traffic.kind is not GatewayKind.HTTP_ROUTE:
            return servers
        return proxies_first(name, servers)
    return templates_of(traffic)[name]


def server_template(name: str, counted: Counted | None) -> Template | None:
    """Return a template's query on a server's own metrics, None where it counts no such thing."""
    if counted is None:
        return None
    slack = ROUTER[name].slack
    if name in _QUANTILES:
        return Template(_latency(_QUANTILES[name], counted.latency), slack) if counted.latency else None
    errors = counted.errors if name == "error-rate" else counted.server_errors
    return Template(_share(errors, counted.answers), slack) if errors and counted.answers else None


def _share(errors: tuple[Series, ...], answers: tuple[Series, ...]) -> str:
    # One of several counters may have no series yet; without any answer it is 0 / 0, which never passes.
    return f"({_sum(errors, or_none=True)}) / ({_sum(answers, or_none=len(answers) > 1)})"


def _sum(counters: tuple[Series, ...], *, or_none: bool) -> str:
    each = (increase(_selector(series)) for series in counters)
    return " + ".join(f"({one} or vector(0))" if or_none else one for one in each)


def _latency(quantile: str, latency: Latency) -> str:
    if latency.is_summary:
        # The worst pod's: quantiles cannot be added up.
        found = f"max({_selector(latency.series, quantile=quantile)})"
    else:
        buckets = _selector(Series(f"{latency.series.name}_bucket", latency.series.labels))
        found = f"histogram_quantile({quantile}, sum by (le) (rate({buckets}[{{{{window}}}}])))"
    return f"{found} / {latency.unit.of_a_second}"


def _selector(series: Series, **exact: str) -> str:
    matched = [f"{label}=~{json.dumps(value)}" for label, value in sorted(series.labels.items())]
    equal = [f"{label}={json.dumps(value)}" for label, value in exact.items()]
    return f"{series.name}{{{', '.join([_PODS, *matched, *equal])}}}"
