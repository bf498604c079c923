"""Tell when the version that serves comes near the date on its tag `sunset_on`, and past it: a warning, no way back.

The registry's silence changes nothing of what was said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelramp.rollout.gates.case import LONGEST_DETAIL, cut
from modelramp.rollout.gates.ready import SUNSET_TAG, read_sunset
from modelramp.rollout.observation import Failed, NoData, Observation, Value
from modelramp.rollout.status import Condition, Status

SUNSET = "Sunset"
NOTICE = timedelta(days=30)
"""How long before the date the warning begins, and how long after it is told once more."""
UNREADABLE = "SunsetUnreadable"


@dataclass(frozen=True, slots=True)
class Outlook:
    """How near the end of the version that serves is, in a condition's words."""

    status: str
    reason: str
    message: str


def judge(status: Status, before: Iterable[Condition], seen: Observation) -> Outlook | None:
    """Return the outlook of the version that serves, None where none does."""
    if status.stable is None:
        return None
    version = status.stable.version
    match seen.pins.get(version):
        case Value(entry):
            return _outlook(version, entry.sunset, seen.now)
        case NoData():
            return Outlook("Unknown", "NotLookedUp", f"{_about(version)} is no longer in the registry")
        case Failed(reason, message):
            return _said(version, before) or Outlook("Unknown", reason, f"{_about(version)}: {message}")
        case None:
            return _said(version, before) or Outlook(
                "Unknown", "NotLookedUp", f"{_about(version)} was not looked up yet"
            )


def moments(status: Status, seen: Observation) -> Iterator[timedelta]:
    """Yield how long until time alone changes the outlook."""
    entry = seen.pins.get(status.stable.version) if status.stable else None
    moment = read_sunset(entry.value.sunset) if isinstance(entry, Value) else None
    if moment is not None:
        left = moment - seen.now
        yield from (each for each in (left - NOTICE, left, left + NOTICE) if each > timedelta(0))


def _about(version: str) -> str:
    return f"version {version}"


def _said(version: str, before: Iterable[Condition]) -> Outlook | None:
    """Return what was said of this version before, as long as it was looked up."""
    known = next((found for found in before if found.type == SUNSET), None)
    if known is None or not known.message.startswith(f"{_about(version)} "):
        return None
    return Outlook(known.status, known.reason, known.message)


def _outlook(version: str, text: str, now: datetime) -> Outlook:
    about, said, moment = _about(version), cut(text, LONGEST_DETAIL), read_sunset(text)
    if not text.strip():
        return Outlook("False", "NoSunset", f"{about} has no tag {SUNSET_TAG}")
    if moment is None:
        return Outlook("Unknown", UNREADABLE, f"{about} has the tag {SUNSET_TAG}: {said!r}, no date such as 2027-12-31")
    left, tag = moment - now, f"tag {SUNSET_TAG}: {said}"
    if left > NOTICE:
        return Outlook("False", "SunsetAhead", f"{about} has the {tag}")
    if left > timedelta(0):
        return Outlook("True", "SunsetNear", f"{about} serves, and has {NOTICE.days} days or less by its {tag}")
    if left > -NOTICE:
        return Outlook("True", "SunsetPassed", f"{about} serves, and the date of its {tag} has passed")
    return Outlook("True", "SunsetOverdue", f"{about} serves, {NOTICE.days} days or more after its {tag}")
