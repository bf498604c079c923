"""Policies of the platform: whom they select, the floor that they set, the queries that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from modelramp.rollout.gates.spec import NO_GATES, Gates
from modelramp.rollout.spec import Guardrail, Shadow


@dataclass(frozen=True, slots=True)
class Subject:
    """What selectors look at; `tags` are the registry version's, known once it is resolved."""

    namespace: str = ""
    namespace_labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Selector:
    """Whom a policy is for: all that is given must match; an empty one selects everything."""

    namespaces: tuple[str, ...] = ()
    namespace_labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    def selects(self, subject: Subject) -> bool:
        """Tell whether the policy is for this subject."""
        return (
            (not self.namespaces or subject.namespace in self.namespaces)
            and self.namespace_labels.items() <= subject.namespace_labels.items()
            and self.labels.items() <= subject.labels.items()
            and self.tags.items() <= subject.tags.items()
        )


@dataclass(frozen=True, slots=True)
class RampFloor:
    """The largest first step, and the least that every step waits for."""

    first_step: int = 100
    hold: timedelta = timedelta(0)
    min_requests: int = 0


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that is asked of an attempt."""

    gates: Gates = NO_GATES
    shadow: Shadow | None = None
    """The shortest one; where the plan has none, it gets one."""
    ramp: RampFloor | None = None
    guardrails: tuple[Guardrail, ...] = ()


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    """One PromotionPolicy; `templates` are queries by name, for every ModelDeployment of the cluster.

    `overrides` are the gates that may be overridden, None where the policy has no say in that. Who writes one is
    asked at admission; where it is not `asked`, nobody may.
    """

    name: str
    generation: int = 1
    selector: Selector = Selector()
    floor: Floor = Floor()
    overrides: tuple[str, ...] | None = None
    asked: bool = True
    templates: Mapping[str, str] = field(default_factory=dict, hash=False)

    def allows(self, gate: str) -> bool:
        """Tell whether a gate may be overridden, as far as this policy has a say."""
        named = self.overrides
        return named is None or (self.asked and any(_stands_for(name, gate) for name in named))


def _stands_for(name: str, gate: str) -> bool:
    return gate.startswith(name.removesuffix("*")) if name.endswith("*") else gate == name


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All policies, and what their selectors see of one ModelDeployment; tags are not known yet."""

    policies: tuple[PromotionPolicy, ...] = ()
    subject: Subject = Subject()
