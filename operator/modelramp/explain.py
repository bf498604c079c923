"""Say in plain words what a ModelDeployment does, why it waits, and what comes next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never

from modelramp.api.durations import format_duration
from modelramp.api.problem import Problem
from modelramp.ports import Ref
from modelramp.rollout.spec import Plan, Spec
from modelramp.rollout.status import Attempt, Phase, Record, Status, VerdictKind
from modelramp.rollout.traffic import WITH_CANDIDATE

_ASIDE = 12
HISTORY = 5


@dataclass(frozen=True, slots=True)
class Subject:
    """One object as it was read."""

    ref: Ref
    generation: int
    spec: Spec | Problem
    status: Status


def explain(subject: Subject, now: datetime) -> str:
    """Return the whole account, a paragraph with a word at its left for each question."""
    status = subject.status
    paragraphs = [
        ("Runs", _runs(status)),
        ("Warm", _warm(status)),
        ("Phase", _stands(subject, now)),
        ("Why", _why(subject)),
        ("Gates", list(_gates(status))),
        ("Floor", list(_floor(status))),
        ("Guardrails", list(_guardrails(status, now))),
        ("Next", [_next(subject)]),
        ("Not tried", [f"version {no.version}: {no.message or no.reason}" for no in status.rejected]),
        ("You can", list(_commands(subject))),
        ("Happened", [_happened(record, now) for record in status.history[-HISTORY:]]),
    ]
    body = "\n".join(_paragraph(word, lines) for word, lines in paragraphs if lines)
    return f"ModelDeployment {subject.ref}\n\n{body}\n"


def _paragraph(word: str, lines: list[str]) -> str:
    indented = f"\n{'':{_ASIDE}}".join(lines)
    return f"{word:<{_ASIDE}}{indented}"


def _runs(status: Status) -> list[str]:
    stable, candidate = status.stable, status.candidate
    if stable is None:
        return ["no version answers requests yet"]
    if candidate is None or status.weight == 0:
        shadowed = f"; version {candidate.version} gets copies" if status.phase is Phase.SHADOWING and candidate else ""
        return [f"version {stable.version} answers every request{shadowed}"]
    shares = ((stable, 100 - status.weight), (candidate, status.weight))
    return [", ".join(f"version {pin.version} answers {share} % of the requests" for pin, share in shares)]


def _warm(status: Status) -> list[str]:
    versions = [pin.version for pin in status.previous]
    said = [f"was stable before: version {', '.join(versions)}"] if versions else []
    drill = status.drill
    if drill and drill.is_running:
        return [*said, f"a drill runs: all traffic goes to version {drill.version}, and back"]
    return [*said, f"last drill: {drill.reason}: {drill.message}"] if drill else said


def _stands(subject: Subject, now: datetime) -> list[str]:
    status, attempt = subject.status, subject.status.attempt
    since = f" for {_ago(attempt.phase_since, now)}" if attempt else ""
    where = f", {_step(attempt)}" if attempt and status.phase is Phase.RAMPING else ""
    return [f"{status.phase.value}{where}{since}"]


def _step(attempt: Attempt) -> str:
    steps = attempt.plan.steps
    return f"step {attempt.step + 1} of {len(steps)} ({steps[attempt.step].weight} %)"


def _why(subject: Subject) -> list[str]:
    status = subject.status
    if isinstance(subject.spec, Problem):
        return [f"the spec cannot be used: {subject.spec}"]
    if status.observed_generation < subject.generation:
        return ["the operator has not seen the newest spec yet; is it running? (kubectl get lease -A)"]
    said = f"{status.reason}: {status.message}" if status.message else status.reason
    effect = next((found for found in status.conditions if found.type == "TrafficConverged"), None)
    late = [f"{effect.reason}: {effect.message}"] if effect and effect.status == "False" else []
    return [said, *late]


def _gates(status: Status) -> Iterator[str]:
    """Yield the gates that did not pass by themselves."""
    for result in status.attempt.gates if status.attempt else ():
        if result.overridden:
            yield f"{result.gate}: {result.reason}: {result.message}; overridden {result.override}"
        elif not result.passed:
            yield f"{result.gate}: {result.reason}: {result.message}"


def _floor(status: Status) -> Iterator[str]:
    """Yield what policies made stricter than the spec."""
    for each in status.attempt.raised if status.attempt else ():
        yield f"{each.field}: {each.message} (policy {each.policy})"


def _guardrails(status: Status, now: datetime) -> Iterator[str]:
    for state in status.guardrails:
        said = state.message or (state.reason if state.verdict is not VerdictKind.PASS else "")
        failures = f", {state.failures} failed" if state.failures else ""
        verdict = f"{state.name}: {state.verdict.value} for {_ago(state.since, now)}{failures}"
        yield f"{verdict}; {said}" if said else verdict


def _next(subject: Subject) -> str:
    status = subject.status
    if isinstance(subject.spec, Problem):
        return "correct the spec; what runs stays"
    plan = status.attempt.plan if status.attempt else subject.spec.plan
    match status.phase:
        case Phase.PENDING | Phase.GATING | Phase.STARTING | Phase.STAGING:
            ahead = _before_traffic(status, subject.spec.version, plan)
        case Phase.SHADOWING:
            ahead = f"after the shadow: {_upwards(plan, 0)}"
        case Phase.RAMPING:
            ahead = f"after this step: {_upwards(plan, status.attempt.step + 1 if status.attempt else 0)}"
        case Phase.PROMOTED:
            ahead = "nothing; the guardrails go on watching"
        case Phase.ROLLED_BACK | Phase.REJECTED:
            ahead = "nothing, until the spec changes or spec.retry gets a new value"
        case Phase.RELEASED:
            ahead = "the object goes"
        case never:
            assert_never(never)
    return ahead


def _before_traffic(status: Status, version: str, plan: Plan) -> str:
    if status.phase is Phase.PENDING:
        return f"version {version} is judged by the gates"
    if status.phase is Phase.GATING:
        return f"once every gate has passed, the pods of version {version} start"
    until = "its staging gates have passed" if status.phase is Phase.STAGING else "its pods are ready"
    return f"once {until}: {_after_start(status, plan)}"


def _after_start(status: Status, plan: Plan) -> str:
    if status.stable is None or status.stable == status.candidate:
        return "all traffic"
    return f"a shadow at {plan.shadow.percent} %" if plan.shadow else _upwards(plan, 0)


def _upwards(plan: Plan, step: int) -> str:
    if step >= len(plan.steps):
        return "it becomes stable"
    ahead = plan.steps[step]
    conditions = [f"held for {format_duration(ahead.hold)}"] if ahead.hold else []
    conditions += [f"at least {ahead.min_requests} requests"] if ahead.min_requests else []
    conditions += ["your approval at its end"] if ahead.approval else []
    return f"step {step + 1} of {len(plan.steps)}, {ahead.weight} %" + "".join(f", {each}" for each in conditions)


def _commands(subject: Subject) -> Iterator[str]:
    status, spec = subject.status, subject.spec
    if isinstance(spec, Problem):
        return
    if status.reason == "AwaitingApproval":
        yield status.message.rpartition("waiting for ")[2]
    if status.stable and status.candidate and status.phase in WITH_CANDIDATE:
        yield f"stop it: {_patch(subject.ref, {'abort': status.candidate.version})}"
    if status.phase is Phase.PROMOTED and status.previous:
        back = status.previous[0].version
        yield f"go back to version {back}: {_patch(subject.ref, {'model': {'version': back}})}"
    if status.phase in (Phase.ROLLED_BACK, Phase.REJECTED):
        anew = str(int(spec.retry) + 1) if spec.retry.isdecimal() else "1"  # one that was used before asks for nothing
        freed = {"abort": None} if spec.aborted else {}  # an abort that is still there asks for the opposite
        yield f"try version {spec.version} again: {_patch(subject.ref, {'retry': anew, **freed})}"


def _patch(ref: Ref, spec: Mapping[str, Any]) -> str:
    body = json.dumps({"spec": spec}, separators=(",", ":"))
    return f"kubectl -n {ref.namespace} patch mdep {ref.name} --type merge -p '{body}'"


def _happened(record: Record, now: datetime) -> str:
    said = f": {record.message}" if record.message else ""
    return f"{_ago(record.at, now)} ago  {record.event} (version {record.version}){said}"


def _ago(then: datetime, now: datetime) -> str:
    seconds = max(0, round((now - then).total_seconds()))
    coarse = seconds if seconds < 3600 else seconds // 60 * 60
    return format_duration(timedelta(seconds=coarse))
