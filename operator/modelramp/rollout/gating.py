"""Judge an attempt in Gating: wait for the registry, then accept or refuse on every gate's result."""

from __future__ import annotations

from collections.abc import Iterable

from modelramp.rollout import staging
from modelramp.rollout.gates.case import Case, cut
from modelramp.rollout.gates.chain import judge_gates
from modelramp.rollout.gates.override import override, unmatched
from modelramp.rollout.gates.spec import CompatibleWith, Gates
from modelramp.rollout.observation import Busy, Failed, ModelVersion, NoData, Reading, Rules, Value
from modelramp.rollout.settle import Settled, Unsettled, settle
from modelramp.rollout.status import Attempt, GateResult, Phase
from modelramp.rollout.turn import Signal, SignalKind, Turn

LONGEST_SUMMARY = 2000


def judge_gating(turn: Turn, attempt: Attempt) -> Signal:
    """Return acceptance, refusal with all that failed, or a hold while the registry has not answered."""
    if not isinstance(turn.seen.model, Value):
        return _unresolved("", turn.seen.model)
    settled = held_to(turn, attempt)
    if isinstance(settled, Unsettled):
        return Signal(SignalKind.HOLD, settled.reason, settled.message)
    gates = settled.plan.gates
    stable = turn.seen.stable_model if turn.status.stable and compares(gates) else Value(None)
    if not isinstance(stable, Value | NoData):
        return _unresolved("stable ", stable)
    if turn.spec.policy and not isinstance(turn.seen.rules, Value | NoData):
        return _unread(turn.seen.rules)
    results = examine(turn)
    said = overridden(results, gates)
    return conclude(results, f"version {attempt.version} passed every gate" + (f"; {said}" if said else ""))


def conclude(results: Iterable[GateResult], passed: str) -> Signal:
    """Return the refusal with all that failed, or the acceptance with this message."""
    if failed := [result for result in results if not result.passed]:
        return Signal(SignalKind.REFUSE, "GatesFailed", summarize(failed))
    return Signal(SignalKind.ACCEPT, "GatesPassed", passed)


def held_to(turn: Turn, attempt: Attempt) -> Settled | Unsettled:
    """Return what the attempt is held to, as far as that is known this turn."""
    return settle(attempt, turn.spec, turn.seen.model, turn.seen.rulebook)


def compares(gates: Gates) -> bool:
    """Tell whether a gate needs to know the stable version."""
    return gates.signature.compatible_with is CompatibleWith.STABLE or any(gate.compares for gate in gates.metrics)


def summarize(failed: Iterable[GateResult]) -> str:
    """Return the gates that failed and why, in one bounded line."""
    return cut("; ".join(f"{result.gate}: {result.message}" for result in failed), LONGEST_SUMMARY)


def overridden(results: Iterable[GateResult], gates: Gates) -> str:
    """Return which gates passed by an override, and which overrides name no gate that is judged; "" for none."""
    known = tuple(results)
    used = dict.fromkeys(f"{result.gate} is overridden {result.override}" for result in known if result.overridden)
    idle = [f"the override of {gate} names no gate that was judged" for gate in unmatched(known, gates)]
    return cut("; ".join([*used, *idle]), LONGEST_SUMMARY)


def _unresolved(asked: str, reading: Reading[ModelVersion] | Busy | Value[None] | None) -> Signal:
    match reading:
        case NoData(reason, message) | Failed(reason, message):
            return Signal(SignalKind.HOLD, reason, f"{asked}{message}")
        case Busy() if not asked:
            return Signal(SignalKind.HOLD, "Resolving", "fetching the version's files to take their digest")
        case _:
            return Signal(SignalKind.HOLD, "Resolving", f"asking the registry for the {asked}version")


def examine(turn: Turn) -> tuple[GateResult, ...]:
    """Return every gate's result so far; () while the version was not read."""
    attempt, model, stable = turn.status.attempt, turn.seen.model, turn.seen.stable_model
    if attempt is not None and turn.status.phase is Phase.STAGING:
        return (*attempt.gates, *_rehearsed(turn, attempt))
    settled = held_to(turn, attempt) if attempt else None
    if attempt is None or not isinstance(settled, Settled) or not isinstance(model, Value):
        return ()
    gates = settled.plan.gates
    known = stable.value if isinstance(stable, Value) else stable if isinstance(stable, NoData) else None
    of_stable = known if turn.status.stable and compares(gates) else None
    return judge_gates(Case(gates, model.value, of_stable, turn.seen.now, _rules(turn, attempt)))


def _rules(turn: Turn, attempt: Attempt) -> Value[Rules] | NoData | None:
    """Return what the policy's ConfigMap holds, None where there is to be none, or for a version adopted as it is."""
    seen = turn.seen.rules
    return seen if isinstance(seen, Value | NoData) and attempt.version == turn.spec.version else None


def _unread(reading: Failed | None) -> Signal:
    if reading is None:
        return Signal(SignalKind.HOLD, "Resolving", "reading the policy's ConfigMap")
    return Signal(SignalKind.HOLD, reading.reason, reading.message)


def _rehearsed(turn: Turn, attempt: Attempt) -> tuple[GateResult, ...]:
    results = staging.judge(turn, attempt)
    if isinstance(results, staging.Waits):
        return ()
    return override(results, attempt.plan.gates.overrides, turn.seen.now)
