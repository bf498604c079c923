"""Tags that every version carries, and the note that says why this one is to go live."""

from __future__ import annotations

from collections.abc import Iterator

from modelramp.rollout.gates.case import Case, cut, fails, passes
from modelramp.rollout.gates.spec import DecisionGate, NoteFor, TagGate
from modelramp.rollout.status import GateResult

RISK_TAG = "risk"
TIER1 = "tier1"
_PLACES = "the version, its logged model or its run"


def judge_tags(case: Case) -> Iterator[GateResult]:
    """Judge each tag that is asked for: set, and one of the values that are allowed."""
    for gate in case.gates.tags:
        yield _tag(gate, case.candidate.tags.get(gate.key, "").strip())


def _tag(gate: TagGate, value: str) -> GateResult:
    name, bound, source = f"tag:{gate.key}", " or ".join(gate.values) or "set", f"tag {gate.key}"
    if not value:
        return fails(name, "TagMissing", f"the tag {gate.key} is not set on {_PLACES}", "", bound, source)
    if gate.values and value not in gate.values:
        return fails(name, "TagNotAllowed", f"the tag {gate.key} is {value!r}; allowed: {bound}", value, bound, source)
    return passes(name, "TagSet", f"{gate.key} is {value}", value, bound, source)


def judge_decision(case: Case) -> Iterator[GateResult]:
    """Judge whether there is a note, where one is asked for; a version of unknown risk is treated as tier1."""
    gate = case.gates.decision
    if gate is None:
        return
    risk = case.candidate.tags.get(RISK_TAG, "").strip()
    where, note = _note(case, gate)
    if note:
        yield passes("decision", "DecisionNoted", note, cut(note, 40), "a note", where)
    elif gate.required_for is NoteFor.ALL or risk in ("", TIER1):
        places = f"the tag {gate.tag} is not set, there is no description and no file {gate.artifact}"
        yield fails("decision", "DecisionMissing", f"no note says why: {places}", "", "a note", where)
    else:
        yield passes("decision", "DecisionNotNeeded", f"the tag {RISK_TAG} is {risk}, not {TIER1}", risk, TIER1)


def _note(case: Case, gate: DecisionGate) -> tuple[str, str]:
    """Return where the note is, or was looked for, and the note."""
    model = case.candidate
    if text := model.tags.get(gate.tag, "").strip():
        return f"tag {gate.tag}", text
    if text := model.description.strip():
        return "description", text
    file = f"file {gate.artifact}"
    return (file, f"in the {file}") if gate.artifact in model.files else (f"tag {gate.tag}, description, {file}", "")
