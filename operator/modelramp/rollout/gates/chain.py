"""Offline gates: an ordered chain of judges of a registry version, each result with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from modelramp.rollout.gates.case import Case
from modelramp.rollout.gates.fairness import judge_coverage, judge_fairness
from modelramp.rollout.gates.lineage import judge_lineage
from modelramp.rollout.gates.metrics import judge_metrics
from modelramp.rollout.gates.name import judge_name
from modelramp.rollout.gates.override import override
from modelramp.rollout.gates.policy import judge_policy
from modelramp.rollout.gates.ready import judge_ready
from modelramp.rollout.gates.signature import judge_signature
from modelramp.rollout.gates.tags import judge_decision, judge_tags
from modelramp.rollout.status import GateResult

CHAIN: tuple[Callable[[Case], Iterator[GateResult]], ...] = (
    judge_name,
    judge_ready,
    judge_signature,
    judge_metrics,
    judge_fairness,
    judge_coverage,
    judge_lineage,
    judge_tags,
    judge_decision,
    judge_policy,
)


def judge_gates(case: Case) -> tuple[GateResult, ...]:
    """Evaluate every gate, also after one has failed: the user sees all there is to mend."""
    results = (result for judge in CHAIN for result in judge(case))
    return override(results, case.gates.overrides, case.now)
