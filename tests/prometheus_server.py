"""A real Prometheus on a free port, and an exporter whose numbers the tests set; scraped every half second.

Fixture `prometheus`, session-wide: give your series a label of your own. A test that uses it is marked
`prometheus`. The program is taken from the cache, compiled first when it is not there.
"""

from __future__ import annotations

import json
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from cluster.tools.binaries import build_binaries
from tests.controlplane.supervised import Supervised, first_that_starts, free_port

SCRAPE_INTERVAL = 0.5  # seconds
_PATIENCE = 20.0  # seconds for scrapes to happen on a busy machine


@dataclass
class Exporter:
    """Series in memory, answered at /metrics; counters may grow with every scrape."""

    failing: bool = False
    _values: dict[str, float] = field(default_factory=dict)
    _growth: dict[str, float] = field(default_factory=dict)
    _stamps: dict[str, int] = field(default_factory=dict)
    _scrapes: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def expose(self, series: Mapping[str, float], *, at: float | None = None) -> None:
        """Answer these values from now on, such as {'up_to{a="b"}': 1.0}; `at` is their own time, in seconds."""
        with self._changed:
            self._values |= series
            self._growth = {name: by for name, by in self._growth.items() if name not in series}
            self._stamps |= {name: round(at * 1000) for name in series} if at is not None else {}

    def grow(self, series: Mapping[str, float]) -> None:
        """Add this much to each of the series before every scrape; a new one starts at 0."""
        with self._changed:
            self._growth |= series
            self._values = dict.fromkeys(series, 0.0) | self._values

    def withdraw(self, *series: str) -> None:
        """Answer these no longer."""
        with self._changed:
            for name in series:
                self._values.pop(name, None)
                self._growth.pop(name, None)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Fail every scrape meanwhile."""
        self.failing = True
        try:
            yield
        finally:
            self.failing = False

    def await_scrapes(self, count: int = 1) -> None:
        """Wait until this many scrapes that began from now on are stored."""
        with self._changed:
            # When the next one begins, the one before is stored.
            wanted = self._scrapes + count + 1
            if not self._changed.wait_for(lambda: self._scrapes >= wanted, _PATIENCE):
                raise TimeoutError(f"Prometheus did not scrape {count} times within {_PATIENCE:g} s")

    def await_seconds_of_scrapes(self, seconds: float) -> None:
        """Wait until the stored samples of now reach back this long."""
        self.await_scrapes(round(seconds / SCRAPE_INTERVAL) + 1)

    def scrape(self) -> str | None:
        """Return the text of one scrape; None when it fails."""
        with self._changed:
            self._scrapes += 1
            self._changed.notify_all()
            for name, by in self._growth.items():
                self._values[name] += by
            lines = (f"{name} {value} {self._stamps.get(name, '')}\n" for name, value in self._values.items())
            return None if self.failing else "".join(lines)


@dataclass
class PrometheusServer:
    """The running server and the exporter that it scrapes."""

    url: str
    directory: Path
    exporter: Exporter
    _targets: dict[str, dict[str, str]] = field(default_factory=dict)

    def scrape(self, address: str, **labels: str) -> None:
        """Scrape one more HOST:PORT, or HOST:PORT/PATH, from now on; `labels` are what discovery would put on it."""
        self._targets[address] = labels
        self.write_configuration()
        urllib.request.urlopen(f"{self.url}/-/reload", data=b"", timeout=10).close()

    def write_configuration(self) -> None:
        """Write what the server reads at its start and at a reload; JSON is YAML."""
        jobs = [_job(target, labels) for target, labels in self._targets.items()]
        interval = f"{round(SCRAPE_INTERVAL * 1000)}ms"
        settings = {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": jobs}
        (self.directory / "prometheus.yml").write_text(json.dumps(settings))

    def parse(self, promql: str) -> dict[str, Any]:
        """Return the syntax tree of a query; raises urllib.error.HTTPError 400 when it does not parse."""
        form = urlencode({"query": promql}).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/parse_query", data=form, timeout=10) as answer:
            tree: dict[str, Any] = json.load(answer)["data"]
            return tree


def _job(target: str, labels: Mapping[str, str]) -> dict[str, Any]:
    address, _, path = target.partition("/")
    found = {"targets": [address], "labels": labels}
    return {"job_name": target, "metrics_path": f"/{path or 'metrics'}", "static_configs": [found]}


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark."""
    config.addinivalue_line("markers", "prometheus: needs Prometheus, compiled when the cache has none")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for the server."""
    for item in items:
        if "prometheus" in getattr(item, "fixturenames", ()):
            item.add_marker("prometheus")


@pytest.fixture(scope="session")
def prometheus() -> Iterator[PrometheusServer]:
    """Give the tests a real Prometheus that scrapes `prometheus.exporter`."""
    with running_prometheus() as server:
        yield server


@contextmanager
def running_prometheus() -> Iterator[PrometheusServer]:
    """Run Prometheus and the exporter; both end with this process, however it ends."""
    program = build_binaries(["prometheus"])["prometheus"]
    with tempfile.TemporaryDirectory(prefix="prometheus-") as directory, _served(Exporter()) as (exporter, own):
        process, server = first_that_starts(lambda: _start(program, Path(directory), exporter, own))
        try:
            exporter.await_scrapes()
            yield server
        finally:
            process.stop()


def _start(program: Path, directory: Path, exporter: Exporter, own: str) -> tuple[Supervised, PrometheusServer]:
    address = f"127.0.0.1:{free_port()}"
    server = PrometheusServer(f"http://{address}", directory, exporter, {own: {}})
    server.write_configuration()
    options = {
        "config.file": directory / "prometheus.yml",
        "storage.tsdb.path": directory / "data",
        "web.listen-address": address,
        "log.level": "warn",
    }
    command = [str(program), "--web.enable-lifecycle", *(f"--{name}={value}" for name, value in options.items())]
    process = Supervised.start(command, directory / "prometheus.log")
    process.await_answer(lambda: _ready(server.url))
    return process, server


def _ready(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@contextmanager
def _served(exporter: Exporter) -> Iterator[tuple[Exporter, str]]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = exporter.scrape()
            self.send_response(200 if text is not None else 503)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield exporter, f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
