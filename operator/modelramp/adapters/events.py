"""Kubernetes Events: each said once, repeated ones counted, posted in the background and never in a turn's way."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelramp.adapters.kinds import EVENT, FIELD_MANAGER, MODEL_DEPLOYMENT, Object
from modelramp.adapters.kubernetes import Answer, Cluster, Missing, Reply
from modelramp.lease import Lease
from modelramp.ports import Clock, Conflict, Rollout
from modelramp.rollout.actions import Event

log = logging.getLogger(__name__)

LONGEST_NOTE = 1024  # bytes, by the API
REMEMBERED = 4096
SAME_WITHIN = timedelta(hours=1)  # also how long an API server keeps an Event
COUNT_EVERY = timedelta(minutes=1)
BURST, REFILL = 25, timedelta(minutes=1)  # per object and reason: chatter must not drown a rollback


@dataclass(frozen=True, slots=True)
class _Posting:
    rollout: Rollout
    event: Event
    at: datetime

    @property
    def name(self) -> str:
        """Name it by what it says: after a restart the same Event meets itself."""
        said = f"{self.rollout.uid}\n{self.event.reason}\n{self.event.message}"
        return f"{self.rollout.ref.name[:230]}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class _Series:
    count: int
    since: datetime
    posted: datetime


@dataclass(frozen=True, slots=True)
class _Bucket:
    left: float
    at: datetime


class ClusterEvents:
    """Posts Events while this process leads. `run` does the posting; `dropped` and `failed` count what was not."""

    def __init__(self, cluster: Cluster, lease: Lease, clock: Clock, *, instance: str, room: int = 1000) -> None:
        self._cluster = cluster
        self._lease = lease
        self._clock = clock
        self._instance = instance
        self._queue: asyncio.Queue[_Posting] = asyncio.Queue(room)
        self._series: OrderedDict[str, _Series] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self.dropped = 0
        self.failed = 0

    async def emit(self, rollout: Rollout, events: Sequence[Event]) -> None:
        """Line the events up; what does not fit, or is too much of one object, is dropped and counted."""
        for event in events:
            posting = _Posting(rollout, event, self._clock.now())
            if self._queue.full() or not self._is_within_rate(posting):
                self.dropped += 1
            else:
                self._queue.put_nowait(posting)

    async def run(self) -> None:
        """Post what is lined up, for ever; cancel it to stop."""
        while True:
            posting = await self._queue.get()
            try:
                await self._post(posting)
            finally:
                self._queue.task_done()

    async def flush(self, deadline: float) -> None:
        """Wait until all is posted, at most `deadline` seconds."""
        try:
            async with asyncio.timeout(deadline):
                await self._queue.join()
        except TimeoutError:
            log.warning("%d events were not posted in time", self._queue.qsize())

    def _is_within_rate(self, posting: _Posting) -> bool:
        key, now = (posting.rollout.uid, posting.event.reason), posting.at
        known = self._buckets.pop(key, _Bucket(BURST, now))
        left = min(float(BURST), known.left + (now - known.at) / REFILL)
        self._buckets[key] = _Bucket(left - 1 if left >= 1 else left, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return left >= 1

    async def _post(self, posting: _Posting) -> None:
        if not self._lease.held():
            return
        known = self._series.get(posting.name)
        if known is None or posting.at - known.since > SAME_WITHIN:
            answer = await self._create(posting)
        else:
            answer = await self._count(posting, known)
        if not isinstance(answer, Reply | None):
            self.failed += 1
            log.warning("an event was not posted: %s", answer.message)

    async def _create(self, posting: _Posting) -> Answer | None:
        answer = await self._cluster.create(self._object(posting))
        if isinstance(answer, Conflict):
            return await self._join(posting)
        if isinstance(answer, Reply):
            self._remember(posting.name, _Series(1, posting.at, posting.at))
        return answer

    async def _join(self, posting: _Posting) -> Answer | None:
        """Go on counting an Event that an earlier process posted."""
        found = await self._cluster.get(EVENT, posting.rollout.ref.namespace, posting.name)
        if not isinstance(found, Reply):
            return found
        count = int((found.object.get("series") or {}).get("count", 1))
        return await self._count(posting, _Series(count, posting.at, datetime.min.replace(tzinfo=posting.at.tzinfo)))

    async def _count(self, posting: _Posting, known: _Series) -> Answer | None:
        counted = replace(known, count=known.count + 1)
        self._remember(posting.name, counted)
        if posting.at - known.posted < COUNT_EVERY:
            return None
        series = {"series": {"count": counted.count, "lastObservedTime": _micro(posting.at)}}
        answer = await self._cluster.patch(EVENT, posting.rollout.ref.namespace, posting.name, series)
        if isinstance(answer, Missing):
            self._series.pop(posting.name, None)
            return await self._cluster.create(self._object(posting))
        if isinstance(answer, Reply):
            self._remember(posting.name, replace(counted, posted=posting.at))
        return answer

    def _remember(self, name: str, series: _Series) -> None:
        self._series[name] = series
        self._series.move_to_end(name)
        if len(self._series) > REMEMBERED:
            self._series.popitem(last=False)

    def _object(self, posting: _Posting) -> Object:
        ref, event = posting.rollout.ref, posting.event
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"name": posting.name, "namespace": ref.namespace},
            "eventTime": _micro(posting.at),
            "reportingController": FIELD_MANAGER,
            "reportingInstance": self._instance[:128],
            "action": event.reason,
            "reason": event.reason,
            "type": "Normal" if event.normal else "Warning",
            "note": event.message.encode()[:LONGEST_NOTE].decode(errors="ignore"),
            "regarding": {
                "apiVersion": MODEL_DEPLOYMENT.api_version,
                "kind": MODEL_DEPLOYMENT.name,
                "namespace": ref.namespace,
                "name": ref.name,
                "uid": posting.rollout.uid,
            },
        }


def _micro(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
