"""See whether a split is in effect from the mesh's own counters, by way of Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from modelramp.ports import Metrics, Ref, Rollout
from modelramp.rollout import queries
from modelramp.rollout.observation import Effect, Failed, NoData, Reading, Route, Split, Value
from modelramp.rollout.shares import Counted, Standing, judge_shares
from modelramp.rollout.traffic import preceding

WINDOW = timedelta(minutes=1)
MEMORY = timedelta(minutes=1)
"""Counts of a split that is in effect begin anew so often: an old hour must not outvote the last minute."""


@dataclass(frozen=True, slots=True)
class CounterQueries:
    """PromQL for how many requests a version has been sent, as counters; each is asked at about the same time."""

    live: str
    mirrored: str


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two looks while the split is not known to be in effect, and while it is."""

    unsettled: float = 1.0
    settled: float = 5.0


@dataclass(slots=True)
class _Account:
    """What was counted of one ModelDeployment since its split was stored, or since it was contradicted.

    What was seen in effect once stays so until something speaks against it.
    """

    split: Split
    began_at: float
    began_with: Counted
    effective: bool = False


@dataclass(slots=True)
class _Known:
    """What is remembered of one ModelDeployment."""

    until: float
    reading: Reading[Effect]
    account: _Account | None = None
    totals: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)


class Counters:
    """Looks at the counters no more often than `pace` says, and judges what came between two looks."""

    def __init__(self, metrics: Metrics, pace: Pace = Pace()) -> None:
        self._metrics, self._pace = metrics, pace
        self._known: dict[Ref, _Known] = {}

    async def measure(self, rollout: Rollout, route: Route, asked: CounterQueries) -> Reading[Effect]:
        """Return what the mesh does, as of at most `pace` ago."""
        now, split = asyncio.get_running_loop().time(), route.split
        known = self._known.setdefault(rollout.ref, _Known(0.0, Failed("NotAsked", "")))
        moved = known.account is None or split is None or not known.account.split.same(split)
        if now < known.until and not moved:
            return known.reading
        counted = await self._count(rollout, route, asked)
        known.reading = counted if isinstance(counted, Failed) else _judge(rollout, route, counted, known, now)
        settled = isinstance(known.reading, Value) and known.reading.value.in_effect is not None
        known.until = now + (self._pace.settled if settled else self._pace.unsettled)
        return known.reading

    async def _count(self, rollout: Rollout, route: Route, asked: CounterQueries) -> Counted | Failed:
        """Ask for every version at a time, so that as few as possible are asked on both sides of a scrape."""
        mirror = route.split.mirror if route.split else {}
        copied = [version for version, percent in mirror.items() if percent > 0]
        lived = [version for version in sorted(route.backends) if version not in copied]
        answers = await asyncio.gather(
            *(self._ask(rollout, asked.live, version) for version in lived),
            *(self._ask(rollout, asked.mirrored, version) for version in copied),
        )
        for answer in answers:
            if isinstance(answer, Failed):
                return Failed(answer.reason, f"the mesh's counters: {answer.message}")
        counts = [answer for answer in answers if isinstance(answer, int)]
        return Counted(dict(zip(lived, counts, strict=False)), dict(zip(copied, counts[len(lived) :], strict=True)))

    async def _ask(self, rollout: Rollout, query: str, version: str) -> int | Failed:
        match await self._metrics.query(_rendered(rollout, query, version)):
            case Value(number):
                return int(number)
            case NoData():  # a counter is not there before its first request
                return 0
            case failed:
                return failed


def _rendered(rollout: Rollout, query: str, version: str) -> str:
    ref = rollout.ref
    subject = queries.Subject(ref.namespace, ref.name, rollout.spec.model_name, version, rollout.spec.traffic)
    return queries.render(query, queries.values(subject, rollout.status, WINDOW))


def _judge(rollout: Rollout, route: Route, counted: Counted, known: _Known, now: float) -> Reading[Effect]:
    requests = _accumulate(known, {**counted.live, **counted.mirrored})
    if route.split is None:
        return Value(Effect(None, requests, detail=route.malformed))
    account = known.account
    if account is None or not account.split.same(route.split) or _fell(account.began_with, counted):
        known.account = account = _Account(route.split, now, counted)
    since, elapsed = _difference(counted, account.began_with), timedelta(seconds=now - account.began_at)
    opinion = judge_shares(route.split, preceding(rollout.status), since, elapsed)
    contradicted = opinion.standing is Standing.CONTRADICTED
    effective = opinion.standing is Standing.EFFECTIVE or (account.effective and not contradicted)
    begins_anew = contradicted or (effective and elapsed > MEMORY)
    known.account = _Account(route.split, now, counted, effective) if begins_anew else account
    known.account.effective = effective
    scarce = opinion.standing is Standing.SCARCE
    return Value(Effect(route.split if effective else None, requests, detail=opinion.detail, scarce=scarce))


def _accumulate(known: _Known, counts: Mapping[str, int]) -> dict[str, int]:
    """Return sums that only grow, over counters that go with the pod that counted."""
    for version, count in counts.items():
        known.totals[version] = known.totals.get(version, 0) + max(0, count - known.last.get(version, 0))
    known.last.update(counts)
    return dict(known.totals)


def _fell(before: Counted, after: Counted) -> bool:
    pairs = ((before.live, after.live), (before.mirrored, after.mirrored))
    return any(new.get(version, 0) < count for old, new in pairs for version, count in old.items())


def _difference(after: Counted, before: Counted) -> Counted:
    return Counted(_minus(after.live, before.live), _minus(after.mirrored, before.mirrored))


def _minus(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    versions: Iterable[str] = {*after, *before}
    return {version: after.get(version, 0) - before.get(version, 0) for version in versions}
