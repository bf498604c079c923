"""The gates as users write them, as the core judges them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from modelramp.api import read_spec
from modelramp.api.convert import Problem
from modelramp.rollout.gates.spec import (
    CompareOn,
    CompatibleWith,
    CoverageGate,
    DecisionGate,
    FairnessGate,
    Gates,
    Lineage,
    LineageGate,
    MetricGate,
    NoteFor,
    Override,
    SignatureGate,
    TagGate,
)
from modelramp.rollout.spec import Spec
from tests.api.objects import LEAST, MOST, changed, parsed


def gates(body: dict[str, Any]) -> Gates:
    spec = read_spec(body)
    assert isinstance(spec, Spec), spec
    return spec.plan.gates


def test_every_family_is_read_whole() -> None:
    read = gates(parsed(MOST))
    assert read.metrics[3:] == (
        MetricGate("auc", max_drop_ratio=0.02, dataset="holdout"),
        MetricGate("throughput_rps", max_drop_ratio=0.2, max_increase_ratio=9, compare_on=CompareOn.ANY_DATASET),
    )
    assert read.signature == SignatureGate(required=True, compatible_with=CompatibleWith.STABLE)
    assert read.name_patterns == ("fraud_[a-z]+",)
    assert read.fairness == (
        FairnessGate("demographic_parity_ratio", min=0.8, groups=("country",)),
        FairnessGate("equalized_odds_difference", max=0.1),
    )
    assert read.coverage == (CoverageGate("segment_coverage", 0.95),)
    assert read.lineage == LineageGate(tuple(Lineage), "features")
    assert read.tags == (TagGate("team"), TagGate("risk", ("tier1", "tier2")))
    assert read.decision == DecisionGate(NoteFor.ALL, "why", "why.md")
    until = datetime(2026, 12, 31, 18, tzinfo=UTC)
    assert read.overrides == (Override("metric:auc", "the holdout was redrawn", until),)


def test_what_is_not_asked_for_is_not_checked_but_the_signature() -> None:
    assert gates(parsed(LEAST)) == Gates(signature=SignatureGate(required=True, compatible_with=CompatibleWith.STABLE))


def test_asking_for_tags_asks_for_the_usual_seven() -> None:
    read = gates(changed(parsed(LEAST), **{"spec.gates.tags": {}}))
    assert [tag.key for tag in read.tags] == ["team", "owner", "risk", "pii", "compliance", "sla", "data_residency"]
    assert {tag.key: tag.values for tag in read.tags if tag.values} == {
        "risk": ("tier1", "tier2", "tier3"),
        "pii": ("true", "false"),
    }


@pytest.mark.parametrize("until", ["2026-12-31T19:00:00+01:00", datetime(2026, 12, 31, 18, tzinfo=UTC)])
def test_a_moment_is_read_with_its_offset_also_where_a_reader_of_yaml_took_it_for_one(until: object) -> None:
    override = {"gate": "signature", "reason": "agreed", "until": until}
    (read,) = gates(changed(parsed(LEAST), **{"spec.gates.overrides": [override]})).overrides
    assert read.until == datetime(2026, 12, 31, 18, tzinfo=UTC)


@pytest.mark.parametrize("until", [date(2026, 12, 31), "9999-12-31T23:59:59-05:00"])
def test_a_date_and_a_year_that_there_is_not_in_utc_are_no_moments(until: object) -> None:
    override = {"gate": "signature", "reason": "agreed", "until": until}
    problem = read_spec(changed(parsed(LEAST), **{"spec.gates.overrides": [override]}))
    assert isinstance(problem, Problem)
    assert f"'{until}' is no moment: write it in UTC or with its offset" in str(problem)


def test_asking_for_a_gate_in_its_usual_form_is_a_new_fingerprint() -> None:
    plain, asked = (read_spec(changed(parsed(LEAST), **more)) for more in ({}, {"spec.gates.tags": {}}))
    assert isinstance(plain, Spec)
    assert isinstance(asked, Spec)
    assert plain.fingerprint != asked.fingerprint
