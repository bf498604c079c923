"""Ask the object's other pods what another version answered to the same requests, and compare.

A pod is asked by the requests' keys and answers only for those: who has not seen a request learns nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import random
import socket
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

from modelramp_runtime.capture import BYTES_TOLD, Captured, Captures, read_answer
from modelramp_runtime.capture_metrics import CaptureMetrics
from modelramp_runtime.comparison import Answer, Compared, compare
from modelramp_runtime.logs import fields
from modelramp_runtime.settings import Asks, Settings

LOG = logging.getLogger("modelramp.comparison")
PATH = "/captured"
EVERY, AT_REST, DEADLINE = 1.0, 32.0, 2.0
"""Seconds: between two rounds, at most while none finds anything, for one pod's answer, however it trickles in."""
MOST_KEYS, MOST_PODS, MOST_EXAMPLES = 256, 16, 3
LONGEST_ANSWER = 2 * BYTES_TOLD
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Told:
    """What a pod of another version has kept of the answers that were asked for."""

    version: str
    answers: Mapping[str, Answer]


class Comparer:
    """Compares in rounds, beside the server; `peers` is a name that leads to every pod of the object."""

    def __init__(self, settings: Settings, metrics: CaptureMetrics) -> None:
        self._peers, self._version = settings.capture_peers, settings.model_version
        self._tolerance = settings.capture_tolerance
        self._rests = settings.capture_asks is Asks.ALL
        self.captures, self._metrics = Captures(settings, metrics), metrics

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep and compare meanwhile."""
        rounds = [asyncio.create_task(self._follow())] if self._peers else []
        tasks = [asyncio.create_task(self.captures.follow()), *rounds]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    async def _follow(self) -> None:
        pause = EVERY
        while True:
            await asyncio.sleep(pause)
            waiting = self.captures.waiting(MOST_KEYS)
            found = await self._compare_safely(waiting) if waiting else 0
            # Where nobody marks copies, every answer may have another, and most have none.
            pause = min(2 * pause, AT_REST) if self._rests and waiting and not found else EVERY

    async def _compare_safely(self, waiting: Mapping[str, Captured]) -> int:
        try:
            return await self._compare(waiting)
        except Exception:
            LOG.exception("the comparison failed")
            return 0

    async def _compare(self, waiting: Mapping[str, Captured]) -> int:
        told = await ask_all(self._peers, self._version, list(waiting))
        pairs = [(each.version, key, theirs) for each in told for key, theirs in each.answers.items() if key in waiting]
        found = []
        for against, key, theirs in pairs:
            captured = self.captures.paired(key)
            if captured and (compared := compare(captured.answer, theirs, self._tolerance)):
                self._metrics.compared(against, compared)
                found.append((captured, against, compared))
            # A pair takes milliseconds, a round up to hundreds of them; answers come first.
            await asyncio.sleep(0)
        self.captures.tried(waiting)
        _log_examples(found)
        return len(found)


def _log_examples(found: Iterable[tuple[Captured, str, Compared]]) -> None:
    apart = [each for each in found if each[2].example]
    for captured, against, compared in apart[:MOST_EXAMPLES]:
        ours, theirs = compared.example or ({}, {})
        about = fields(request_id=captured.request_id, against=against, ours=ours, theirs=theirs)
        LOG.info("the versions disagree", extra=about)


async def ask_all(peers: str, version: str, keys: list[str]) -> list[Told]:
    """Return what the pods behind `peers`, HOST:PORT, have kept of these; one that does not answer says nothing."""
    host, _, port = peers.rpartition(":")
    try:
        addresses = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError:
        return []
    found = sorted({str(address[0]) for *_, address in addresses})
    chosen = random.sample(found, min(len(found), MOST_PODS))
    answers = await asyncio.gather(*(asyncio.to_thread(ask, each, int(port), version, keys) for each in chosen))
    return [told for told in answers if told]


def ask(host: str, port: int, version: str, keys: list[str]) -> Told | None:
    """Return what one pod has kept, None where it is of our own version, keeps nothing or does not answer."""
    connection, ends = http.client.HTTPConnection(host, port, timeout=DEADLINE), time.monotonic() + DEADLINE
    try:
        body = json.dumps({"version": version, "keys": keys})
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return read_told(_read_body(response, ends)) if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _read_body(response: http.client.HTTPResponse, ends: float) -> bytes:
    body = bytearray()
    while len(body) <= LONGEST_ANSWER and time.monotonic() < ends:
        if not (chunk := response.read1(_CHUNK)):
            return bytes(body)
        body += chunk
    raise TimeoutError


def read_told(body: bytes) -> Told | None:
    """Return what a pod said, None where it makes no sense."""
    try:
        said = json.loads(body)
        answers = {str(key): read_answer(each) for key, each in said["answers"].items()}
        return Told(str(said["version"]), answers)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
