"""Send the same requests again and again, several at a time, and note when each was answered.

Threads with a connection each, like a router's: a new connection a request would measure the network.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

ARM = {"X-Modelramp-Arm": "staging"}
HEADERS = {"Content-Type": "application/json", **ARM}
LONGEST_REQUEST = 30.0
SAMPLE_EVERY, LOOK_EVERY = 0.5, 0.2
_MEMORY = re.compile(rb"^process_resident_memory_bytes(?:\{[^}]*\})? ([0-9.eE+]+)", re.MULTILINE)
_FAULTS = (OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class Target:
    """A version's Service."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return `host:port`."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: its time in seconds, and what came instead of a prediction."""

    seconds: float
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Played:
    """All answers, and the most memory that was seen, in bytes."""

    answers: list[Answer]
    memory: int | None


class Line:
    """One connection that is kept, and made anew after a fault."""

    def __init__(self, target: Target) -> None:
        self._connection = http.client.HTTPConnection(target.host, target.port)

    def ask(self, body: bytes, timeout: float) -> Answer:
        """Send one request and read the whole answer; `timeout` in seconds."""
        self._connection.timeout = timeout
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout)
        started = time.perf_counter()
        try:
            self._connection.request("POST", "/invocations", body, HEADERS)
            response = self._connection.getresponse()
            response.read()
        except _FAULTS as fault:
            self._connection.close()
            return Answer(time.perf_counter() - started, type(fault).__name__)
        return Answer(time.perf_counter() - started, "" if response.status == 200 else f"status {response.status}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def wait_until_up(target: Target, end: float) -> str:
    """Return nothing once the server says that it is ready, else at the end what it said last.

    Pods can be ready before their Service leads to them.
    """
    while fault := _probe(target):
        if time.monotonic() + LOOK_EVERY > end:
            return fault
        time.sleep(LOOK_EVERY)
    return ""


def _probe(target: Target) -> str:
    try:
        status, _ = _get(target, "/ready")
    except _FAULTS as fault:
        return type(fault).__name__
    return "" if status == 200 else f"status {status} at /ready"


def _get(target: Target, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(target.host, target.port, timeout=LONGEST_REQUEST)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def replay(target: Target, payloads: Sequence[bytes], requests: int, concurrency: int, end: float) -> Played:
    """Send the requests in turn, `concurrency` at a time; what is not sent by `end`, a monotonic time, is left out."""
    bodies = itertools.islice(itertools.cycle(payloads), requests)
    taking, is_over, seen = threading.Lock(), threading.Event(), _Memory(target)
    sampler = threading.Thread(target=seen.sample_until, args=(is_over,), daemon=True)
    sampler.start()
    with ThreadPoolExecutor(concurrency) as pool:
        threads = [pool.submit(_send, target, bodies, taking, end) for _ in range(concurrency)]
        answers = [answer for thread in threads for answer in thread.result()]
    is_over.set()
    sampler.join()
    return Played(answers, seen.most)


def _send(target: Target, bodies: Iterator[bytes], taking: threading.Lock, end: float) -> list[Answer]:
    answers: list[Answer] = []
    with contextlib.closing(Line(target)) as line:
        while (left := end - time.monotonic()) > 0:
            with taking:
                body = next(bodies, None)
            if body is None:
                break
            answers.append(line.ask(body, min(LONGEST_REQUEST, left)))
    return answers


class _Memory:
    """The most memory that the server has said it holds."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.most: int | None = None

    def sample_until(self, is_over: threading.Event) -> None:
        """Look again and again, and once more at the end: each time on a new connection, perhaps to another pod."""
        while not is_over.wait(SAMPLE_EVERY):
            self._sample()
        self._sample()

    def _sample(self) -> None:
        try:
            status, body = _get(self._target, "/metrics")
        except _FAULTS:
            return
        # A server of several processes has one series each.
        if status == 200 and (found := _MEMORY.findall(body)):
            self.most = max(self.most or 0, int(sum(map(float, found))))
