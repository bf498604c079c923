"""A guardrail's own question, asked of Prometheus ten times a second: when could its breach be seen at all."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from modelramp.rollout.queries import backend, render
from modelramp.rollout.spec import ConfigMapTraffic
from modelramp.rollout.templates import ROUTER
from tests.cluster.scene import MODEL, NAMESPACE
from tests.cluster.world import World

_EVERY = 0.06  # seconds between two questions
RAIL = "error-rate"
TOLERANCE = 1.2
WINDOW = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Reading:
    """One pair of answers, of this machine's clock."""

    asked: float
    answered: float
    candidate: float | None
    stable: float | None

    @property
    def is_over(self) -> bool:
        """Tell whether a guardrail that got these answers would fail."""
        if self.candidate is None or self.stable is None:
            return False
        return self.candidate > self.stable * TOLERANCE + ROUTER[RAIL].slack


def visible_since(readings: Sequence[Reading]) -> float | None:
    """Return the earliest moment at which the breach can have been visible: the last question without it."""
    for before, reading in pairwise(readings):
        if reading.is_over:
            return before.asked
    return None


def question(version: str) -> str:
    """Return what the guardrail asks about a version."""
    return render(
        ROUTER[RAIL].query, {"backend": backend(NAMESPACE, MODEL, version, ConfigMapTraffic()), "window": WINDOW}
    )


class LimitWatch(threading.Thread):
    """Asks until told to stop."""

    def __init__(self, world: World, candidate: str, stable: str) -> None:
        """Take whom to ask, and about whom."""
        super().__init__(daemon=True)
        self._world, self._over = world, threading.Event()
        self._questions = question(candidate), question(stable)
        self.readings: list[Reading] = []

    def run(self) -> None:
        """Ask."""
        while not self._over.wait(_EVERY):
            asked = time.time()
            with contextlib.suppress(OSError):
                candidate, stable = map(self._world.ask, self._questions)
                self.readings.append(Reading(asked, time.time(), candidate, stable))

    def __enter__(self) -> LimitWatch:
        """Begin."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._over.set()
        self.join()
