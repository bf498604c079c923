"""What a turn wants done: goals, not deltas, so that doing one twice is harmless."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from modelramp.rollout.gates.spec import StagingGate
from modelramp.rollout.observation import Split
from modelramp.rollout.status import Pin, Record


@dataclass(frozen=True, slots=True)
class SetTraffic:
    """Send traffic like this.

    `backends` are the versions that the route names, `stable` the one that gets everything should a number be
    missing. A retreat takes share from the candidate: it asks for nothing but the API server, and is written
    whatever else has changed in the meantime; any other write loses against a newer one.
    """

    split: Split
    stable: str
    backends: tuple[str, ...]
    retreat: bool
    why: str


@dataclass(frozen=True, slots=True)
class RunVersion:
    """Keep this version's Deployment and Service as the spec says."""

    pin: Pin


@dataclass(frozen=True, slots=True)
class StopVersion:
    """Remove this version's Deployment and Service; no route names it any more."""

    version: str


@dataclass(frozen=True, slots=True)
class RunRehearsal:
    """Replay requests to the candidate, and one to the version to fall back to, once an attempt.

    Without `gate` the candidate is left alone, without `fallback` nobody else is asked.
    """

    attempt: str
    candidate: Pin
    gate: StagingGate | None
    fallback: Pin | None
    deadline: timedelta


@dataclass(frozen=True, slots=True)
class StopRehearsal:
    """Clear away an attempt's rehearsal, whether it has ended or not."""

    attempt: str


@dataclass(frozen=True, slots=True)
class Release:
    """Let the object go: take our finalizer off."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Put our finalizer on, before the first traffic is ever written."""


@dataclass(frozen=True, slots=True)
class TellPods:
    """Have the pods fetch their rules now, and not when the kubelet looks next, up to two minutes later."""

    hash: str


@dataclass(frozen=True, slots=True)
class KeepRules:
    """Keep the rules in force for pods that start while a later edit cannot be used."""

    hash: str


@dataclass(frozen=True, slots=True)
class Post:
    """Hand these records to the registry, and let its aliases name these versions; `candidate` is "" for none.

    Nothing waits for it: what the registry has is seen by a later turn.
    """

    records: tuple[Record, ...]
    stable: str
    candidate: str


Rules = TellPods | KeepRules
Action = SetTraffic | RunVersion | StopVersion | RunRehearsal | StopRehearsal | Rules | Release | Claim | Post


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes Event; `normal` is its type, `reason` CamelCase and documented."""

    reason: str
    message: str
    normal: bool = True
