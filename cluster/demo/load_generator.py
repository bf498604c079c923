"""Sends card transactions to the model at a steady rate and keeps every answer: runs in a pod of the cluster.

GET  /answers?after=N     the answers after number N: [number, second, version, status, milliseconds, fault]
                          status 0: none came, for that fault
GET  /try                 one request that is not counted: its status, 0 where no answer came
GET  /clock               the second now, by the clock that the answers carry
POST /rate?per_second=40  send so many from now on; 0 stops
POST /new-category?share=0.5   let so many of the transactions be in a category that no model was trained on
GET  /metrics, /healthz
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from traffic import request_body, transactions  # type: ignore[import-not-found]  # beside it in the pod

KEPT = 50_000  # answers
BODIES = 500  # different transactions
SENDERS = 8
TIMEOUT = 5.0  # seconds for one answer
UNKNOWN = ""  # the version where no model answered

Answer = tuple[int, float, str, int, float, str]


@dataclass
class Ledger:
    """Every answer, up to `KEPT` of them, and counters that only grow."""

    answers: deque[Answer] = field(default_factory=lambda: deque(maxlen=KEPT))
    counted: Counter[tuple[str, int]] = field(default_factory=Counter)
    last_seen: dict[str, float] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, version: str, status: int, seconds: float, fault: str = "") -> None:
        """Keep one answer, under the time at which it came."""
        with self.lock:
            now = time.time()
            self.answers.append((next(self.numbers), now, version, status, round(seconds * 1000, 1), fault))
            self.counted[version, status] += 1
            self.last_seen[version] = now

    def after(self, number: int) -> list[Answer]:
        """Return the answers after one."""
        with self.lock:
            newest = itertools.takewhile(lambda answer: answer[0] > number, reversed(self.answers))
            return list(newest)[::-1]

    def exposition(self) -> str:
        """Return the counters as Prometheus reads them."""
        with self.lock:
            counted, seen = dict(self.counted), dict(self.last_seen)
        lines = ["# TYPE demo_answers_total counter"]
        lines += [
            f'demo_answers_total{{version="{version}",status="{status}"}} {count}'
            for (version, status), count in counted.items()
        ]
        lines.append("# TYPE demo_last_answer_timestamp_seconds gauge")
        lines += [f'demo_last_answer_timestamp_seconds{{version="{v}"}} {at:.3f}' for v, at in seen.items()]
        return "\n".join(lines) + "\n"


class Traffic:
    """What is sent, and how fast; changed from outside while it runs."""

    def __init__(self) -> None:
        self._random = np.random.default_rng()
        self._lock = threading.Condition()
        self._rate, self._next = 0.0, 0.0
        self._bodies = self._drawn(0.0)

    def body(self) -> bytes:
        """Return a transaction."""
        return self._bodies[0]

    def set_rate(self, per_second: float) -> None:
        """Send so many requests a second from now on."""
        with self._lock:
            self._rate, self._next = per_second, time.monotonic()
            self._lock.notify_all()

    def set_new_category(self, share: float) -> None:
        """Draw new transactions, so many of them in the new category."""
        self._bodies = self._drawn(share)

    def await_turn(self) -> bytes:
        """Wait until the next request is due and return its body; a late one does not make the rest hurry."""
        with self._lock:
            while not self._rate:
                self._lock.wait()
            now = time.monotonic()
            due = max(self._next, now - 1 / self._rate)
            self._next = due + 1 / self._rate
        time.sleep(max(0.0, due - now))
        bodies = self._bodies
        return bodies[int(time.monotonic() * 1e6) % len(bodies)]

    def _drawn(self, share: float) -> list[bytes]:
        rows = transactions(self._random, BODIES, share)
        return [json.dumps(request_body([row])).encode() for row in rows]


class Client:
    """One connection, kept as long as it works."""

    def __init__(self, target: str) -> None:
        self._connection = http.client.HTTPConnection(target, timeout=TIMEOUT)

    def close(self) -> None:
        """Give the connection up."""
        self._connection.close()

    def send(self, body: bytes) -> tuple[str, int, str]:
        """Send one request; return who answered, how, and why nobody did."""
        try:
            self._connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as fault:
            self.close()
            return UNKNOWN, 0, f"{type(fault).__name__}: {fault}"
        return answer.headers.get("X-Model-Version", UNKNOWN), answer.status, ""


class Sender(threading.Thread):
    """One client that sends for ever."""

    def __init__(self, target: str, traffic: Traffic, ledger: Ledger) -> None:
        super().__init__(daemon=True)
        self._client, self._traffic, self._ledger = Client(target), traffic, ledger

    def run(self) -> None:
        """Send at each turn, and note the answer."""
        while True:
            body = self._traffic.await_turn()
            began = time.monotonic()
            version, status, fault = self._client.send(body)
            self._ledger.note(version, status, time.monotonic() - began, fault)


class Desk(ThreadingHTTPServer):
    """Answers questions and takes orders."""

    def __init__(self, traffic: Traffic, ledger: Ledger) -> None:
        super().__init__(("", 8080), Conversation)
        self.traffic, self.ledger = traffic, ledger

    def ask(self, path: str, given: dict[str, str]) -> str | None:
        """Return what is known, None for a question that there is not."""
        match path:
            case "/answers":
                return json.dumps(self.ledger.after(int(given.get("after", "0"))))
            case "/clock":
                return json.dumps(time.time())
            case "/try":
                with contextlib.closing(Client(os.environ["TARGET"])) as client:
                    _, status, _ = client.send(self.traffic.body())
                return json.dumps(status)
            case "/metrics":
                return self.ledger.exposition()
            case "/healthz":
                return "ok"
            case _:
                return None

    def order(self, path: str, given: dict[str, str]) -> str | None:
        """Do it and return when it was done, None for an order that there is not."""
        match path:
            case "/rate":
                self.traffic.set_rate(float(given["per_second"]))
            case "/new-category":
                self.traffic.set_new_category(float(given["share"]))
            case _:
                return None
        return json.dumps(time.time())


class Conversation(BaseHTTPRequestHandler):
    """One connection to the desk."""

    protocol_version = "HTTP/1.1"
    server: Desk

    def do_GET(self) -> None:
        self._answer(self.server.ask(*self._asked()))

    def do_POST(self) -> None:
        self._answer(self.server.order(*self._asked()))

    def _asked(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        return parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}

    def _answer(self, text: str | None) -> None:
        body = (text or "not found").encode()
        self.send_response(404 if text is None else 200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing of each question."""


def main() -> None:
    """Serve, and send once told how fast."""
    traffic, ledger = Traffic(), Ledger()
    for _ in range(SENDERS):
        Sender(os.environ["TARGET"], traffic, ledger).start()
    Desk(traffic, ledger).serve_forever()


if __name__ == "__main__":
    main()
