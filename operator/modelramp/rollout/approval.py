"""An approval opens a step of one attempt: what was said of an earlier one says nothing of the next."""

from __future__ import annotations

from dataclasses import replace

from modelramp.rollout.spec import Step
from modelramp.rollout.status import Attempt, Status

REMEMBERED_VERSIONS = 50


def wanted(status: Status, attempt: Attempt, step: Step) -> str:
    """Return what `spec.approve` has to be for the step to end, "" where it needs no approval."""
    if not step.approval:
        return ""
    plain = f"{attempt.version}/{step.weight}"
    return f"{plain}/{attempt.id}" if attempt.version in status.tried else plain


def remember(before: Status, after: Status) -> Status:
    """Return the status with the version of an attempt that is over, so that no approval outlives it."""
    ended = before.attempt
    if ended is None or (after.attempt is not None and after.attempt.id == ended.id):
        return after
    others = (version for version in after.tried if version != ended.version)
    return replace(after, tried=(ended.version, *others)[:REMEMBERED_VERSIONS])
