"""Full reads of what is watched: the first before the first turn, later ones repair what a watch has missed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from modelramp.adapters.kinds import Kind
from modelramp.adapters.kubernetes import Cluster, Listing
from modelramp.adapters.slim import slim
from modelramp.adapters.store import Store
from modelramp.ports import Ref
from modelramp.rollout.observation import Failed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Relist:
    """Reads every kind whole. `namespaces` empty means all; `selector` says which objects of a kind."""

    cluster: Cluster
    store: Store
    kinds: Sequence[Kind]
    selector: Callable[[Kind], str]
    namespaces: Sequence[str] = ()

    async def once(self) -> frozenset[Ref] | Failed:
        """Read everything; return whom to wake, or why a kind could not be read."""
        woken: frozenset[Ref] = frozenset()
        for kind in self.kinds:
            listing = await self._list(kind)
            if isinstance(listing, Failed):
                return listing
            woken |= self.store.replace_all(kind, listing.items, listing.resource_version)
        return woken

    async def until_complete(self, again: timedelta = timedelta(seconds=1)) -> None:
        """Read until it succeeds; say once what each trouble is."""
        told = ""
        while isinstance(failed := await self.once(), Failed):
            if told != failed.reason:
                told = failed.reason
                log.warning("waiting for the first full read: %s: %s", failed.reason, failed.message)
            await asyncio.sleep(again.total_seconds())

    async def forever(self, every: timedelta, wake: Callable[[Ref], None], repaired: Callable[[int], None]) -> None:
        """Read again and again, a third earlier or later each time; wake whom a watch should have woken."""
        while True:
            await asyncio.sleep(every.total_seconds() * random.uniform(0.67, 1.33))  # noqa: S311
            woken = await self.once()
            if isinstance(woken, Failed):
                log.warning("no full read: %s: %s", woken.reason, woken.message)
                continue
            if woken:
                repaired(len(woken))
                log.info("a full read found %d objects changed", len(woken))
            for ref in woken:
                wake(ref)

    async def _list(self, kind: Kind) -> Listing | Failed:
        """Read a kind in all namespaces; of several lists the oldest says what may be missing from them."""
        items: list[Listing] = []
        for namespace in self.namespaces or (None,):
            listing = await self.cluster.list(kind, namespace, self.selector(kind), partial(slim, kind))
            if isinstance(listing, Failed):
                return listing
            items.append(listing)
        oldest = min((listing.resource_version for listing in items), key=order)
        return Listing(tuple(obj for listing in items for obj in listing.items), oldest)


def order(version: str) -> int:
    """Return a resource version's place among others; of one that is no number nothing is known."""
    return int(version) if version.isdecimal() else 0
