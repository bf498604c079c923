"""The PromotionPolicies and the labels of namespaces: listed, and listed again when a watch says that one has changed.

Not by the operator's other watches: those end the process when they cannot go on, and without policies there is
still everything to protect. Here a failure makes the policies unknown, until they can be listed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from aiohttp import ClientError

from modelramp.adapters.kinds import NAMESPACE, PROMOTION_POLICY, Kind, Object
from modelramp.adapters.kubernetes import Cluster, Listing
from modelramp.api.problem import Problem
from modelramp.api.promotion import read_policy
from modelramp.ports import Rollout
from modelramp.rollout.observation import Failed, Reading, Value
from modelramp.rollout.rulebook import PromotionPolicy, Rulebook, Subject

WATCH, AGAIN, TOGETHER = 60, 1.0, 0.2
"""Seconds: a watch's length, between two tries, and for changes that come together."""
UNKNOWN = "PromotionPoliciesUnknown"

Labels = Mapping[str, Mapping[str, str]]
"""Of each namespace."""


class ClusterFloors:
    """The policies of an API server; `run` keeps them, `read` asks nobody."""

    def __init__(self, cluster: Cluster, again: float = AGAIN, *, asked: bool = False) -> None:
        """Keep where they are, and whether the API server asks who writes an override."""
        self._cluster, self._again, self._asked = cluster, again, asked
        self._policies: Reading[tuple[PromotionPolicy, ...]] = Failed(
            UNKNOWN, "the PromotionPolicies are not listed yet"
        )
        self._labels: Reading[Labels] = Failed(UNKNOWN, "the namespaces' labels are not listed yet")

    async def run(self) -> None:
        """Keep up with the API server, for ever."""
        await asyncio.gather(self._keep_policies(), self._keep_labels())

    async def read(self, rollout: Rollout) -> Reading[Rulebook]:
        """Return what is known; a namespace that is not listed yet matters where a policy asks for its labels."""
        if not isinstance(self._policies, Value):
            return self._policies
        policies, namespace = self._policies.value, rollout.ref.namespace
        labels = self._labels_of(namespace) if any(each.selector.namespace_labels for each in policies) else Value({})
        if not isinstance(labels, Value):
            return labels
        return Value(Rulebook(policies, Subject(namespace, labels.value, rollout.labels)))

    def _labels_of(self, namespace: str) -> Reading[Mapping[str, str]]:
        if not isinstance(self._labels, Value):
            return self._labels
        found = self._labels.value.get(namespace)
        return Failed(UNKNOWN, f"namespace {namespace} is not listed yet") if found is None else Value(found)

    async def _keep_policies(self) -> None:
        while True:
            listing = await self._list(PROMOTION_POLICY, "PromotionPolicies")
            self._policies = _parsed(listing.items, asked=self._asked) if isinstance(listing, Listing) else listing
            await self._changed(PROMOTION_POLICY, listing)

    async def _keep_labels(self) -> None:
        while True:
            listing = await self._list(NAMESPACE, "namespaces")
            self._labels = _labels(listing.items) if isinstance(listing, Listing) else listing
            await self._changed(NAMESPACE, listing)

    async def _list(self, kind: Kind, what: str) -> Listing | Failed:
        listing = await self._cluster.list(kind)
        return listing if isinstance(listing, Listing) else Failed(UNKNOWN, f"the {what}: {listing.message}")

    async def _changed(self, kind: Kind, listing: Listing | Failed) -> None:
        failed: object = listing
        if isinstance(listing, Listing):
            failed = await self._until_changed(kind, listing.resource_version)
        await asyncio.sleep(self._again if isinstance(failed, Failed) else TOGETHER)

    async def _until_changed(self, kind: Kind, since: str) -> Failed | None:
        """Watch until anything of a kind has changed: a watch that ends in silence is opened again, nothing is read."""
        while True:
            silent = await self._wait(kind, since)
            if not isinstance(silent, str):
                return silent
            since = silent
            await asyncio.sleep(TOGETHER)

    async def _wait(self, kind: Kind, since: str) -> str | Failed | None:
        """Return None once anything has changed, after WATCH seconds of silence the version up to which nothing has."""
        query = {"resourceVersion": since, "timeoutSeconds": str(WATCH)}
        try:
            async for event in self._cluster.watch(kind, None, query):
                if event["type"] != "BOOKMARK":
                    return None
                since = event["object"]["metadata"]["resourceVersion"]
        except (ClientError, OSError, TimeoutError, ValueError, KeyError) as fault:
            return Failed(UNKNOWN, type(fault).__name__)
        return since


class NoFloors:
    """Where the operator is told that there are none."""

    async def run(self) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    async def read(self, rollout: Rollout) -> Reading[Rulebook]:
        """Return an empty rulebook."""
        return Value(Rulebook((), Subject(rollout.ref.namespace, labels=rollout.labels)))


def _parsed(objects: Iterable[Object], *, asked: bool) -> Reading[tuple[PromotionPolicy, ...]]:
    """Read every policy; with one that cannot be read it is not known what is asked."""
    policies = []
    for obj in objects:
        policy = read_policy(obj)
        if isinstance(policy, Problem):
            return Failed("PromotionPolicyInvalid", f"PromotionPolicy {obj['metadata']['name']}: {policy}")
        policies.append(replace(policy, asked=asked))
    return Value(tuple(policies))


def _labels(objects: Iterable[Object]) -> Reading[Labels]:
    return Value({obj["metadata"]["name"]: obj["metadata"].get("labels") or {} for obj in objects})
