"""What is remembered survives: the API server, a restart, a newer operator, a careless hand."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings

from modelramp.api import dump_status, read_spec, read_status
from modelramp.api import status as schema
from modelramp.rollout import status as core
from modelramp.rollout.spec import Spec
from modelramp.rollout.status import (
    Attempt,
    AttemptKind,
    Condition,
    GuardrailState,
    Phase,
    Pin,
    Record,
    Rejection,
    Status,
    VerdictKind,
)
from tests.api.objects import ABSENT, MOST, changed, parsed
from tests.api.statuses import statuses

THEN = datetime(2026, 11, 23, 17, 0, 0, 123456, UTC)


def ramping() -> Status:
    spec = read_spec(parsed(MOST))
    assert isinstance(spec, Spec)
    return Status(
        phase=Phase.RAMPING,
        reason="Holding",
        message="v8 has 10 % for another 12m",
        observed_generation=3,
        stable=Pin("7", "run7", "s3://models/7", "sha256:77", "1764000000000"),
        candidate=Pin("8", "run8", "s3://models/8", "sha256:88"),
        previous=(Pin("7"), Pin("6")),
        attempt=Attempt(
            id="8-1",
            version="8",
            kind=AttemptKind.FRESH,
            fingerprint=spec.fingerprint,
            plan=spec.plan,
            started_at=THEN,
            phase_since=THEN,
            step=1,
            settled_at=THEN + timedelta(seconds=2),
            counted_from=1200,
            gates=(core.GateResult("auc", True, "AtLeast", "auc 0.93 is at least 0.92"),),
        ),
        guardrails=(GuardrailState("errors", VerdictKind.PASS, "Within", "0.1 %", THEN, baseline=0.001),),
        rejected=(Rejection("5", "1:0123456789abcdef", "GateFailed", "auc 0.8", THEN),),
        history=(Record(THEN, "8", "StepReached", "10 %"),),
        conditions=(Condition("Ready", "Unknown", "Ramping", "", 3, THEN),),
        weight=10,
        step="2/4",
    )


@given(statuses)
@settings(max_examples=300)
def test_what_is_written_is_read_back(status: Status) -> None:
    stored = json.loads(json.dumps(dump_status(status), allow_nan=False))
    assert read_status({"status": stored}) == status


@given(statuses)
def test_what_is_written_fits_the_schema(status: Status) -> None:
    written = json.loads(json.dumps(dump_status(status)))
    schema.Status.model_validate(written, extra="forbid")


@given(statuses)
def test_an_unchanged_status_is_written_the_same(status: Status) -> None:
    assert json.dumps(dump_status(read_status({"status": dump_status(status)}))) == json.dumps(dump_status(status))


def test_the_schema_has_every_field_of_the_core_and_no_other() -> None:
    assert _shape(core.Status) == _shape(schema.Status)


def _shape(kind: Any) -> Any:
    """Return the tree of field names below a type."""
    if any(get_args(kind)):
        return next((shape for shape in map(_shape, get_args(kind)) if shape), {})
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else list(getattr(kind, "model_fields", ()))
    hints = get_type_hints(kind) if names else {}
    return {name: _shape(hints[name]) for name in names}


def test_it_is_written_as_kubernetes_writes() -> None:
    written = dump_status(ramping())
    assert written["observedGeneration"] == 3
    assert written["attempt"]["startedAt"] == "2026-11-23T17:00:00.123456Z"
    assert written["attempt"]["plan"]["readyDeadline"] == "5m"
    assert written["attempt"]["plan"]["guardrails"][2]["bounds"] == {"min": 0.0, "max": 0.2}
    assert written["conditions"][0] == {
        "type": "Ready",
        "status": "Unknown",
        "reason": "Ramping",
        "message": "",
        "observedGeneration": 3,
        "lastTransitionTime": "2026-11-23T17:00:00.123456Z",
    }


def test_what_is_empty_is_left_out() -> None:
    assert dump_status(Status()) == {"phase": "Pending", "reason": "New", "observedGeneration": -1, "weight": 0}


def test_times_are_written_in_utc() -> None:
    east = datetime(2026, 11, 23, 19, 0, tzinfo=timezone(timedelta(hours=2)))
    assert dump_status(Status(history=(Record(east, "8", "x", ""),)))["history"][0]["at"] == "2026-11-23T17:00:00Z"


def test_a_number_that_json_does_not_know_is_left_out() -> None:
    state = GuardrailState("errors", VerdictKind.NO_DATA, "NaN", "", THEN, baseline=math.nan)
    assert "baseline" not in dump_status(Status(guardrails=(state,)))["guardrails"][0]


def test_whole_numbers_come_back_from_the_api_server_as_the_floats_they_were() -> None:
    state = GuardrailState("errors", VerdictKind.PASS, "x", "", THEN, baseline=2.0)
    stored = changed({"status": dump_status(Status(guardrails=(state,)))}, **{"status.guardrails[0].baseline": 2})
    assert read_status(stored).guardrails == (state,)


@pytest.mark.parametrize("body", [{}, {"status": None}, {"status": {}}, {"status": {"observedGeneration": -1}}])
def test_a_new_object_has_a_new_status(body: dict[str, Any]) -> None:
    assert read_status(body) == Status()


def test_a_newer_operator_s_additions_are_skipped(caplog: pytest.LogCaptureFixture) -> None:
    stored = {"status": dump_status(ramping())}
    newer = changed(
        stored,
        **{
            "status.fairness": {"passed": True},
            "status.stable.alias": "champion",
            "status.attempt.canary": [1, 2],
            "status.attempt.plan.guardrails[0].scope": "global",
        },
    )
    assert read_status(newer) == ramping()
    assert not caplog.records


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ({"status.phase": "Analyzing"}, {"phase": Phase.PENDING}),
        ({"status.weight": "ten"}, {"weight": 0}),
        ({"status.stable": "7"}, {"stable": None}),
        ({"status.history[0].at": "yesterday"}, {"history": ()}),
        ({"status.history[0].at": "9999-12-31T23:59:59-05:00"}, {"history": ()}),
        ({"status.history": "long"}, {"history": ()}),
        ({"status.previous[0].version": ABSENT}, {"previous": (Pin("6"),)}),
        ({"status.guardrails[0].verdict": "Perhaps"}, {"guardrails": ()}),
        ({"status.conditions[0].observedGeneration": True}, {"conditions": ()}),
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_one_damaged_field_costs_no_other(
    damage: dict[str, Any], expected: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        read = read_status(changed({"status": dump_status(ramping())}, **damage))
    assert read == replace(ramping(), **expected)
    (path,) = damage
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning.startswith((path, path.rpartition(".")[0]))


@pytest.mark.parametrize(
    "damage",
    [
        {"status.attempt": []},
        {"status.attempt.version": ABSENT},
        {"status.attempt.step": 1.5},
        {"status.attempt.plan.guardrails[0].bounds": "0..1"},
        {"status.attempt.plan.guardrails[1].interval": "often"},
        {"status.attempt.plan.guardrails[2].failureLimit.mode": "Sometimes"},
        {"status.attempt.plan.steps": {"weight": 100}},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_an_attempt_that_cannot_be_read_whole_starts_again(damage: dict[str, Any]) -> None:
    read = read_status(changed({"status": dump_status(ramping())}, **damage))
    assert read == replace(ramping(), attempt=None, phase=Phase.PENDING)


def test_a_warning_shows_no_value(caplog: pytest.LogCaptureFixture) -> None:
    read_status({"status": {"phase": "hunter2", "stable": {"version": ["hunter2"]}, "attempt": "hunter2"}})
    assert len(caplog.records) == 3
    assert "hunter2" not in caplog.text
