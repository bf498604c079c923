"""An approval opens a step of one attempt: what was said of an earlier one says nothing of the next."""

from __future__ import annotations

from dataclasses import replace

from modelramp.rollout.spec import Step
from modelramp.rollout.status import Attempt, Status

REMEMBERED_VERSIONS = 50
"""The highest stay: numbers of a registry only grow, so what is below them all may have been tried."""


def wanted(status: Status, attempt: Attempt, step: Step) -> str:
    """Return what `spec.approve` has to be for the step to end, "" where it needs no approval."""
    if not step.approval:
        return ""
    plain = f"{attempt.version}/{step.weight}"
    return f"{plain}/{attempt.id}" if _may_have_been_tried(status, attempt.version) else plain


def remember(before: Status, after: Status) -> Status:
    """Return the status with the version of an attempt that is over, so that no approval outlives it."""
    ended = before.attempt
    if ended is None or (after.attempt is not None and after.attempt.id == ended.id):
        return after
    tried = (ended.version, *(version for version in after.tried if version != ended.version))
    if len(tried) > REMEMBERED_VERSIONS:
        lowest = min(tried, key=int)
        tried = tuple(version for version in tried if version != lowest)
    return replace(after, tried=tried)


def _may_have_been_tried(status: Status, version: str) -> bool:
    """Tell whether a version was tried, or is older than all that are still remembered."""
    is_full = len(status.tried) >= REMEMBERED_VERSIONS
    return version in status.tried or (is_full and int(version) < min(map(int, status.tried)))
