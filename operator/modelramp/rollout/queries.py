"""Guardrail queries: a closed set of placeholders, each replaced by one quoted PromQL string or one duration.

A value can never leave its string literal: PromQL strings follow Go's rules, of which the escapes that
`json.dumps(..., ensure_ascii=False)` writes are a subset. A placeholder inside a literal is refused, and so
is a literal without an end, which would turn the quotes inside out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from modelramp.rollout.spec import ConfigMapTraffic, GatewayKind, GatewayTraffic, IstioTraffic, Traffic
from modelramp.rollout.status import Phase, Status

PLACEHOLDERS = ("namespace", "name", "model", "version", "candidate", "stable", "backend", "service", "window")
"""`version` is the version that is asked about: the candidate, then stable where they are compared; `backend` is that
version's cluster name in the metrics of the proxies before it, `service` its Service's and its Deployment's name."""

_TOKEN = re.compile(
    r"""
    \#[^\n]*
    | (?P<literal>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`[^`]*`)
    | (?P<quote>["'`])
    | (?P<matcher>=~|!~)(?=\s*\{\{)
    | \{\{\s*(?P<placeholder>[^{}]*?)\s*\}\}
    | (?P<brace>\{\{|\}\})
    """,
    re.VERBOSE,
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def problems(query: str) -> Iterator[str]:
    """Yield what is wrong with a query's placeholders and quotes, in the user's terms."""
    for token in _TOKEN.finditer(query):
        kind, text, column = token.lastgroup, token[token.lastgroup or 0], token.start() + 1
        match kind:
            case "literal" if "{{" in text:
                yield f"{text}: a placeholder brings its own quotes; write it bare: a={{{{candidate}}}}"
            case "placeholder" if text not in PLACEHOLDERS:
                yield f"{{{{{text}}}}} is no placeholder; there are {', '.join(PLACEHOLDERS)}"
            case "matcher":
                yield f"{text} before a placeholder: its value is exact, no regular expression; write = or !="
            case "quote":
                yield f"{text} at character {column}: the string does not end on its line"
            case "brace":
                yield f"{text} at character {column}: a placeholder is written such as {{{{candidate}}}}"
    for half in _SURROGATE.finditer(query):
        yield f"U+{ord(half[0]):04X} at character {half.start() + 1}: half of a surrogate pair is no text"


def render(query: str, values: Mapping[str, str | timedelta]) -> str:
    """Return the query with every placeholder replaced; `query` has no `problems`."""
    return _TOKEN.sub(lambda token: _filled(token, values), query)


def _filled(token: re.Match[str], values: Mapping[str, str | timedelta]) -> str:
    return _quoted(values[token["placeholder"]]) if token.lastgroup == "placeholder" else token[0]


def _quoted(value: str | timedelta) -> str:
    if isinstance(value, timedelta):
        return f"{round(value.total_seconds() * 1000)}ms"
    # Prometheus takes a bare U+FFFD for broken UTF-8.
    return json.dumps(value, ensure_ascii=False).replace("\ufffd", "\\ufffd")


@dataclass(frozen=True, slots=True)
class Subject:
    """The version that a query is about, and whose it is."""

    namespace: str
    name: str
    model: str
    version: str
    traffic: Traffic


def values(subject: Subject, status: Status, window: timedelta) -> Mapping[str, str | timedelta]:
    """Return what the placeholders stand for; the candidate while it has traffic, else stable."""
    about = status.candidate if status.phase in (Phase.SHADOWING, Phase.RAMPING) else status.stable
    return {
        "namespace": subject.namespace,
        "name": subject.name,
        "model": subject.model,
        "version": subject.version,
        "candidate": about.version if about else "",
        "stable": status.stable.version if status.stable else "",
        "backend": backend(subject.namespace, subject.name, subject.version, subject.traffic),
        "service": service(subject.name, subject.version),
        "pods": f"{service(subject.name, subject.version)}-[a-z0-9]+(-[a-z0-9]+)?",
        "window": window,
    }


def backend(namespace: str, name: str, version: str, traffic: Traffic) -> str:
    """Return a version's cluster name in its proxies' metrics: the router's, or Envoy Gateway's with `mergeBackends`.

    Unambiguous: DNS names have neither underscores nor slashes.
    """
    match traffic:
        case ConfigMapTraffic() | IstioTraffic():
            return f"{namespace}_{name}-v{version}"
        case GatewayTraffic(kind):
            protocol = "http" if kind is GatewayKind.HTTP_ROUTE else "grpc"
            return f"service/{namespace}/{name}-v{version}/80/{protocol}"
        case other:
            assert_never(other)


def service(name: str, version: str) -> str:
    """Return what a version's Deployment and Service are called."""
    return f"{name}-v{version}"
