"""The loop on one page: read, observe, decide, remember, perform, tell, look again."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from modelramp.observe import observe
from modelramp.perform import perform
from modelramp.ports import Conflict, Deposed, Done, Ports, Ref, Rollout, Written
from modelramp.rollout.actions import Post, Release, SetTraffic
from modelramp.rollout.decide import Decision, decide
from modelramp.rollout.guardrails import Evidence
from modelramp.rollout.observation import Failed, NoData, Value
from modelramp.rollout.settle import filled, has_templates
from modelramp.sampling import Sampler

log = logging.getLogger(__name__)

AT_ONCE = timedelta(0)


class TurnFailedError(Exception):
    """A turn could not be carried out; the queue backs off and tries again. Holds a reason, never a secret."""


class Reconciler:
    """Takes turns, one object at a time; holds nothing between them but evidence."""

    def __init__(self, ports: Ports, sampler: Sampler) -> None:
        """Take the world."""
        self._ports, self._sampler = ports, sampler
        self._evidence: dict[Ref, Evidence] = {}

    def evidence(self, ref: Ref) -> Evidence:
        """Return what the guardrails of an object have said so far, as far as this process remembers."""
        return self._evidence.get(ref, Evidence())

    async def turn(self, ref: Ref) -> timedelta | None:
        """Take one turn; return how long until the next look, None for only on an event."""
        match await self._ports.objects.read(ref):
            case Value(rollout):
                return await self._turn(rollout)
            case NoData():
                self._forget(ref)
                return None
            case Failed(reason, message):
                raise TurnFailedError(f"{reason}: {message}")
            case other:
                assert_never(other)

    async def _turn(self, rollout: Rollout) -> timedelta | None:
        rollout = await self._filled(rollout)
        evidence = self._evidence.get(rollout.ref)
        seen = await observe(self._ports, self._sampler, rollout, evidence)
        decision = decide(rollout.spec, rollout.status, seen, evidence, claimed=rollout.claimed)
        self._evidence[rollout.ref] = decision.evidence
        written = await (self._retreat if decision.retreats else self._progress)(rollout, decision)
        if isinstance(written, Failed) and Release() in decision.actions:
            # It was decided only because nothing is left to wait for, or no time: a refused write holds nobody.
            written = await self._let_go(rollout, decision)
        return self._conclude(decision, written)

    async def _let_go(self, rollout: Rollout, decision: Decision) -> Written:
        """Release the object, and only then hand over its records: where it stays they may be told anew."""
        written = await perform(self._ports, rollout, (Release(),))
        return await perform(self._ports, rollout, _records(decision)) if isinstance(written, Done) else written

    async def _filled(self, rollout: Rollout) -> Rollout:
        """Fill in the queries of templates, so that stable is watched by them too."""
        if not has_templates(rollout.spec):
            return rollout
        rulebook = await self._ports.floors.read(rollout)
        return replace(rollout, spec=filled(rollout.spec, rollout.status, rulebook))

    async def _progress(self, rollout: Rollout, decision: Decision) -> Written:
        """Remember first, then act; what could not be remembered is not done."""
        written = await self._remember(rollout, decision)
        return await perform(self._ports, rollout, decision.actions) if isinstance(written, Done) else written

    async def _retreat(self, rollout: Rollout, decision: Decision) -> Written:
        """Take traffic away and remember why at the same time; neither waits for the other, nor needs it."""
        away = [action for action in decision.actions if isinstance(action, SetTraffic) and action.retreat]
        rest = [action for action in decision.actions if action not in away]
        moved, remembered = await asyncio.gather(perform(self._ports, rollout, away), self._remember(rollout, decision))
        if isinstance(moved, Done) and isinstance(remembered, Done):
            return await perform(self._ports, rollout, rest)
        if isinstance(moved, Failed) and isinstance(remembered, Done):
            await perform(self._ports, rollout, _records(decision))
        return remembered if isinstance(moved, Done) else moved

    async def _remember(self, rollout: Rollout, decision: Decision) -> Written:
        if decision.status == rollout.status:
            return Done()
        written = await self._ports.objects.remember(rollout, decision.status)
        if isinstance(written, Done):
            await self._ports.events.emit(rollout, decision.events)
        return written

    @staticmethod
    def _conclude(decision: Decision, written: Written) -> timedelta | None:
        match written:
            case Done():
                return decision.look_again_in
            case Conflict():
                return AT_ONCE
            case Deposed():
                return None
            case Failed(reason, message):
                raise TurnFailedError(f"{reason}: {message}")
            case other:
                assert_never(other)

    def _forget(self, ref: Ref) -> None:
        self._evidence.pop(ref, None)
        self._sampler.forget(ref)


def _records(decision: Decision) -> tuple[Post, ...]:
    return tuple(action for action in decision.actions if isinstance(action, Post))
