"""Ask guardrail queries on time: in the background, each on its own clock, so that no slow answer delays another.

An answer is put aside and wakes the loop; the next turn collects it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from modelramp.ports import Clock, Metrics, Ref, Rollout
from modelramp.rollout import queries
from modelramp.rollout.guardrails import Evidence, due
from modelramp.rollout.observation import Failed, Measurement, NoData
from modelramp.rollout.spec import Guardrail
from modelramp.rollout.turn import WITH_TRAFFIC, subject, watched

_NO_QUERY = NoData("TemplateNotFound", "no PromotionPolicy has its template")


@dataclass(frozen=True, slots=True)
class Question:
    """One guardrail's queries as they are sent; `baseline` is None where nothing is compared."""

    guardrail: str
    interval: timedelta
    candidate: str
    baseline: str | None


class Sampler(Protocol):
    """Where a turn's measurements come from."""

    async def collect(self, rollout: Rollout, evidence: Evidence | None) -> tuple[Measurement, ...]:
        """Return what was answered since the last turn, and see to it that what is watched is asked."""
        ...

    def forget(self, ref: Ref) -> None:
        """Stop asking for an object."""
        ...


def questions(rollout: Rollout) -> tuple[Question, ...]:
    """Return what is to be asked for an object in its present phase."""
    return tuple(
        Question(guardrail.name, guardrail.interval, *_texts(rollout, guardrail))
        for guardrail in watched(rollout.spec, rollout.status)
        if subject(rollout.status) is not None
    )


def _texts(rollout: Rollout, guardrail: Guardrail) -> tuple[str, str | None]:
    about, stable = subject(rollout.status), rollout.status.stable
    version = about.version if about else ""
    candidate = _render(rollout, guardrail, version)
    if not guardrail.compare or stable is None or rollout.status.phase not in WITH_TRAFFIC:
        return candidate, None
    return candidate, _render(rollout, guardrail, stable.version)


def _render(rollout: Rollout, guardrail: Guardrail, version: str) -> str:
    ref = rollout.ref
    if not guardrail.query:
        return ""
    about = queries.Subject(ref.namespace, ref.name, rollout.spec.model_name, version, rollout.spec.traffic)
    return queries.render(guardrail.query, queries.values(about, rollout.status, guardrail.window))


async def ask(metrics: Metrics, clock: Clock, question: Question) -> Measurement:
    """Ask one question now, both versions at once; `asked_at` is when it was sent."""
    asked_at = clock.now()
    if not question.candidate:
        return Measurement(question.guardrail, asked_at, _NO_QUERY)
    if question.baseline is None:
        return Measurement(question.guardrail, asked_at, await metrics.query(question.candidate))
    candidate, baseline = await asyncio.gather(metrics.query(question.candidate), metrics.query(question.baseline))
    return Measurement(question.guardrail, asked_at, candidate, baseline)


@dataclass(slots=True)
class _Watch:
    questions: tuple[Question, ...]
    tasks: tuple[asyncio.Task[None], ...]
    answers: list[Measurement] = field(default_factory=list)


class BackgroundSampler:
    """Keeps one task a guardrail; `wake` is called with the object's name when an answer has come."""

    def __init__(self, metrics: Metrics, clock: Clock, wake: Callable[[Ref], None]) -> None:
        """Take the ports and the way to wake the loop."""
        self._metrics, self._clock, self._wake = metrics, clock, wake
        self._watches: dict[Ref, _Watch] = {}

    async def collect(self, rollout: Rollout, evidence: Evidence | None) -> tuple[Measurement, ...]:  # noqa: ARG002
        """Return the answers that have come; start and stop tasks as the object's phase asks."""
        wanted = questions(rollout)
        watch = self._watches.get(rollout.ref)
        if watch is not None and watch.questions == wanted:
            answers, watch.answers = tuple(watch.answers), []
            return answers
        self.forget(rollout.ref)
        if wanted:
            self._watches[rollout.ref] = self._start(rollout.ref, wanted)
        return ()

    def forget(self, ref: Ref) -> None:
        """Stop asking for an object."""
        if watch := self._watches.pop(ref, None):
            for task in watch.tasks:
                task.cancel()

    def _start(self, ref: Ref, wanted: tuple[Question, ...]) -> _Watch:
        watch = _Watch(wanted, ())
        watch.tasks = tuple(asyncio.create_task(self._repeat(ref, watch, question)) for question in wanted)
        return watch

    async def _repeat(self, ref: Ref, watch: _Watch, question: Question) -> None:
        loop = asyncio.get_running_loop()
        following = loop.time()
        while True:
            answer = await self._ask(question)
            watch.answers.append(answer)  # not in one line: a turn may have emptied the list meanwhile
            self._wake(ref)
            following = max(following + question.interval.total_seconds(), loop.time())
            await asyncio.sleep(following - loop.time())

    async def _ask(self, question: Question) -> Measurement:
        try:
            return await ask(self._metrics, self._clock, question)
        except Exception as fault:  # noqa: BLE001 - a fault in an adapter must not end the watch: it is an answer
            return Measurement(question.guardrail, self._clock.now(), Failed("MetricsFault", type(fault).__name__))


class InlineSampler:
    """Asks what is due within the turn itself; for a scripted world in which time stands still meanwhile."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        """Take the ports."""
        self._metrics, self._clock = metrics, clock

    async def collect(self, rollout: Rollout, evidence: Evidence | None) -> tuple[Measurement, ...]:
        """Ask every guardrail whose interval has passed."""
        now, known = self._clock.now(), evidence or Evidence()
        guardrails: Mapping[str, Guardrail] = {found.name: found for found in watched(rollout.spec, rollout.status)}
        asked = [
            ask(self._metrics, self._clock, question)
            for question in questions(rollout)
            if due(guardrails[question.guardrail], known.of(question.guardrail), now) <= timedelta(0)
        ]
        return tuple(await asyncio.gather(*asked))

    def forget(self, ref: Ref) -> None:
        """Do nothing: nothing goes on between turns."""
