"""Do what was decided, in order; every action is a goal, so that doing it again is harmless."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from modelramp.ports import Deposed, Done, Ports, Rollout, Written
from modelramp.rollout.actions import (
    Action,
    Claim,
    KeepRules,
    Post,
    Release,
    RunRehearsal,
    RunVersion,
    SetTraffic,
    StopRehearsal,
    StopVersion,
    TellPods,
)


async def perform(ports: Ports, rollout: Rollout, actions: Iterable[Action]) -> Written:
    """Do the actions until one is not done; the rest follows next turn, from a new look at the world.

    Records wait for none of them: what the API server refuses for good would keep them from the registry for good.
    """
    outcome: Written = Done()
    for action in actions:
        if isinstance(outcome, Done):
            outcome = await do(ports, rollout, action)
        elif isinstance(action, Post) and not isinstance(outcome, Deposed):
            await do(ports, rollout, action)
    return outcome


async def do(ports: Ports, rollout: Rollout, action: Action) -> Written:
    """Do one action."""
    match action:
        case SetTraffic():
            return await ports.traffic.write(rollout, action)
        case RunVersion() | StopVersion() | RunRehearsal() | StopRehearsal():
            return await _do_with_pods(ports, rollout, action)
        case TellPods() | KeepRules():
            return await _do_with_rules(ports, rollout, action)
        case Post():
            return await ports.journal.post(rollout, action)
        case Claim():
            return await ports.objects.claim(rollout)
        case Release():
            return await ports.objects.release(rollout)
        case other:
            assert_never(other)


async def _do_with_rules(ports: Ports, rollout: Rollout, action: TellPods | KeepRules) -> Written:
    match action:
        case TellPods(policy):
            return await ports.policies.tell(rollout, policy)
        case KeepRules(policy):
            return await ports.policies.keep(rollout, policy)
        case other:
            assert_never(other)


async def _do_with_pods(
    ports: Ports, rollout: Rollout, action: RunVersion | StopVersion | RunRehearsal | StopRehearsal
) -> Written:
    match action:
        case RunVersion(pin):
            return await ports.workloads.run(rollout, pin)
        case StopVersion(version):
            return await ports.workloads.stop(rollout, version)
        case RunRehearsal():
            return await ports.rehearsals.run(rollout, action)
        case StopRehearsal(attempt):
            return await ports.rehearsals.stop(rollout, attempt)
        case other:
            assert_never(other)
