"""Tell whether the registry still has what was resolved: an entry that is gone, made anew or changed is drift.

Silence is none: what was known then stands. A drifted version keeps what traffic it has and gets no more.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelramp.rollout.observation import Entry, NoData, Observation, Value
from modelramp.rollout.status import Condition, Pin, Status

PIN_DRIFT = "PinDrift"


def drift(status: Status, seen: Observation) -> str:
    """Return a sentence for each version that serves or is tried and has drifted, "" for none."""
    pins = (pin for pin in (status.stable, status.candidate) if pin is not None)
    return "; ".join(said for pin in pins if (said := drifted(pin, status.conditions, seen)))


def drifted(pin: Pin, before: Iterable[Condition], seen: Observation) -> str:
    """Return how a version's entry has drifted, "" where it has not; unanswered, what was said before stands."""
    answer = seen.pins.get(pin.version)
    if isinstance(answer, Value | NoData):
        return _judge(pin, answer)
    said = next((found.message for found in before if found.type == PIN_DRIFT and found.status == "True"), "")
    return next((part for part in said.split("; ") if part.startswith(_about(pin))), "")


def _about(pin: Pin) -> str:
    return f"version {pin.version} "


def _judge(pin: Pin, answer: Value[Entry] | NoData) -> str:
    if isinstance(answer, NoData):
        return f"{_about(pin)}is no longer in the registry"
    now = answer.value.pin
    if pin.created and now.created != pin.created:
        return f"{_about(pin)}was deleted and registered anew"
    changed = (("run", pin.run_id, now.run_id), ("place of its files", pin.source, now.source))
    other = [word for word, then, present in changed if then and then != present]
    return f"{_about(pin)}has another {' and another '.join(other)} in the registry" if other else ""


def known(status: Status, seen: Observation) -> bool:
    """Tell whether the registry has told about any version that matters."""
    answers = (seen.pins.get(pin.version) for pin in (status.stable, status.candidate) if pin is not None)
    return any(isinstance(answer, Value | NoData) for answer in answers)
