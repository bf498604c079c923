"""The thirteen lines to verify before production, each with its mark and its evidence, from what is recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from modelramp.account import MARKS, Story
from modelramp.adapters.mlflow_story import Origin, why_not
from modelramp.rollout.durations import text
from modelramp.rollout.gates.case import cut
from modelramp.rollout.gates.lineage import COMMIT_TAGS
from modelramp.rollout.gates.name import NOT_A_PRODUCT
from modelramp.rollout.observation import Reading, Value
from modelramp.rollout.spec import Plan, Spec
from modelramp.rollout.status import Finding, Record, VerdictKind

RUNBOOK = "modelramp.dev/runbook"
"""Annotation with the address of the page for whoever is on call."""
DAY = 86_400
_NOT_KNOWN = "–"
_WITH_A_LINE = frozenset({"name", "signature", "compatibility", "lineage", "decision", "policy", "staging", "rollback"})
"""Gates that have a line of their own; what else fails is an offline gate that has not passed."""
_BACK = ("RollbackRehearsed", "RolledBack", "ManualRollback", "Aborted", "Returned", "Restored")
_NOTES = ("decision", "decision_note", "modelramp.decision")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `mark` is ✓, ✗, or – where it is not asked for or not known."""

    item: str
    mark: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Case:
    """What the lines are judged on; the version is the pinned one."""

    story: Story
    spec: Spec
    annotations: dict[str, str]
    origin: Reading[Origin]

    @property
    def plan(self) -> Plan:
        """Return what the pinned version is held to: its own attempt's plan, where there is one."""
        attempt = self.story.subject.status.attempt
        return attempt.plan if attempt and attempt.version == self.spec.version else self.spec.plan

    def floor(self, *fields: str) -> str:
        """Return what PromotionPolicies raised of the fields that begin so, to be put after a line's evidence."""
        attempt = self.story.subject.status.attempt
        raised = attempt.raised if attempt and attempt.version == self.spec.version else ()
        return "".join(
            f"; {one.field}: {one.message} (policy {one.policy})" for one in raised if one.field.startswith(fields)
        )

    def last(self, *events: str) -> Record | None:
        """Return the newest record of these events about the pinned version."""
        mine = (one for one in reversed(self.story.records) if one.version == self.spec.version)
        return next((one for one in mine if one.event in events), None)

    def gates(self, *families: str) -> list[Finding]:
        """Return what the gates of these names found, of any name without one, as the newest attempt recorded it."""
        record = self.last("GatesPassed", "GatesFailed")
        found = [one for one in record.evidence if one.check.startswith("gate ")] if record else []
        return [one for one in found if not families or _family(one) in families]


def judge(case: Case) -> tuple[Line, ...]:
    """Return the lines in their order."""
    return tuple(Line(item, *check(case)) for item, check in ITEMS)


def render(lines: tuple[Line, ...], output: str) -> str:
    """Return the lines as a `table`, `json` or `markdown`."""
    if output == "json":
        return (
            json.dumps(
                [{"item": one.item, "mark": one.mark, "evidence": one.evidence} for one in lines],
                indent=1,
                ensure_ascii=False,
            )
            + "\n"
        )
    if output == "markdown":
        boxes = {"✓": "x", "✗": " "}
        return "".join(
            f"- [{boxes.get(one.mark, ' ')}] {one.mark} **{one.item}**: {_escaped(one.evidence)}\n" for one in lines
        )
    width = max(len(one.item) for one in lines)
    return "".join(f"{one.mark} {one.item:<{width}}  {one.evidence}\n" for one in lines)


def _escaped(evidence: str) -> str:
    return evidence.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def _family(finding: Finding) -> str:
    return finding.check.removeprefix("gate ").partition(":")[0]


def _told(finding: Finding) -> str:
    return finding.message or finding.reason


def _of_gates(found: list[Finding], none: str) -> tuple[str, str]:
    """Return the mark of gates that were judged: one that failed fails the line."""
    if not found:
        return _NOT_KNOWN, none
    worst = next((one for one in found if one.verdict is not VerdictKind.PASS), found[0])
    told = _told(worst) if worst.verdict is not VerdictKind.PASS else "; ".join(map(_told, found))
    return MARKS.get(worst.verdict, _NOT_KNOWN), f"{told} (overridden: {worst.override})" if worst.override else told


def _name(case: Case) -> tuple[str, str]:
    found = re.search(NOT_A_PRODUCT, case.spec.model_name)
    return ("✗", f"{case.spec.model_name} has {found[0]} in it") if found else ("✓", case.spec.model_name)


def _signature(case: Case) -> tuple[str, str]:
    return _of_gates(case.gates("signature", "compatibility"), "no gate has looked at it")


def _offline(case: Case) -> tuple[str, str]:
    other = [one for one in case.gates() if _family(one) not in _WITH_A_LINE and one.verdict is VerdictKind.FAIL]
    found = [*case.gates("metric", "fairness", "coverage"), *other]
    mark, told = _of_gates(found, "no gate on metrics, fairness or coverage is set, or none was judged yet")
    return mark, told + case.floor("gates.metrics", "gates.fairness", "gates.coverage", "gates.overrides")


def _staging(case: Case) -> tuple[str, str]:
    mark, told = _of_gates(case.gates("staging"), "no staging gate is set, or it was not judged yet")
    return mark, told + case.floor("gates.staging")


def _pinned(case: Case) -> tuple[str, str]:
    status = case.story.subject.status
    pins = (pin for pin in (status.stable, status.candidate) if pin and pin.version == case.spec.version)
    digest = next((f", {pin.digest}" for pin in pins if pin.digest), "")
    return "✓", f"version {case.spec.version}{digest}"


def _rollback(case: Case) -> tuple[str, str]:
    back = next((one for one in reversed(case.story.records) if one.event in _BACK), None)
    rehearsed = case.story.subject.status.rehearsed
    if back is None and rehearsed and rehearsed.ended_at:
        return "✓", f"{rehearsed.reason} on {rehearsed.ended_at:%Y-%m-%d}: {rehearsed.message}"
    if back is None:
        return "✗", f"no rollback is on record: rehearse one (kubectl modelramp drill {case.story.subject.ref.name})"
    return "✓", f"{back.event} on {back.at:%Y-%m-%d}: {back.message}"


def _lineage(case: Case) -> tuple[str, str]:
    if failed := [one for one in case.gates("lineage") if one.verdict is not VerdictKind.PASS]:
        return _of_gates(failed, "")
    if not isinstance(case.origin, Value):
        return _NOT_KNOWN, why_not(case.origin)
    found = case.origin.value
    lacks = [
        word
        for word, there in (("git commit", _commit(found)), ("dataset", found.datasets), ("run", found.run_id))
        if not there
    ]
    if found.dirty.lower() == "true":
        lacks.append("clean commit")
    return (
        ("✗", f"lacks: {', '.join(lacks)}") if lacks else ("✓", f"{_commit(found)[:12]}; {'; '.join(found.datasets)}")
    )


def _commit(origin: Origin) -> str:
    """Return the commit, also where somebody other than MLflow tagged the run or the version with it."""
    return origin.commit or next((origin.tags[tag] for tag in COMMIT_TAGS if origin.tags.get(tag)), "")


def _decision(case: Case) -> tuple[str, str]:
    judged = case.gates("decision")
    if any(one.reason != "DecisionNotNeeded" for one in judged):
        return _of_gates(judged, "")
    if not isinstance(case.origin, Value):
        return _NOT_KNOWN, why_not(case.origin)
    found = case.origin.value
    note = next((found.tags[key] for key in _NOTES if found.tags.get(key, "").strip()), found.description)
    return ("✓", cut(note, 200)) if note.strip() else ("✗", "the version has no description and no tag `decision`")


def _policy(case: Case) -> tuple[str, str]:
    policy = case.spec.policy
    return (
        ("✓", f"ConfigMap {policy.config_map}")
        if policy
        else (_NOT_KNOWN, "spec.policy is not set: the model has no rules of its own outside")
    )


def _shadow(case: Case) -> tuple[str, str]:
    held, floor = _shadowed(case), case.floor("shadow")
    if held is not None:
        is_long = held >= DAY
        lacks = "" if is_long else ", less than 24 h"
        return ("✓" if is_long else "✗"), f"copies for {held / 3600:.1f} h{lacks}{floor}"
    return ("✗", f"it has not run yet{floor}") if case.plan.shadow else (_NOT_KNOWN, "spec.shadow is not set")


def _shadowed(case: Case) -> float | None:
    """Return for how many seconds the version had copies before its first live traffic."""
    begun = case.last("ShadowStarted")
    mine = (one for one in case.story.records if one.version == case.spec.version and begun and one.at > begun.at)
    after = next((one for one in mine if one.event in ("StepStarted", "Promoted")), None)
    held = [one.value for one in after.evidence if one.check == "hold"] if after else []
    return held[0] if held else None


def _ramp(case: Case) -> tuple[str, str]:
    weights = " → ".join(f"{step.weight}" for step in case.plan.steps)
    if not case.plan.steps or not case.plan.guardrails:
        return "✗", "there is no ramp" if not case.plan.steps else f"{weights} %, and no guardrail"
    return "✓", f"{weights} %, {', '.join(text(step.hold) for step in case.plan.steps)}{case.floor('ramp')}"


def _monitoring(case: Case) -> tuple[str, str]:
    status = case.story.subject.status
    rails = (*case.spec.plan.guardrails, *case.plan.guardrails, *status.required)
    names = ", ".join(dict.fromkeys(rail.name for rail in rails))
    healthy = next((one for one in status.conditions if one.type == "GuardrailsHealthy"), None)
    if not names:
        return "✗", "no guardrail is set"
    return "✓", f"{names}" + (f" ({healthy.reason})" if healthy else "")


def _runbook(case: Case) -> tuple[str, str]:
    page = case.annotations.get(RUNBOOK, "")
    return ("✓", page) if page else ("✗", f"annotate the object: {RUNBOOK}: the page's address")


ITEMS: tuple[tuple[str, Callable[[Case], tuple[str, str]]], ...] = (
    ("Model name is product-centric, no version numbers", _name),
    ("Signature is logged and enforced", _signature),
    ("Offline gates passed", _offline),
    ("Staging gates passed", _staging),
    ("Version is pinned", _pinned),
    ("Rollback is documented and tested", _rollback),
    ("Complete lineage is logged", _lineage),
    ("Decision context is documented", _decision),
    ("Policy is external to the model", _policy),
    ("Shadow period of 24 h completed", _shadow),
    ("Ramp plan with health checks", _ramp),
    ("Monitoring and alerting configured", _monitoring),
    ("On-call runbook", _runbook),
)
