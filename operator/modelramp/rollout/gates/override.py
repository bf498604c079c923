"""Overrides: a failed gate passes until a moment, for a reason, and everybody sees that it did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from modelramp.rollout.gates.case import LONGEST_MESSAGE, cut
from modelramp.rollout.gates.spec import Gates, Override
from modelramp.rollout.status import GateResult

LATER = frozenset({"rollback", "staging"})
"""Families of gates that are judged elsewhere than before the pods start."""


def override(results: Iterable[GateResult], overrides: Iterable[Override], now: datetime) -> tuple[GateResult, ...]:
    """Return the results, those that failed and are overridden passing; an override that is over says so."""
    known = {each.gate: each for each in overrides}
    return tuple(result if result.passed else _overridden(result, known.get(result.gate), now) for result in results)


def _overridden(result: GateResult, found: Override | None, now: datetime) -> GateResult:
    if found is None:
        return result
    until = f"until {found.until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if found.until <= now:
        message = f"{result.message} (the override held {until})"
        return replace(result, message=cut(message, LONGEST_MESSAGE))
    return replace(result, passed=True, overridden=True, override=cut(f"{until}: {found.reason}", LONGEST_MESSAGE))


def unmatched(results: Iterable[GateResult], gates: Gates) -> Iterator[str]:
    """Yield the gates that overrides name and that were not judged; those of later stages are not judged yet."""
    judged = {result.gate for result in results}
    return (
        each.gate for each in gates.overrides if each.gate not in judged and each.gate.partition(":")[0] not in LATER
    )
