"""Look now and then whether the registry still has what was resolved; a turn takes what is known and waits for nothing.

A registry that does not answer changes nothing of what is known; where nothing is, it says why.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelramp.adapters.mlflow_process import Answer, Worker
from modelramp.lease import Lease
from modelramp.ports import Ref, Rollout
from modelramp.rollout.observation import Entry, Failed, NoData, Reading, Value
from modelramp.rollout.status import Pin

_DEADLINE = 20.0


@dataclass(eq=False)
class _Watch:
    model: str
    versions: tuple[str, ...]
    known: dict[str, Reading[Entry]] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


class PinWatch:
    """Asks about the version that serves and the one that is tried, once every `period` seconds, and wakes on news."""

    def __init__(
        self,
        worker: Worker,
        lease: Lease,
        wake: Callable[[Ref], None],
        alive: Callable[[Ref], bool],
        period: float = 3600.0,
    ) -> None:
        """Prepare; `alive` tells whether an object still exists."""
        self._worker, self._lease, self._wake, self._alive, self._period = worker, lease, wake, alive, period
        self._watches: dict[Ref, _Watch] = {}

    async def seen(self, rollout: Rollout) -> Mapping[str, Reading[Entry]]:
        """Return what the registry said last, by version; what it was never asked is missing."""
        pins = (rollout.status.stable, rollout.status.candidate)
        versions = tuple(pin.version for pin in pins if pin is not None)
        watch = self._watches.get(rollout.ref)
        if watch is None or (watch.model, watch.versions) != (rollout.spec.model_name, versions):
            self._end(watch)
            known, is_new = _kept(watch, rollout, versions), watch is not None
            watch = self._watches[rollout.ref] = _Watch(rollout.spec.model_name, versions, known)
            if versions:
                # What was resolved just now is looked up with the attempt's own writes, and costs none of its own.
                soon = is_new and not known.keys() >= set(versions)
                look = self._look(rollout.ref, watch, 0.0 if soon else self._period / 10 * random.random())  # noqa: S311
                watch.task = asyncio.create_task(look, name=f"pins of {rollout.ref}")
        return watch.known

    async def close(self) -> None:
        """Stop looking."""
        for watch in self._watches.values():
            self._end(watch)

    @staticmethod
    def _end(watch: _Watch | None) -> None:
        if watch and watch.task:
            watch.task.cancel()

    async def _look(self, ref: Ref, watch: _Watch, first: float) -> None:
        """Look for as long as the object exists, `first` seconds from now: not all objects at once after a start."""
        await asyncio.sleep(first)
        while self._alive(ref):
            if self._lease.held():
                await self._ask_all(ref, watch)
            await asyncio.sleep(self._period)
        self._watches.pop(ref, None)

    async def _ask_all(self, ref: Ref, watch: _Watch) -> None:
        found = {version: _entry(version, await self._ask(watch.model, version)) for version in watch.versions}
        silent = {version for version, each in found.items() if isinstance(each, Failed) and version in watch.known}
        news = {**watch.known, **{version: each for version, each in found.items() if version not in silent}}
        if news != watch.known:
            watch.known = news
            self._wake(ref)

    async def _ask(self, model: str, version: str) -> Answer:
        await self._worker.ready()
        call = self._worker.ask({"ask": "pin", "name": model, "version": version})
        try:
            async with asyncio.timeout(_DEADLINE):
                return await asyncio.shield(call.answer)
        except TimeoutError:
            return Failed("RegistryTimeout", f"a version was not looked up within {_DEADLINE:g} s")


def _kept(watch: _Watch | None, rollout: Rollout, versions: tuple[str, ...]) -> dict[str, Reading[Entry]]:
    """Return what is known of the versions that matter still: a promotion forgets nothing."""
    if watch is None or watch.model != rollout.spec.model_name:
        return {}
    return {version: known for version, known in watch.known.items() if version in versions}


def _entry(version: str, answer: Answer) -> Reading[Entry]:
    match answer:
        case Value(found):
            said: Mapping[str, Any] = found
            pin = Pin(version, said["run_id"], said["source"], "", said["created"])
            return Value(Entry(pin, said["sunset"]))
        case NoData() | Failed():
            return answer
