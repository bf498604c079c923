"""Ask every port what this turn needs to know, all at a time; failures come back as values."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from modelramp.ports import Ports, Rollout
from modelramp.rollout import traffic
from modelramp.rollout.gating import compares
from modelramp.rollout.guardrails import Evidence
from modelramp.rollout.observation import (
    Busy,
    Effect,
    ModelVersion,
    NoData,
    Observation,
    Reading,
    Route,
    Rules,
    Value,
    Workload,
)
from modelramp.rollout.rulebook import Rulebook
from modelramp.rollout.status import Phase
from modelramp.sampling import Sampler

_NOT_ASKED = NoData("NotAsked", "")


async def observe(ports: Ports, sampler: Sampler, rollout: Rollout, evidence: Evidence | None) -> Observation:
    """Return what the world looks like now; asks only what can matter this turn."""
    rulebook = await ports.floors.read(rollout)
    route, (workloads, rehearsals), (model, stable_model), measurements, (journal, pins), rules = await asyncio.gather(
        ports.traffic.read(rollout),
        asyncio.gather(ports.workloads.read(rollout), ports.rehearsals.read(rollout)),
        asyncio.gather(_model(ports, rollout), _stable_model(ports, rollout, rulebook)),
        sampler.collect(rollout, evidence),
        asyncio.gather(ports.journal.posted(rollout), ports.pins.seen(rollout)),
        _rules(ports, rollout),
    )
    return Observation(
        now=ports.clock.now(),
        generation=rollout.generation,
        deleting=rollout.deleting,
        deleting_since=rollout.deleting_since,
        route=route,
        effect=await _effect(ports, rollout, route, workloads),
        workloads=workloads,
        rehearsals=rehearsals,
        model=model,
        stable_model=stable_model,
        measurements=measurements,
        rules=rules,
        journal=journal,
        pins=pins,
        managers=rollout.managers,
        rulebook=rulebook,
    )


async def _rules(ports: Ports, rollout: Rollout) -> Reading[Rules] | None:
    return await ports.policies.read(rollout) if rollout.spec.policy else None


async def _model(ports: Ports, rollout: Rollout) -> Reading[ModelVersion] | Busy | None:
    attempt = rollout.status.attempt
    if rollout.status.phase is not Phase.GATING or attempt is None or rollout.spec.problem:
        return None
    return await ports.registry.resolve(rollout.spec.model_name, attempt.version)


async def _stable_model(
    ports: Ports, rollout: Rollout, rulebook: Reading[Rulebook]
) -> Reading[ModelVersion] | Busy | None:
    stable = rollout.status.stable
    if rollout.status.phase is not Phase.GATING or stable is None or rollout.spec.problem:
        return None
    if not _compares(rollout, rulebook):
        return None
    return await ports.registry.inspect(rollout.spec.model_name, stable.version)


def _compares(rollout: Rollout, rulebook: Reading[Rulebook]) -> bool:
    """Tell whether a gate may need stable's metrics; which policies are meant is known only with the version's tags."""
    attempt = rollout.status.attempt
    policies = rulebook.value.policies if isinstance(rulebook, Value) else ()
    asked = [policy.floor.gates for policy in policies]
    return attempt is not None and any(compares(gates) for gates in (attempt.plan.gates, *asked))


async def _effect(
    ports: Ports, rollout: Rollout, route: Reading[Route], workloads: Reading[Mapping[str, Workload]]
) -> Reading[Effect]:
    """Ask the proxies only while traffic moves, or should: an object at rest costs nothing."""
    return await ports.traffic.measure(rollout) if _moves(rollout, route, workloads) else _NOT_ASKED


def _moves(rollout: Rollout, route: Reading[Route], workloads: Reading[Mapping[str, Workload]]) -> bool:
    status = rollout.status
    if traffic.desired(status) is None:
        return False
    drills = status.drill is not None and status.drill.is_running
    if drills or status.phase in traffic.WITH_CANDIDATE or rollout.deleting or not isinstance(route, Value):
        return True
    at_rest = any(found.type == "TrafficConverged" and found.status == "True" for found in status.conditions)
    return not at_rest or bool(traffic.leaving(status, rollout.spec.serving.keep_warm, route, workloads))
