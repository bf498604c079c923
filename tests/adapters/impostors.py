"""Servers that stand where a registry should: each misbehaves in one way, chosen while it runs."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Behaviour = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> Behaviour:
    """Answer every request with this."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", content_type)
        request.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return behave


def drip(stop: threading.Event) -> Behaviour:
    """Send a byte ten times a second, so that no read ever times out, until stopped."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        while not stop.wait(0.1):
            request.wfile.write(b" ")

    return behave


def flood(request: BaseHTTPRequestHandler) -> None:
    """Send spaces without end, as fast as they are read."""
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b" " * (1 << 20))


def hang(stop: threading.Event) -> Behaviour:
    """Take the request and say nothing until stopped."""

    def behave(_: BaseHTTPRequestHandler) -> None:
        stop.wait(60)

    return behave


@dataclass
class Impostor:
    """A server whose next answers are what `behave` does; `requests` are the paths asked for."""

    behave: Behaviour = field(default_factory=lambda: answer(200, b"{}"))
    requests: list[str] = field(default_factory=list)
    server: ThreadingHTTPServer = field(init=False)

    @property
    def uri(self) -> str:
        """Return the URI with a password in it, as a careless user writes it."""
        return f"http://mlops:hunter2@127.0.0.1:{self.server.server_port}"


@contextmanager
def impostor() -> Iterator[Impostor]:
    """Run an impostor on a free port."""
    it = Impostor()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            it.requests.append(self.path)
            it.behave(self)
            self.close_connection = True

        do_PUT = do_GET  # noqa: N815  http.server's own name

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that went away is what these tests are about."""

    it.server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=it.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield it
    finally:
        it.server.shutdown()
        it.server.server_close()
        thread.join()


def relay(uri: str, held: str = "", until: threading.Event | None = None) -> Behaviour:
    """Pass requests on to a real server; the second half of the file `held` waits `until` that is set."""
    target = urlsplit(uri)

    def behave(request: BaseHTTPRequestHandler) -> None:
        upstream = http.client.HTTPConnection(target.hostname or "", target.port)
        upstream.request("GET", request.path, headers={"Host": target.netloc})
        got = upstream.getresponse()
        body = got.read()
        request.send_response(got.status)
        request.send_header("Content-Type", got.getheader("Content-Type", ""))
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: len(body) // 2])
        if until is not None and request.path.endswith(held):
            until.wait(60)
        request.wfile.write(body[len(body) // 2 :])

    return behave


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
