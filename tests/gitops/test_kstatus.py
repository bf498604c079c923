"""Flux's `wait` by the real kstatus, on every state of every scenario: it says what Argo CD says."""

from __future__ import annotations

import pytest

from tests.gitops.argocd import health
from tests.gitops.kstatus import BY_HEALTH, compute
from tests.gitops.scenes import SCENARIOS, recorded

pytestmark = pytest.mark.server


def test_wait_ends_when_the_health_is_healthy_and_fails_when_it_is_degraded() -> None:
    states = [state for path in sorted(SCENARIOS.glob("*.txt")) for state in recorded(path.stem)]
    wanted = [
        "Terminating" if "deletionTimestamp" in state["metadata"] else BY_HEALTH[health(state)["status"]]
        for state in states
    ]
    assert {"Current", "Failed", "InProgress", "Terminating"} <= set(wanted)
    assert compute(states) == wanted


def test_an_object_that_the_operator_never_saw_is_not_done() -> None:
    new = {"metadata": {"name": "fraud", "generation": 1}, "spec": {}, "status": {"observedGeneration": -1}}
    assert compute([new]) == ["InProgress"]
