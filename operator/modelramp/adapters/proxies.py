"""Ask the routers of a ModelDeployment what they do, and fold their answers into one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import ClientSession

from modelramp.adapters.kinds import COMPONENT, POD, ROUTER, Object
from modelramp.adapters.route import Stored
from modelramp.adapters.store import Store
from modelramp.ports import Ref
from modelramp.rollout.observation import Effect, Failed, Reading, Split, Value
from modelramp.router.admin import Unreadable
from modelramp.router.stats import RouterEffect, read_effect

STATS_PORT = "stats"
Answers = Mapping[str, RouterEffect | Unreadable]
"""What each router pod said, by the pod's name."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between two looks while the split is not in effect, between two while it is, and for one answer."""

    unsettled: float = 1.0
    settled: float = 5.0
    deadline: float = 1.0


@dataclass(slots=True)
class Totals:
    """Request counters that only grow, over pods that restart and go."""

    by_version: dict[str, int] = field(default_factory=dict)
    last: dict[str, Mapping[str, int]] = field(default_factory=dict)

    def count(self, readings: Mapping[str, Mapping[str, int]], present: frozenset[str]) -> dict[str, int]:
        """Add what came on top since the last reading of each pod, by uid, and return the sums."""
        for uid, counters in readings.items():
            before = self.last.get(uid, {})
            for version, value in counters.items():
                known = before.get(version, 0)
                grown = value - known if value >= known else value
                self.by_version[version] = self.by_version.get(version, 0) + grown
        self.last = {uid: counters for uid, counters in (self.last | dict(readings)).items() if uid in present}
        return dict(self.by_version)


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    until: float
    config_map: str
    reading: Reading[Effect]


class Proxies:
    """The router pods, found in the store; looked at no more often than `pace` says."""

    def __init__(self, store: Store, session: ClientSession, pace: Pace = Pace()) -> None:
        self._store = store
        self._session = session
        self._pace = pace
        self._totals: dict[Ref, Totals] = {}
        self._looks: dict[Ref, _Look] = {}

    async def measure(self, ref: Ref, stored: Stored) -> Reading[Effect]:
        """Return what the ready router pods do, as of at most `pace` ago."""
        now, version = asyncio.get_running_loop().time(), stored.config_map["metadata"]["resourceVersion"]
        known = self._looks.get(ref)
        if known is not None and now < known.until and known.config_map == version:
            return known.reading
        reading = await self._look(ref, stored)
        pause = self._pace.settled if _is_settled(reading, stored) else self._pace.unsettled
        self._looks[ref] = _Look(now, now + pause, version, reading)
        return reading

    def expire(self, ref: Ref) -> None:
        """Look again next time, whatever the pace."""
        self._looks.pop(ref, None)

    def forget(self, ref: Ref) -> None:
        """Drop what is known of an object that is gone."""
        self._looks.pop(ref, None)
        self._totals.pop(ref, None)

    async def _look(self, ref: Ref, stored: Stored) -> Reading[Effect]:
        pods = [pod for pod in self._store.members(POD, ref) if is_ready_router(pod)]
        if not pods:
            return Failed("NoRouter", "no router pod is ready")
        answers = await asyncio.gather(
            *(read_effect(self._session, stats_url(pod), self._pace.deadline) for pod in pods)
        )
        by_pod = {pod["metadata"]["name"]: answer for pod, answer in zip(pods, answers, strict=True)}
        uids = [pod["metadata"]["uid"] for pod in pods]
        read = {uid: a.requests for uid, a in zip(uids, answers, strict=True) if isinstance(a, RouterEffect)}
        totals = self._totals.setdefault(ref, Totals()).count(read, frozenset(uids))
        return fold(by_pod, stored, totals)


def is_ready_router(pod: Object) -> bool:
    """Tell whether a pod is a router that gets requests."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    is_router = (metadata.get("labels") or {}).get(COMPONENT) == ROUTER and "deletionTimestamp" not in metadata
    ready = any((each["type"], each["status"]) == ("Ready", "True") for each in status.get("conditions") or ())
    return is_router and ready and bool(status.get("podIP"))


def stats_url(pod: Object) -> str:
    """Return where a router pod shows its statistics: the container port that is named so."""
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports") or ())
    number = next(port["containerPort"] for port in ports if port.get("name") == STATS_PORT)
    ip = pod["status"]["podIP"]
    return f"http://[{ip}]:{number}" if ":" in ip else f"http://{ip}:{number}"


def fold(answers: Answers, stored: Stored, requests: Mapping[str, int]) -> Reading[Effect]:
    """Return what all of them do; `in_effect` only where each answered, all agree and run the stored structure."""
    effects = {pod: answer for pod, answer in answers.items() if isinstance(answer, RouterEffect)}
    silent = {pod: answer for pod, answer in answers.items() if isinstance(answer, Unreadable)}
    if not effects:
        pod, answer = next(iter(silent.items()))
        return Failed("RouterSilent", f"router pod {pod}: {answer.detail}")
    differences = (*_silent(silent), *_late(effects, stored), *_disagreeing(effects))
    first = next(iter(effects.values()))
    split = None if differences else Split(dict(first.weights), dict(first.mirror))
    active = {version: sum(each.active.get(version, 0) for each in effects.values()) for version in _versions(effects)}
    unreachable = frozenset().union(*(each.unreachable for each in effects.values()))
    return Value(Effect(split, requests, active, "; ".join(differences), unreachable))


def _silent(silent: Mapping[str, Unreadable]) -> Sequence[str]:
    return [f"router pod {pod}: {answer.detail}" for pod, answer in silent.items()]


def _late(effects: Mapping[str, RouterEffect], stored: Stored) -> Sequence[str]:
    if stored.structure is None:
        return [stored.complaint]
    wanted = (stored.structure.routes.version, stored.structure.clusters.version)
    late = [(pod, each) for pod, each in effects.items() if (each.rds_version, each.cds_version) != wanted]
    return [f"router pod {pod} does not have the stored routes yet{_refusals(each)}" for pod, each in late]


def _refusals(effect: RouterEffect) -> str:
    return f" and has refused {effect.rejected} configurations" if effect.rejected else ""


def _disagreeing(effects: Mapping[str, RouterEffect]) -> Sequence[str]:
    splits = {pod: Split(dict(each.weights), dict(each.mirror)) for pod, each in effects.items()}
    first = next(iter(splits.values()))
    others = [pod for pod, split in splits.items() if not split.same(first)]
    return [f"router pods {next(iter(splits))} and {others[0]} send traffic differently"] if others else []


def _versions(effects: Mapping[str, RouterEffect]) -> frozenset[str]:
    return frozenset(version for each in effects.values() for version in each.active)


def _is_settled(reading: Reading[Effect], stored: Stored) -> bool:
    if not isinstance(reading, Value) or reading.value.in_effect is None or reading.value.unreachable:
        return False
    weights = {key: value for key, value in stored.data.items() if key.startswith(("weight.", "mirror."))}
    effect = reading.value.in_effect
    said = {f"weight.v{version}": str(percent) for version, percent in effect.weights.items()}
    said |= {f"mirror.v{version}": str(percent) for version, percent in effect.mirror.items()}
    return said.items() <= weights.items()
