"""Each invariant can fail: a seeded fault in the core is killed by the property that bears the invariant's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.seeding import kill, seed


@dataclass(frozen=True)
class Mutant:
    """One fault: in this module of the core, or of the adapters, this text becomes that."""

    invariant: str
    module: str
    original: str
    fault: str
    suite: str = "test_invariants.py"


STORY = "test_story.py"
BACKLOG = "test_backlog.py"
COPIES = "../rollout/test_copies.py"
MUTANTS = {
    "stable gets a percent too much": Mutant(
        "test_1_", "traffic.py", "EVERYTHING - weight, status.", "EVERYTHING - weight + 1, status."
    ),
    "a step is skipped": Mutant(
        "test_2_", "machine.py", "attempt.step + 1)", "min(attempt.step + 2, len(attempt.plan.steps) - 1))"
    ),
    "traffic goes where the router cannot connect to": Mutant(
        "test_2_nobody", "progress.py", "attempt.version in effect.value.unreachable", "False"
    ),
    "the hold is not waited for": Mutant(
        "test_3_every", "progress.py", "turn.seen.now - attempt.settled_at < hold", "False"
    ),
    "one pass is enough": Mutant(
        "test_3_every", "guardrails.py", "seen.passes >= guardrail.min_passes", "seen.passes >= 1"
    ),
    "the split need not be in effect": Mutant(
        "test_3_every", "progress.py", "or not converged(turn.status, turn.seen):\n        return", ":\n        return"
    ),
    "an approval of an earlier attempt counts": Mutant(
        "test_3_an_approval", "approval.py", "if _may_have_been_tried(status, attempt.version) else plain", "if False else plain"
    ),
    "which versions were tried is forgotten": Mutant(
        "test_3_no_attempt", "approval.py", "if ended is None or (", "if ended is None or after.attempt is not None or ("
    ),
    "what is no longer remembered was never tried": Mutant(
        "test_3_no_approval", "approval.py", "version in status.tried or (is_full", "version in status.tried or (False"
    ),
    "NaN is a number like any other": Mutant("test_3_no_data", "guardrails.py", "math.isnan(value)", "False"),
    "no data keeps the passes": Mutant(
        "test_3_no_data", "guardrails.py", "(asked, passes=0, unknown_since=", "(asked, unknown_since="
    ),
    "verdicts count before the split is in effect": Mutant(
        "test_3_a_verdict", "guardrails.py", " and measurement.asked_at >= scope.settled_at", ""
    ),
    "a breach is no reason to go back": Mutant("test_4_", "machine.py", "(_S.ABORT, _S.BREACH, _S.LOST", "(_S.ABORT, _S.LOST"),
    "a breach waits for the route to be readable": Mutant(
        "test_4_", "traffic.py", "blind = retreats and isinstance(seen.route, Failed)", "blind = False"
    ),
    "a rejected pin is tried again": Mutant(
        "test_5_", "signals.py", "return running or _rejection(turn, version) is not None", "return running"
    ),
    "a message grows with every look": Mutant(
        "test_7_once", "narrate.py", "reason=signal.reason, message=signal.message)", "message=after.message + '.')"
    ),
    "a restart starts the step's clock anew": Mutant(
        "test_7_a_restart", "machine.py", "(attempt and attempt.settled_at) or turn.seen.now", "turn.seen.now"
    ),
    "the route is written every turn": Mutant("test_8_", "traffic.py", "return not same or not route.current", "return True"),
    "deletion waits for the route for ever": Mutant(
        "test_9_", "decide.py", "if late or not routed else routed", "if not routed else routed"
    ),
    "the pin is read anew at every step": Mutant(
        "test_10_", "machine.py", "def _ramp(turn: Turn, signal: Signal) -> Status:\n",
        "def _ramp(turn: Turn, signal: Signal) -> Status:\n"
        "    turn = replace(turn, status=replace(turn.status, candidate=_pin(turn)))\n",
    ),
    "an edited entry ramps on": Mutant(
        "test_10_an_edited", "progress.py", "drifted(candidate, turn.status.conditions, turn.seen)", '""'
    ),
    "an edited entry is not told": Mutant("test_10_an_edited", "conditions.py", "said := drift(status, seen)", 'said := ""'),
    "a pause comes before protection": Mutant(
        "test_a_pause", "signals.py", "CHAIN: tuple[Callable[[Turn], Signal | None], ...] = (",
        "CHAIN: tuple[Callable[[Turn], Signal | None], ...] = (\n    _pause,",
    ),
    "a spec that cannot be used is gone by": Mutant(
        "test_a_spec_that_cannot_be_used_moves", "signals.py", "PROTECTION if turn.spec.problem else CHAIN", "CHAIN"
    ),
    "a spec that cannot be used stops everything": Mutant(
        "test_a_spec_that_cannot_be_used_stops", "signals.py",
        "_release, _revert, _breach, _lost, drill.lose, _ineffective, _blind, drill.follow, _settle, _unreadable",
        "_release, _unreadable",
    ),
    "a deadline that has passed is waited for": Mutant(
        "test_8_a_turn", "schedule.py", "yield left if left > timedelta(0) else OVERDUE", "yield left"
    ),
    "silence is consent": Mutant(
        "test_unknown", "guardrails.py", "Verdict(VerdictKind.NO_DATA, reason,", "Verdict(VerdictKind.PASS, reason,"
    ),
    "a failed gate is overlooked": Mutant(
        "test_no_traffic", "gating.py", "for result in results if not", "for result in tuple(results)[:1] if not"
    ),
    "the shadow does not wait for the staging gates": Mutant(
        "test_no_traffic_live", "progress.py", "if staging.is_wanted(attempt):", "if False:"
    ),
    "silence is as good as a rehearsal": Mutant(
        "test_unknown_or", "staging.py", 'GateResult(gate, False, "NoResult"', 'GateResult(gate, True, "NoResult"'
    ),
    "slow is fast enough": Mutant(
        "test_unknown_or", "staging.py", "passed = seconds <= bound.total_seconds()", "passed = True"
    ),
    "a version that does not answer can be fallen back to": Mutant(
        "test_unknown_or", "staging.py", "is not None and found.fallback.answered", "is not None"
    ),
    "a rehearsal that has ended is run again": Mutant(
        "test_an_attempt", "staging.py", "or wanted.attempt in known or not", "or not"
    ),
    "pods go before their route": Mutant("test_pods", "traffic.py", "if _unrouted(version, seen)", "if True"),
    "every version is treated as the first": Mutant(
        "test_only", "progress.py", "if attempt.kind is not AttemptKind.FRESH:", "if True:"
    ),
    "the looser side wins": Mutant(
        "test_the_result", "floor.py", "(highest, policy) if highest > own", "(highest, policy) if highest < own", "test_floor.py"
    ),
    "the first step of the spec is lost": Mutant(
        "test_the_result", "floor.py", "replace(steps[0], weight=first, approval=False), *steps)", "replace(steps[0], weight=first, approval=False), *steps[1:])", "test_floor.py"
    ),
    "the last policy wins": Mutant(
        "test_the_order", "floor.py", "tuple(sorted((one for one in policies if one.selector.selects(subject)), key=lambda one: one.name))",
        "tuple(one for one in policies if one.selector.selects(subject))", "test_floor.py"
    ),
    "a gate is added again": Mutant(
        "test_raising", "gates/floor.py", "if not any(self.covers(mine, gate) for mine in getattr(own, self.field))", "", "test_floor.py"
    ),
    "an override that is not allowed helps": Mutant(
        "test_the_result", "floor.py", " if policy is None)", ")", "test_floor.py"
    ),
    "a floor of staging is a ceiling": Mutant(
        "test_the_result", "gates/floor.py", "requests=max(gate.requests", "requests=min(gate.requests", "test_floor.py"
    ),
    "a floor does not ask who could take over": Mutant(
        "test_the_result", "gates/floor.py", "any(gate.required for gate in every)", "all(gate.required for gate in every)", "test_floor.py"
    ),
    "a change of policies reaches what runs": Mutant(
        "test_a_change_of_policies", "machine.py", "held_to(turn, attempt) if attempt and turn.status.phase is Phase.GATING else None",
        "held_to(turn, attempt) if attempt else None",
    ),
    "unknown policies ask for nothing": Mutant(
        "test_unknown_policies", "settle.py", "    if not isinstance(rulebook, Value):\n        return Unsettled(rulebook.reason, rulebook.message)\n",
        "    if not isinstance(rulebook, Value):\n        return Settled(attempt.plan)\n",
    ),
    "a record that the registry has not taken is lost": Mutant(
        "test_a_record", "archive.py", "if record.id not in taken)", "if not taken)", STORY
    ),
    "a record that the registry has is written again": Mutant(
        "test_a_record", "archive.py", "if record.id not in taken)", "if True)", STORY
    ),
    "a drill outlives the operator": Mutant(
        "test_a_drill", "drill.py", "turn.evidence.since > drill.started_at", "False", STORY
    ),
    "a drill goes on with nobody there": Mutant(
        "test_a_drill", "drill.py", "(pin := fallback(turn)) is None or pin.version != drill.version", "False", STORY
    ),
    "what is refused is asked for first again": Mutant(
        "test_a_record_that_is_refused", "../adapters/backlog.py",
        "return sorted(due, key=lambda item: self._times(item.id if item else ALIASES))", "return due", BACKLOG,
    ),
    "what is refused is asked for at every look": Mutant(
        "test_a_record_that_is_refused", "../adapters/backlog.py", "now >= self.delayed[key].until", "True", BACKLOG
    ),
    "answers to copies are asked for where there are none": Mutant(
        "test_it_is_asked", "turn.py", "rails if status.phase is Phase.SHADOWING else _without_copies(rails)", "rails", COPIES
    ),
    "a comparison that can never be made is passed over": Mutant(
        "test_where_it_could_never", "settle.py", "if rail is None or not lacking:", "if True:", COPIES
    ),
    "what an object leaves waits for what is being written": Mutant(
        "test_9_what_an_object", "decide.py", " and not turn.seen.deleting)", ")"
    ),
    "a deleted object goes on moving aliases": Mutant(
        "test_what_a_deleted_object", "../adapters/backlog.py", "self.ceded = True", "self.ceded = False", BACKLOG
    ),
    "what an object leaves while the registry is left alone is lost": Mutant(
        "test_what_an_object_leaves", "../adapters/journal.py", "(rollout.deleting or job.is_due(", "(job.is_due(", BACKLOG
    ),
}  # fmt: skip
ALIAS = Mutant(
    "test_an_alias_that_somebody", "../adapters/mlflow_records.py",
    "if not is_ours or (now and now not in owned.get(", "if not is_ours and (now and now not in owned.get(",
    "../adapters/test_journal.py",
)  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_the_invariant_kills_its_mutant(name: str, tmp_path: Path) -> None:
    killed(MUTANTS[name], tmp_path)


@pytest.mark.server
def test_an_alias_of_somebody_else_that_is_moved_is_noticed(tmp_path: Path) -> None:
    killed(ALIAS, tmp_path)


def killed(mutant: Mutant, tmp_path: Path) -> None:
    """Run the property on the core with the fault, in more turns than it is checked in."""
    copy = tmp_path / "operator"
    seed(copy, f"modelramp/rollout/{mutant.module}", mutant.original, mutant.fault)
    kill(copy, f"tests/properties/{mutant.suite}", mutant.invariant, PROPERTY_TURNS="8000")
