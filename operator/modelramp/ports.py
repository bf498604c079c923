"""What the loop needs of the world, named for the need. Adapters implement these; nothing else touches the world.

Nothing here raises for a fault of the outside: every read is a `Reading`, every write a `Written`.
Only cancellation and programming errors are exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from modelramp.rollout.actions import Event, Post, RunRehearsal, SetTraffic
from modelramp.rollout.observation import (
    Busy,
    Effect,
    Entry,
    Failed,
    ModelVersion,
    Posted,
    Reading,
    Rehearsal,
    Route,
    Rules,
    Workload,
)
from modelramp.rollout.rulebook import Rulebook
from modelramp.rollout.spec import Spec
from modelramp.rollout.status import Pin, Status


@dataclass(frozen=True, slots=True)
class Ref:
    """A ModelDeployment's name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """Return `namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Rollout:
    """One ModelDeployment as it was read; `resource_version` fences what is written on the strength of it."""

    ref: Ref
    uid: str
    generation: int
    resource_version: str
    spec: Spec
    status: Status
    deleting: bool = False
    deleting_since: datetime | None = None
    claimed: bool = False
    """Our finalizer is on."""
    managers: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Who wrote a field of the spec last, by its path such as `model.version`; `""` is the newest of all."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Done:
    """The write is in the API server."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody wrote in between: read again."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class Deposed:
    """Another process leads; nothing was written and nothing more may be."""


Written = Done | Conflict | Deposed | Failed


class Objects(Protocol):
    """The ModelDeployments themselves."""

    async def read(self, ref: Ref) -> Reading[Rollout]:
        """Read the newest known state; NoData("Gone") when it does not exist."""
        ...

    async def remember(self, rollout: Rollout, status: Status) -> Written:
        """Write the status if nobody wrote since `rollout` was read."""
        ...

    async def claim(self, rollout: Rollout) -> Written:
        """Put our finalizer on."""
        ...

    async def release(self, rollout: Rollout) -> Written:
        """Take our finalizer off."""
        ...


class Workloads(Protocol):
    """The pods of each version."""

    async def read(self, rollout: Rollout) -> Reading[Mapping[str, Workload]]:
        """Read every version's workload that this object owns."""
        ...

    async def run(self, rollout: Rollout, pin: Pin) -> Written:
        """Apply the version's Deployment and Service."""
        ...

    async def stop(self, rollout: Rollout, version: str) -> Written:
        """Delete the version's Deployment and Service."""
        ...


class Rehearsals(Protocol):
    """What is replayed to pods before their first traffic."""

    async def read(self, rollout: Rollout) -> Reading[Mapping[str, Rehearsal | Busy | Failed]]:
        """Read every rehearsal that this object owns, by attempt.

        Busy says what keeps it from an end, if anything; Failed why it could not be begun.
        """
        ...

    async def run(self, rollout: Rollout, wanted: RunRehearsal) -> Written:
        """Begin an attempt's rehearsal; one that is there already, running or ended, stays as it is."""
        ...

    async def stop(self, rollout: Rollout, attempt: str) -> Written:
        """Delete an attempt's rehearsal with its pods."""
        ...


class Policies(Protocol):
    """The business rules: a ConfigMap that people edit, and the pods that apply it."""

    async def read(self, rollout: Rollout) -> Reading[Rules]:
        """Read the text and what the pods make of it; NoData("PolicyNotFound") when there is no such ConfigMap."""
        ...

    async def tell(self, rollout: Rollout, policy: str) -> Written:
        """Have every pod that was not told fetch the text of this hash."""
        ...

    async def keep(self, rollout: Rollout, policy: str) -> Written:
        """Keep the text of this hash for pods that start while a later one cannot be used."""
        ...


class Traffic(Protocol):
    """The route: the one place that says which version answers."""

    async def read(self, rollout: Rollout) -> Reading[Route]:
        """Read the stored split; NoData("NoRoute") when there is none yet."""
        ...

    async def measure(self, rollout: Rollout) -> Reading[Effect]:
        """Ask the proxies what they do."""
        ...

    async def write(self, rollout: Rollout, wanted: SetTraffic) -> Written:
        """Store the split, and what carries it."""
        ...


class Registry(Protocol):
    """Where model versions are registered."""

    async def resolve(self, name: str, version: str) -> Reading[ModelVersion] | Busy:
        """Resolve a version; NoData("VersionNotFound") when it does not exist, Busy while its files are hashed."""
        ...

    async def inspect(self, name: str, version: str) -> Reading[ModelVersion] | Busy:
        """Read a version without its files: `digest` and `files` are empty."""
        ...


class Pins(Protocol):
    """Whether the registry still has what was resolved."""

    async def seen(self, rollout: Rollout) -> Mapping[str, Reading[Entry]]:
        """Return what the registry said last, by version; asks behind the loop, seldom, and wakes it on news."""
        ...


class Journal(Protocol):
    """Where the story is kept for years. Nothing here takes time: the writing goes on behind it."""

    async def posted(self, rollout: Rollout) -> Reading[Posted] | Busy:
        """Return what became of the records that were posted; NoData("JournalOff") where none are kept."""
        ...

    async def post(self, rollout: Rollout, wanted: Post) -> Written:
        """See to it that the records are written, each once in effect, and that the aliases follow."""
        ...


class Floors(Protocol):
    """What the platform asks of every rollout."""

    async def read(self, rollout: Rollout) -> Reading[Rulebook]:
        """Read all PromotionPolicies, and what selectors see of the object; Failed while any is not known."""
        ...


class Metrics(Protocol):
    """Where guardrail queries are answered."""

    async def query(self, promql: str) -> Reading[float]:
        """Answer with one finite, fresh number, or say why not."""
        ...


class Events(Protocol):
    """Where people read what happened."""

    async def emit(self, rollout: Rollout, events: Sequence[Event]) -> None:
        """Post the events, each once; a failure is counted and never stops a turn."""
        ...


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """Return the present, aware, UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port, handed to the loop."""

    objects: Objects
    workloads: Workloads
    rehearsals: Rehearsals
    policies: Policies
    traffic: Traffic
    registry: Registry
    pins: Pins
    journal: Journal
    floors: Floors
    metrics: Metrics
    events: Events
    clock: Clock
