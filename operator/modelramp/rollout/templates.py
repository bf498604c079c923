"""The built-in guardrail queries, over what the route's own proxies or the model servers count.

Error rates are shares of all answers; `error-rate` counts 4xx too, which clients cause in both versions alike and a
candidate with a narrowed signature causes alone. Latencies are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from modelramp.rollout.spec import ConfigMapTraffic, GatewayKind, GatewayTraffic, IstioTraffic, Traffic


@dataclass(frozen=True, slots=True)
class Template:
    """A built-in query, with the slack that a comparison gets unless the user says otherwise."""

    query: str
    slack: float
    of_copies: bool = False
    """Whether it is about answers to copied requests, which there are in the shadow only."""


Templates = Mapping[str, Template]


def increase(series: str) -> str:
    """Return the query for what a counter went up by within the window."""
    # A counter for a class of answers is not there before the first one, and `increase` does not count the
    # value that a series starts with: 100 errors between two scrapes would be none.
    first_seen = f"{series} unless present_over_time({series}[5m] offset {{{{window}}}})"
    return f"sum(({first_seen}) or increase({series}[{{{{window}}}}]))"


def _ratio(errors: str, answers: str) -> str:
    return f"({increase(errors)} or vector(0)) / {increase(answers)}"


def _quantile(quantile: str, buckets: str) -> str:
    return f"histogram_quantile({quantile}, sum by (le) (rate({buckets}[{{{{window}}}}])))"


def _named(error_rate: str, server_error_rate: str, latency: Mapping[str, str]) -> Templates:
    slack = {"0.5": 0.005, "0.95": 0.010, "0.99": 0.010}
    named = {"0.5": "latency-p50", "0.95": "latency-p95", "0.99": "latency-p99"}
    rates = {"error-rate": Template(error_rate, 0.005), "server-error-rate": Template(server_error_rate, 0.005)}
    return rates | {named[quantile]: Template(query, slack[quantile]) for quantile, query in latency.items()}


_QUANTILES = ("0.5", "0.95", "0.99")


def _router_rate(classes: str) -> str:
    # Not `upstream_rq_total`: it leaves out what the router answers itself when no pod takes a connection.
    version = "envoy_cluster_name={{backend}}"
    errors = f'envoy_cluster_upstream_rq_xx{{{version}, envoy_response_code_class=~"{classes}"}}'
    return _ratio(errors, f"envoy_cluster_upstream_rq_xx{{{version}}}")


def _router_latency(quantile: str) -> str:
    return f"{_quantile(quantile, 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name={{backend}}}')} / 1000"


ROUTER = _named(
    _router_rate("4|5"), _router_rate("5"), {quantile: _router_latency(quantile) for quantile in _QUANTILES}
)
"""Of the router's own Envoys."""

_SOURCE = 'reporter!="destination",destination_service_name={{service}}'
_DESTINATION = 'reporter!="source",destination_workload={{service}}'
_NAMESPACE = "destination_service_namespace={{namespace}}", "destination_workload_namespace={{namespace}}"
_SIDES = tuple(f"{side},{namespace}" for side, namespace in zip((_SOURCE, _DESTINATION), _NAMESPACE, strict=True))
"""Who sends a request knows what became of it, a pod that could not be reached included. Copies are counted only
where they arrive: that side counts where the first has nothing to say. A waypoint is both."""

ISTIO_LIVE, ISTIO_MIRRORED = (f"sum(istio_requests_total{{{side}}})" for side in _SIDES)
"""How many requests, and how many copies, a version has been sent."""


def _istio_rate(codes: str) -> str:
    # `> -1` leaves out NaN, which is what a version without requests of its own has.
    shares = (
        _ratio(f'istio_requests_total{{{side},response_code=~"{codes}"}}', f"istio_requests_total{{{side}}}")
        for side in _SIDES
    )
    return " or ".join(f"({share} > -1)" for share in shares)


def _istio_latency(quantile: str) -> str:
    sides = (_quantile(quantile, f"istio_request_duration_milliseconds_bucket{{{side}}}") for side in _SIDES)
    return " or ".join(f"({side} / 1000 > -1)" for side in sides)


ISTIO = _named(
    _istio_rate("[45].."), _istio_rate("5.."), {quantile: _istio_latency(quantile) for quantile in _QUANTILES}
)
"""Of Istio's proxies."""

_SERVER = "namespace={{namespace}}, model={{model}}, version={{version}}"

SERVED = f"sum(modelramp_requests_total{{{_SERVER}}})"
"""How many requests a version's model servers have answered, copies included."""


def _server_rate(codes: str) -> str:
    errors = f'modelramp_requests_total{{{_SERVER}, code=~"{codes}"}}'
    return _ratio(errors, f"modelramp_requests_total{{{_SERVER}}}")


SERVER = _named(
    _server_rate("[45].."),
    _server_rate("5.."),
    {
        quantile: _quantile(quantile, f"modelramp_request_duration_seconds_bucket{{{_SERVER}}}")
        for quantile in _QUANTILES
    },
)
"""Of the model servers: most gateways count all versions of a rule as one, copies or not."""


def proxies_first(name: str, servers: Template) -> Template:
    """Return a template on a gateway's Envoys where they count each version, on the model servers where they do not.

    Envoys know of errors that no pod has seen. Copies they count by the rule, so that side has nothing to say of them.
    """
    # `> -1` leaves out NaN, which is what a version without requests of its own has.
    return Template(f"({ROUTER[name].query} > -1) or ({servers.query})", servers.slack)


GATEWAY: Templates = {name: proxies_first(name, servers) for name, servers in SERVER.items()}
"""Of a gateway's proxies and the model servers; not for gRPC, whose errors are answers 200 to a proxy."""

DISAGREEMENT_RATE = "disagreement-rate"
_COMPARED = f"{_SERVER}, against={{{{stable}}}}"
COPIES: Templates = {
    DISAGREEMENT_RATE: Template(
        _ratio(
            f"modelramp_comparison_disagreements_total{{{_COMPARED}}}",
            f"modelramp_comparison_predictions_total{{{_COMPARED}}}",
        ),
        0.0,
        of_copies=True,
    )
}
"""Of the candidate's model servers, which compare their answers to copies with the live ones."""

BUILT_IN = (*ROUTER, *COPIES)


def templates_of(traffic: Traffic) -> Templates:
    """Return the built-in queries for a way to route."""
    match traffic:
        case ConfigMapTraffic():
            return ROUTER
        case IstioTraffic():
            return ISTIO
        case GatewayTraffic(kind):
            return GATEWAY if kind is GatewayKind.HTTP_ROUTE else SERVER
        case other:
            assert_never(other)
