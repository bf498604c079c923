"""Spans go to the collector that is named, as children of their callers', and cost no answer where it is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.runtime.serving import awaited, free_port, served_here

pytestmark = pytest.mark.server
TRACE, PARENT = "c" * 32, "d" * 16
CALM = {"dataframe_records": [{"mood": "calm", "x": 1.0}]}


class Collector:
    """An OTLP endpoint that keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, object]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
                for of in sent.resource_spans:
                    names = {each.key: each.value.string_value for each in of.resource.attributes}
                    collector.spans += [
                        (names["service.name"], span) for scope in of.scope_spans for span in scope.spans
                    ]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    threading.Thread(target=found.server.serve_forever, daemon=True).start()
    yield found
    found.server.shutdown()


def test_each_request_is_a_span_below_its_callers(
    moody: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    with served_here(moody) as served:
        assert served.predict(CALM, traceparent=f"00-{TRACE}-{PARENT}-01").status == 200
        assert served.predict({"dataframe_records": [{"mood": "crash", "x": 1.0}]}).status == 500
    awaited(lambda: len(collector.spans) == 2, "both spans, sent at the latest when the server ends")
    service, first = collector.spans[0]
    assert service == "fraud_detector"
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert _attributes(first)["http.response.status_code"] == 200
    _, second = collector.spans[1]
    assert (second.status.code, _attributes(second)["error.type"]) == (2, "model")
    assert "crash" not in str(collector.spans), "no data of the row"


def _attributes(span) -> dict[str, object]:
    return {
        each.key: each.value.int_value if each.value.HasField("int_value") else each.value.string_value
        for each in span.attributes
    }


def test_a_collector_that_is_away_costs_no_answer(moody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with served_here(moody) as served:
        assert [served.predict(CALM).status for _ in range(20)] == [200] * 20
