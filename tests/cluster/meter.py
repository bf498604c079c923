"""The model servers' own counters, read from every pod again and again."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.demo.watching import Object, read_json

_EVERY = 0.5  # seconds
_SERIES = re.compile(r"^modelramp_requests_total\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_PODS = "?labelSelector=modelramp.dev/component%3Dmodel"

Series = tuple[str, str]
"""Version and arm."""


@dataclass(frozen=True, slots=True)
class Count:
    """What all pods had counted, read between two moments of this machine's clock; by pod, then by version and arm."""

    began: float
    ended: float
    pods: Mapping[str, Counter[Series]]


def served(before: Count, after: Count) -> Counter[Series]:
    """Return what the pods counted between two readings; a pod that is new began at zero."""
    total: Counter[Series] = Counter()
    for pod, counted in after.pods.items():
        total += counted - before.pods.get(pod, Counter())
    return total


def parse(exposition: str) -> Counter[Series]:
    """Return the requests by version and arm, whatever their status."""
    counted: Counter[Series] = Counter()
    for labels, value in _SERIES.findall(exposition):
        named = dict(_LABEL.findall(labels))
        counted[named["version"], named["arm"]] += int(float(value))
    return counted


class Meter(threading.Thread):
    """Reads the counters of all ready model pods twice a second, all pods at once."""

    def __init__(self, pods: str) -> None:
        """Take the URL of the namespace's pods."""
        super().__init__(daemon=True)
        self._url, self._over = pods, threading.Event()
        self._counts: list[Count] = []
        self._reading = ThreadPoolExecutor(12)

    def run(self) -> None:
        """Read until told to stop."""
        while not self._over.wait(_EVERY):
            with contextlib.suppress(OSError):
                self._counts.append(self._read())

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self.join()
        self._reading.shutdown()

    def between(self, begin: float, end: float) -> list[Count]:
        """Return the readings that lie between two moments as a whole."""
        return [count for count in self._counts if begin <= count.began and count.ended <= end]

    def _read(self) -> Count:
        pods = [pod["metadata"]["name"] for pod in read_json(self._url + _PODS)["items"] if _is_ready(pod)]
        began = time.time()
        counted = dict(zip(pods, self._reading.map(self._read_pod, pods), strict=True))
        return Count(began, time.time(), counted)

    def _read_pod(self, pod: str) -> Counter[Series]:
        # A pod that does not answer spoils the reading: without its count the sum would be wrong.
        with urllib.request.urlopen(f"{self._url}/{pod}:8080/proxy/metrics", timeout=2) as answer:
            return parse(answer.read().decode())


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)
