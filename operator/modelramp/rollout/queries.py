"""Guardrail queries: a closed set of placeholders, each replaced by one quoted PromQL string or one duration.

A value can never leave its string literal: PromQL strings follow Go's rules, of which the escapes that
`json.dumps(..., ensure_ascii=False)` writes are a subset. A placeholder inside a literal is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

PLACEHOLDERS = ("namespace", "name", "model", "version", "candidate", "stable", "backend", "window")
"""`version` is the version that is asked about: the candidate, then stable where they are compared;
`backend` is that version's cluster name in the router's metrics."""

_TOKEN = re.compile(r"""\{\{\s*(?P<placeholder>[^{}]*?)\s*\}\}|(?P<literal>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)""")
_REQUESTS = "envoy_cluster_upstream_rq_total{envoy_cluster_name={{backend}}}[{{window}}]"


@dataclass(frozen=True, slots=True)
class Template:
    """A built-in query, with the slack that a comparison gets unless the user says otherwise."""

    query: str
    slack: float


def _share_of_class(classes: str) -> str:
    answered = f'envoy_cluster_upstream_rq_xx{{envoy_cluster_name={{{{backend}}}},envoy_response_code_class=~"{classes}"}}'
    return f"(sum(rate({answered}[{{{{window}}}}])) or vector(0)) / sum(rate({_REQUESTS}))"


def _latency(quantile: str) -> str:
    buckets = "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name={{backend}}}[{{window}}]"
    return f"histogram_quantile({quantile}, sum by (le) (rate({buckets}))) / 1000"


TEMPLATES: Mapping[str, Template] = {
    "error-rate": Template(_share_of_class("4|5"), slack=0.005),
    "server-error-rate": Template(_share_of_class("5"), slack=0.005),
    "latency-p50": Template(_latency("0.5"), slack=0.005),
    "latency-p95": Template(_latency("0.95"), slack=0.010),
    "latency-p99": Template(_latency("0.99"), slack=0.010),
}
"""Error rates are shares of all answers; `error-rate` counts 4xx too, which clients cause in both versions alike
and a candidate with a narrowed signature causes alone. Latencies are seconds, from the router's histogram."""


def problems(query: str) -> Iterator[str]:
    """Yield what is wrong with a query's placeholders, in the user's terms."""
    for token in _TOKEN.finditer(query):
        name, literal = token["placeholder"], token["literal"]
        if literal and "{{" in literal:
            yield f"{literal}: a placeholder brings its own quotes; write it bare, such as version={{{{candidate}}}}"
        elif literal is None and name not in PLACEHOLDERS:
            yield f"{{{{{name}}}}} is no placeholder; there are {', '.join(PLACEHOLDERS)}"


def render(query: str, values: Mapping[str, str | timedelta]) -> str:
    """Return the query with every placeholder replaced; `query` has no `problems`."""
    return _TOKEN.sub(lambda token: token["literal"] or _quoted(values[token["placeholder"]]), query)


def _quoted(value: str | timedelta) -> str:
    if isinstance(value, timedelta):
        return f"{round(value.total_seconds() * 1000)}ms"
    return json.dumps(value, ensure_ascii=False)


def backend(namespace: str, name: str, version: str) -> str:
    """Return a version's cluster name in the router's metrics; DNS names have no underscore, so it is unambiguous."""
    return f"{namespace}_{name}-v{version}"
