"""What the server keeps of its answers, to compare them with another version's to the same requests.

A request is chosen by a hash of its id, so that two versions choose the same ones. Its answer is put aside on a short
queue and kept by a task of its own; what is too much is dropped and counted, never waited for. Inputs are not kept:
a request's body is only in the key, as a hash, so that an id that is used twice joins no strangers.
An answer is kept as the JSON by which it is told: what is kept is bounded in bytes, and telling it takes no time.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from modelramp_runtime.answer import Outputs
from modelramp_runtime.capture_metrics import CaptureMetrics
from modelramp_runtime.comparison import LONGEST_NUMBER, Answer
from modelramp_runtime.logs import fields
from modelramp_runtime.metrics import Arm
from modelramp_runtime.policy import Decisions
from modelramp_runtime.scoring import Scored
from modelramp_runtime.settings import Asks, Settings

LOG = logging.getLogger("modelramp.capture")
KEPT, PUT_ASIDE = 2000, 64
MOST_ROWS, MOST_OUTPUTS, MOST_TEXT = 100, 20, 64
BYTES_KEPT, BYTES_ASIDE, BYTES_TOLD = 32 * 2**20, 16 * 2**20, 2 * 2**20
"""At most of all kept answers, of the bodies of those put aside, of the answers to one question."""
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
    """One answer that is kept; `told` is its JSON, of ASCII."""

    request_id: str
    told: str

    @property
    def answer(self) -> Answer:
        """The answer as it is compared."""
        return read_answer(json.loads(self.told))


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
        self._bytes_aside = 0
        self._kept: OrderedDict[str, Captured] = OrderedDict()
        self._bytes_kept = 0
        self._waiting: OrderedDict[str, int] = OrderedDict()

    def offer(self, request_id: str, arm: Arm, body: bytes, scored: Scored) -> None:
        """Put an answer aside if its request is chosen; takes microseconds and never waits."""
        if not self._percent or arm is Arm.STAGING or not is_chosen(request_id, self._percent):
            return
        size = len(scored.body)
        # One of whatever size: it is there anyway.
        if self._aside.full() or (self._bytes_aside and self._bytes_aside + size > BYTES_ASIDE):
            self._metrics.dropped(arm)
            return
        self._aside.put_nowait(_Aside(key_of(request_id, body), request_id, arm, scored))
        self._bytes_aside += size

    async def follow(self) -> None:
        """Keep what was put aside, one answer at a time, for ever."""
        while True:
            aside = await self._aside.get()
            self._bytes_aside -= len(aside.scored.body)
            self._keep_safely(aside)
            # The queue may never be empty; answers come first.
            await asyncio.sleep(0)

    def _keep_safely(self, aside: _Aside) -> None:
        try:
            self._keep(aside, Captured(aside.request_id, json.dumps(told_of(_answer_of(aside.scored)))))
        except Exception as error:  # noqa: BLE001 whatever a model's values do, the next answer is kept
            # Without the trace: it may quote the value.
            LOG.warning("an answer cannot be kept", extra=fields(error=type(error).__name__))
            self._metrics.dropped(aside.arm)

    def _keep(self, aside: _Aside, captured: Captured) -> None:
        if earlier := self._kept.pop(aside.key, None):
            self._bytes_kept -= len(earlier.told)
        self._kept[aside.key] = captured
        self._bytes_kept += len(captured.told)
        self._metrics.kept(aside.arm)
        if aside.arm is Arm.SHADOW or self._asks is Asks.ALL:
            self._waiting[aside.key] = TRIES
        while len(self._kept) > KEPT or self._bytes_kept > BYTES_KEPT:
            oldest, forgotten = self._kept.popitem(last=False)
            self._bytes_kept -= len(forgotten.told)
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

    def told(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the answers with these keys as JSON, as many as one message holds."""
        return fitting((key, self._kept[key].told) for key in keys if key in self._kept)


def fitting(told: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the first of these, as many as one message holds."""
    found: dict[str, str] = {}
    left = BYTES_TOLD
    for key, each in told:
        left -= len(each)
        if left < 0:
            break
        found[key] = each
    return found


def told_of(answer: Answer) -> dict[str, Any]:
    """Return an answer as JSON has it."""
    return {"outputs": answer.outputs, "decisions": answer.decisions, "policy": answer.policy}


def read_answer(said: Mapping[str, Any]) -> Answer:
    """Return an answer that was told. Raises KeyError, TypeError and AttributeError for what is none."""
    outputs, decisions = said["outputs"], said["decisions"]
    return Answer(_columns(outputs), None if decisions is None else _columns(decisions), str(said["policy"]))


def _columns(said: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in said.items()}


def _answer_of(scored: Scored) -> Answer:
    decisions = scored.predicted.decisions
    return Answer(_first(scored.predicted.outputs), None if decisions is None else _first(decisions), scored.policy)


def _first(columns: Outputs | Decisions) -> dict[str, list[Any]]:
    """Return the first rows of the columns that are first by name, in whatever order a version has them."""
    return {_text(name): _rows(columns[name]) for name in sorted(columns)[:MOST_OUTPUTS]}


def _rows(values: Any) -> list[Any]:
    first = values[:MOST_ROWS]
    return [_plain(value) for value in (first.tolist() if hasattr(first, "tolist") else first)]


def _plain(value: Any) -> Any:
    match value.item() if isinstance(value, np.generic) else value:
        case None | bool() | float() as plain:
            return plain
        case int() as number if number.bit_length() <= LONGEST_NUMBER:
            return number
        case other:
            return _text(str(other))


def _text(value: str) -> str:
    """Return a text, or the beginning of a long one and a hash by which two are told apart."""
    if len(value) <= MOST_TEXT:
        return value
    rest = blake2b(value.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return f"{value[:MOST_TEXT]}… {rest}"
