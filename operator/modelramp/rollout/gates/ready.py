"""Readiness and age: the version and its run are complete, and nobody has said that it is to go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time

from modelramp.rollout.gates.case import Case, fails, passes
from modelramp.rollout.status import GateResult

READY = "READY"
FINISHED = "FINISHED"
ACTIVE = "active"
SUNSET_TAG = "sunset_on"
DEPRECATED_TAG = "deprecated"
_NO = frozenset({"", "false", "no", "0"})


def judge_ready(case: Case) -> Iterator[GateResult]:
    """Judge the version's own state, its run's, and its tags `deprecated` and `sunset_on`."""
    yield _version(case)
    if case.candidate.run_id:
        yield _run(case)
    yield _deprecation(case)
    yield _sunset(case)


def _version(case: Case) -> GateResult:
    version, status = case.candidate.version, case.candidate.status
    if status == READY:
        return passes("ready", "VersionReady", f"version {version} is {READY}", status, READY)
    return fails("ready", "VersionNotReady", f"version {version} is {status}, not {READY}", status, READY)


def _run(case: Case) -> GateResult:
    run, source = case.candidate.run, f"run {case.candidate.run_id}"
    wanted = f"{FINISHED}, {ACTIVE}"
    if run is None:
        return fails(
            "run", "RunNotFound", f"{source}, which the version names, is not in the registry", "", wanted, source
        )
    found = f"{run.status}, {run.stage}"
    if found == wanted:
        return passes("run", "RunFinished", f"{source} is finished", found, wanted, source)
    message = f"{source} is {run.status} and {run.stage}, not {FINISHED} and {ACTIVE}"
    return fails("run", "RunNotFinished", message, found, wanted, source)


def _deprecation(case: Case) -> GateResult:
    value = case.candidate.tags.get(DEPRECATED_TAG, "")
    if value.strip().lower() in _NO:
        return passes("deprecated", "NotDeprecated", "not deprecated", value, "", f"tag {DEPRECATED_TAG}")
    message = f"version {case.candidate.version} has the tag {DEPRECATED_TAG}: {value}"
    return fails("deprecated", "Deprecated", message, value, "not set, or false", f"tag {DEPRECATED_TAG}")


def _sunset(case: Case) -> GateResult:
    text, source = case.candidate.tags.get(SUNSET_TAG, ""), f"tag {SUNSET_TAG}"
    bound, moment = f"after {case.now:%Y-%m-%d}", read_sunset(text)
    if not text.strip():
        return passes("sunset", "NoSunset", f"no tag {SUNSET_TAG}", "", bound, source)
    if moment is None:
        message = f"the tag {SUNSET_TAG} is {text!r}, which is no date such as 2027-12-31"
        return fails("sunset", "SunsetUnreadable", message, text, bound, source)
    if moment <= case.now:
        return fails("sunset", "SunsetPassed", f"the tag {SUNSET_TAG} is {text}: it has passed", text, bound, source)
    return passes("sunset", "SunsetAhead", f"the tag {SUNSET_TAG} is {text}", text, bound, source)


def read_sunset(text: str) -> datetime | None:
    """Return the moment from which a version is not to be used: a date begins at midnight UTC. None if unreadable."""
    try:
        return datetime.combine(date.fromisoformat(text.strip()), time(), UTC)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
