"""The policy gate: the business rules are in a ConfigMap, apart from the model, and they can be used."""

from __future__ import annotations

from collections.abc import Iterator

from modelramp.rollout.gates.case import Case, fails, passes
from modelramp.rollout.observation import NoData, Value
from modelramp.rollout.status import GateResult


def judge_policy(case: Case) -> Iterator[GateResult]:
    """Judge what the policy's ConfigMap holds; nothing where none is named and none is required."""
    match case.rules:
        case Value(rules) if rules.problem:
            yield fails("policy", "PolicyInvalid", rules.problem, source="spec.policy")
        case Value(rules):
            message = f"policy {rules.hash} can be used"
            yield passes("policy", "PolicyValid", message, value=rules.hash, source="spec.policy")
        case NoData(reason, message):
            yield fails("policy", reason, message, source="spec.policy")
        case None if case.gates.require_policy:
            message = "spec.policy names no ConfigMap with the business rules"
            yield fails("policy", "PolicyMissing", message, source="spec.policy")
