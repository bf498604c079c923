"""Watch a kind that need not be there: only once a ModelDeployment uses it, and as soon as it is installed.

kopf looks for kinds when it starts, and a watch of a kind that nobody uses is a watch too many.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import ClientError
from kubernetes.aio.client.exceptions import ApiException

from modelramp.adapters.kinds import MODEL_DEPLOYMENT, STEERED, Kind, Object
from modelramp.adapters.kubernetes import Cluster, Listing
from modelramp.adapters.slim import slim
from modelramp.adapters.store import Store
from modelramp.ports import Ref
from modelramp.relist import order
from modelramp.rollout.observation import Failed

log = logging.getLogger(__name__)

STEERED_ONLY = f"{STEERED}=true"
SHORTEST, LONGEST = 0.5, 30.0
"""Seconds between two tries; the longest is how late a kind is found that is installed after its first use."""


@dataclass(frozen=True, slots=True)
class Reflector:
    """Lists and watches one kind into the store. `every` is the seconds after which it is listed anew."""

    cluster: Cluster
    store: Store
    kind: Kind
    wake: Callable[[Ref, bool], None]
    namespaces: Sequence[str] = ()
    every: float = 450.0

    async def run(self) -> None:
        """Wait until the kind is used, then reflect it for ever."""
        await self.store.claimed[self.kind.name].wait()
        pause, told = SHORTEST, ""
        while True:
            failed = await self._once()
            if failed and failed.reason != told:
                log.warning("%s are not watched: %s: %s", self.kind.plural, failed.reason, failed.message)
            pause, told = (min(pause * 2, LONGEST), failed.reason) if failed else (SHORTEST, "")
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311

    async def _once(self) -> Failed | None:
        """List, then watch from there until the watch ends by itself."""
        listings = [await self._list(namespace) for namespace in self.namespaces or (None,)]
        for listing in listings:
            if isinstance(listing, Failed):
                return listing
        found = [listing for listing in listings if isinstance(listing, Listing)]
        oldest = min((listing.resource_version for listing in found), key=order)
        items = [obj for listing in found for obj in listing.items]
        self._wake(self.store.replace_all(self.kind, items, oldest))
        seconds = self.every * random.uniform(0.67, 1.33)  # noqa: S311
        watches = [self._watch(namespace, oldest, seconds) for namespace in self.namespaces or (None,)]
        return next((ended for ended in await asyncio.gather(*watches) if ended), None)

    async def _list(self, namespace: str | None) -> Listing | Failed:
        return await self.cluster.list(self.kind, namespace, STEERED_ONLY, partial(slim, self.kind))

    async def _watch(self, namespace: str | None, version: str, seconds: float) -> Failed | None:
        query = {
            "labelSelector": STEERED_ONLY,
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        try:
            async for event in self.cluster.watch(self.kind, namespace, query):
                if event["type"] == "ERROR":
                    return None  # what it began with is too old: list again
                self._take(event)
        except (ClientError, OSError, ApiException, TimeoutError, json.JSONDecodeError) as fault:
            return Failed("WatchBroken", type(fault).__name__)
        return None

    def _take(self, event: Object) -> None:
        obj = event["object"]
        match event["type"]:
            case "DELETED":
                self._wake(self.store.drop(self.kind, obj))
            case "ADDED" | "MODIFIED":
                self._wake(self.store.put(self.kind, obj))

    def _wake(self, refs: frozenset[Ref]) -> None:
        for ref in refs:
            if self.store.get(MODEL_DEPLOYMENT, ref.namespace, ref.name) is not None:
                self.wake(ref, True)
