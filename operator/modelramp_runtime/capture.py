"""What the server keeps of its answers, to compare them with another version's to the same requests.

A request is chosen by a hash of its id, so that two versions choose the same ones. Its answer is put aside on a short
queue and kept by a task of its own; what is too much is dropped and counted, never waited for. Inputs are not kept:
a request's body is only in the key, as a hash, so that an id that is used twice joins no strangers.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from modelramp_runtime.answer import Outputs
from modelramp_runtime.capture_metrics import CaptureMetrics
from modelramp_runtime.comparison import Answer
from modelramp_runtime.metrics import Arm
from modelramp_runtime.policy import Decisions
from modelramp_runtime.scoring import Scored
from modelramp_runtime.settings import Asks, Settings

KEPT, PUT_ASIDE = 2000, 64
MOST_ROWS, MOST_OUTPUTS = 100, 20
TRIES = 10
"""How often another version is asked for its answer to a request before it is taken for lost."""
_HASHED = 65_536
_WHOLE = 2**64


def is_chosen(request_id: str, percent: float) -> bool:
    """Tell whether the request of that id is among the `percent` that every version keeps."""
    place = int.from_bytes(blake2b(request_id.encode(), digest_size=8).digest())
    return place < percent / 100 * _WHOLE


def key_of(request_id: str, body: bytes) -> str:
    """Return what two answers to one request have in common, which nobody can tell who has not seen the request."""
    found = blake2b(f"{request_id}\n{len(body)}\n".encode(), digest_size=16)
    found.update(body[:_HASHED])
    return found.hexdigest()


@dataclass(frozen=True, slots=True)
class Captured:
    """One answer that is kept."""

    request_id: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class _Aside:
    key: str
    request_id: str
    arm: Arm
    scored: Scored


class Captures:
    """The newest answers to the chosen requests, and which of them wait for another version's."""

    def __init__(self, settings: Settings, metrics: CaptureMetrics) -> None:
        self._percent, self._asks = settings.capture_percent, settings.capture_asks
        self._metrics = metrics
        self._aside: asyncio.Queue[_Aside] = asyncio.Queue(PUT_ASIDE)
        self._kept: OrderedDict[str, Captured] = OrderedDict()
        self._waiting: OrderedDict[str, int] = OrderedDict()

    def offer(self, request_id: str, arm: Arm, body: bytes, scored: Scored) -> None:
        """Put an answer aside if its request is chosen; takes microseconds and never waits."""
        if not self._percent or arm is Arm.STAGING or not is_chosen(request_id, self._percent):
            return
        try:
            self._aside.put_nowait(_Aside(key_of(request_id, body), request_id, arm, scored))
        except asyncio.QueueFull:
            self._metrics.dropped(arm)

    async def follow(self) -> None:
        """Keep what was put aside, one answer at a time, for ever."""
        while True:
            aside = await self._aside.get()
            self._keep(aside)
            # The queue may never be empty; answers come first.
            await asyncio.sleep(0)

    def _keep(self, aside: _Aside) -> None:
        self._kept[aside.key] = Captured(aside.request_id, _answer_of(aside.scored))
        self._metrics.kept(aside.arm)
        if aside.arm is Arm.SHADOW or self._asks is Asks.ALL:
            self._waiting[aside.key] = TRIES
        if len(self._kept) > KEPT:
            oldest, _ = self._kept.popitem(last=False)
            self._give_up(oldest)

    def waiting(self, most: int) -> dict[str, Captured]:
        """Return answers that wait for another version's, the newest first: the others keep no more than we do."""
        return {key: self._kept[key] for key in itertools.islice(reversed(self._waiting), most)}

    def paired(self, key: str) -> Captured | None:
        """Return our answer, which now has its other; None where it had one already."""
        return self._kept.get(key) if self._waiting.pop(key, None) else None

    def tried(self, keys: Iterable[str]) -> None:
        """Note that the answers of these were asked for; those that still wait come after all others from now on."""
        for key in keys:
            left = self._waiting.pop(key, 0) - 1
            if left > 0:
                self._waiting[key] = left
                self._waiting.move_to_end(key, last=False)
            elif left == 0:
                self._metrics.unpaired()

    def _give_up(self, key: str) -> None:
        if self._waiting.pop(key, None):
            self._metrics.unpaired()

    def told(self) -> dict[str, Any]:
        """Return every answer by its key, as JSON has it."""
        return {key: told_of(each.answer) for key, each in self._kept.items()}


def told_of(answer: Answer) -> dict[str, Any]:
    """Return an answer as JSON has it."""
    return {"outputs": answer.outputs, "decisions": answer.decisions, "policy": answer.policy}


def _answer_of(scored: Scored) -> Answer:
    decisions = scored.predicted.decisions
    return Answer(_first(scored.predicted.outputs), None if decisions is None else _first(decisions), scored.policy)


def _first(columns: Outputs | Decisions) -> dict[str, list[Any]]:
    """Return the first rows of the first columns as plain values."""
    return {name: _plain(values) for name, values in itertools.islice(columns.items(), MOST_OUTPUTS)}


def _plain(values: Any) -> list[Any]:
    first = values[:MOST_ROWS]
    listed = first.tolist() if hasattr(first, "tolist") else list(first)
    return [value if isinstance(value, str | int | float | None) else str(value) for value in listed]
