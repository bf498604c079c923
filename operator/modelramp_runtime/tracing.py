"""Spans of OpenTelemetry, only where the process is told of a collector: OTEL_EXPORTER_OTLP_ENDPOINT.

All else about them is OpenTelemetry's own to say: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

LOG = logging.getLogger("modelramp.tracing")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SERVICE = "OTEL_SERVICE_NAME"


class Tracing:
    """One span for each request, a child of its caller's; none without a tracer."""

    def __init__(self, tracer: Any = None, propagator: Any = None, provider: Any = None) -> None:
        self._tracer, self._propagator, self._provider = tracer, propagator, provider

    @contextlib.contextmanager
    def request(self, path: str, headers: Mapping[str, str], **about: str) -> Iterator[Span]:
        """Span a request; what the model itself traces meanwhile hangs below it."""
        if self._tracer is None:
            yield Span()
            return
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 only with a collector

        context = self._propagator.extract(headers)
        attributes = {"http.request.method": "POST", "url.path": path, **about}
        name = f"POST {path}"
        with self._tracer.start_as_current_span(name, context, SpanKind.SERVER, attributes=attributes) as span:
            yield Span(span)

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


class Span:
    """A span that may be none."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def end(self, status: int, policy: str, kind: str | None) -> None:
        """Note what came of the request; a 5xx is an error, as the conventions for servers have it."""
        if self._span is None:
            return
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        self._span.set_attribute("http.response.status_code", status)
        if policy:
            self._span.set_attribute("modelramp.policy", policy)
        if kind:
            self._span.set_attribute("error.type", kind)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)


def start_tracing(variables: Mapping[str, str], name: str, version: str) -> Tracing:
    """Return the tracing that the environment asks for; without the exporter that is none, and said."""
    if not any(variables.get(each) for each in ENDPOINTS):
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415
    except ImportError:
        LOG.error("%s is set, but there is no exporter: install modelramp[otel]", ENDPOINTS[0])  # noqa: TRY400 a trace says no more
        return Tracing()
    own = {"service.name": variables.get(SERVICE) or name, "service.version": version}
    provider = TracerProvider(resource=Resource.create(own))
    # Bounded and in a thread of its own: a collector that is slow or away loses spans, and costs no answer.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider.get_tracer("modelramp"), TraceContextTextMapPropagator(), provider)
