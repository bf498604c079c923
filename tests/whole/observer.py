"""An independent watcher: every stored revision of what matters, in the order in which it was stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from modelramp.adapters.kinds import CONFIG_MAP, EVENT, LEASE, MODEL_DEPLOYMENT, Kind
from modelramp.ports import Ref
from tests.whole.admin import Admin, RefusedError

OBSERVED = (MODEL_DEPLOYMENT, CONFIG_MAP, LEASE, EVENT)


@dataclass(frozen=True)
class Revision:
    """One object as it was stored; `version` is etcd's own revision, one count over all kinds."""

    version: int
    kind: Kind
    change: str
    object: Any = field(repr=False)
    at: float = 0.0
    """When the watch delivered it, monotonic."""

    @property
    def name(self) -> str:
        """Return the object's name."""
        return str(self.object["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.version} {self.change} {self.kind.name} {self.name}"


@dataclass
class Trace:
    """What was stored in one namespace."""

    namespace: str
    seen: dict[tuple[str, str, int], Revision] = field(default_factory=dict)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def revisions(self, kind: Kind | None = None, name: str = "") -> list[Revision]:
        """Return the revisions of a kind, or of an object, in their order."""
        found = (each for each in self.seen.values() if kind in (None, each.kind) and name in ("", each.name))
        return sorted(found, key=lambda each: each.version)

    def newest(self, kind: Kind, name: str) -> Revision | None:
        """Return an object's newest revision, None where it never was or is gone."""
        found = self.revisions(kind, name)
        return found[-1] if found and found[-1].change != "DELETED" else None

    def status(self, ref: Ref) -> dict[str, Any]:
        """Return an object's newest status."""
        newest = self.newest(MODEL_DEPLOYMENT, ref.name)
        return dict(newest.object.get("status") or {}) if newest else {}

    def weights(self, ref: Ref) -> dict[str, int]:
        """Return the split that is stored now, versions without traffic left out; empty where there is none."""
        newest = self.newest(CONFIG_MAP, f"{ref.name}-traffic")
        return weights_of(newest.object) if newest else {}

    def events(self, ref: Ref) -> list[tuple[str, str]]:
        """Return reason and note of each Event about an object."""
        newest = {each.name: each.object for each in self.revisions(EVENT)}
        return [(e["reason"], e["note"]) for e in newest.values() if e["regarding"]["name"] == ref.name]

    async def until(self, holds: Callable[[], Any], what: str | Callable[[], str], within: float = 30.0) -> float:
        """Wait until something holds; return when it was noticed. Raises AssertionError when it takes too long."""
        try:
            async with asyncio.timeout(within), self.news:
                while not holds():
                    try:
                        await asyncio.wait_for(self.news.wait(), 0.05)
                    except TimeoutError:
                        continue
        except TimeoutError:
            raise AssertionError(f"not within {within:g} s: {what if isinstance(what, str) else what()}") from None
        return time.monotonic()

    async def until_phase(self, ref: Ref, phase: str, version: str = "", within: float = 40.0) -> None:
        """Wait for a phase, and that this version is stable or, on the way, the candidate."""

        def reached() -> bool:
            status = self.status(ref)
            named = (status.get("candidate") or status.get("stable") or {}).get("version", "")
            return status.get("phase") == phase and version in ("", named)

        def stands() -> str:
            status = self.status(ref)
            shown = {key: status.get(key) for key in ("phase", "reason", "message", "weight", "step", "guardrails")}
            return f"{ref} is {phase} with version {version or 'any'}; it is {shown}, weights {self.weights(ref)}"

        await self.until(reached, stands, within)

    async def until_weights(self, ref: Ref, within: float = 30.0, **weights: int) -> float:
        """Wait until exactly this split is stored, such as v1=90, v2=10; return when."""
        wanted = {version.removeprefix("v"): percent for version, percent in weights.items()}
        return await self.until(
            lambda: self.weights(ref) == wanted, lambda: f"{wanted} of {ref} stored, not {self.weights(ref)}", within
        )

    async def take(self, kind: Kind, change: str, obj: Any) -> None:
        """Take in one revision."""
        version = int(obj["metadata"]["resourceVersion"])
        revision = Revision(version, kind, change, obj, time.monotonic())
        async with self.news:
            known = self.seen.get((kind.name, obj["metadata"]["name"], version))
            if known is None or change == "DELETED":
                self.seen[kind.name, obj["metadata"]["name"], version] = revision
            self.news.notify_all()


def weights_of(config_map: Any) -> dict[str, int]:
    """Return the positive weights by version."""
    data = config_map.get("data") or {}
    found = {key.partition(".v")[2]: int(value) for key, value in data.items() if key.startswith("weight.v")}
    return {version: percent for version, percent in found.items() if percent}


@asynccontextmanager
async def observing(admin: Admin, namespace: str, kinds: Iterable[Kind] = OBSERVED) -> AsyncIterator[Trace]:
    """Record until the end of the block."""
    trace = Trace(namespace)
    tasks = [asyncio.create_task(_record(admin, trace, kind)) for kind in kinds]
    try:
        yield trace
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _record(admin: Admin, trace: Trace, kind: Kind) -> None:
    """Go on from the last revision after a break, so that none is missed; list again only where that is too old."""
    version = ""
    while True:
        try:
            if not version:
                version = await _list(admin, trace, kind)
            async for change, obj in admin.watch(kind, trace.namespace, version):
                version = obj["metadata"]["resourceVersion"]
                await trace.take(kind, change, obj)
        except RefusedError as refused:
            version = "" if refused.status == 410 else version
            await asyncio.sleep(0.02)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            await asyncio.sleep(0.02)


async def _list(admin: Admin, trace: Trace, kind: Kind) -> str:
    items, version = await admin.list(kind, trace.namespace)
    for item in items:
        await trace.take(kind, "ADDED", item)
    return version
