"""MLflow stops, takes 30 s an answer, answers 500 or a sign-in page: at each point of an attempt.

Traffic never waits for it, its reason is shown, everything goes on by itself, and the story is whole in the end.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from modelramp.ports import Ref
from tests.whole.invariants import violations
from tests.whole.manifests import steps
from tests.whole.observer import Trace
from tests.whole.prometheus import BAD
from tests.whole.registry import Ailment, ScriptedRegistry
from tests.whole.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
REASONS = {
    Ailment.AWAY: "RegistryUnreachable",
    Ailment.SLOW: "RegistryTimeout",
    Ailment.ERROR: "RegistryError",
    Ailment.HTML: "RegistryAnswer",
}


@pytest.mark.parametrize("ailment", Ailment, ids=lambda ailment: ailment.value)
async def test_a_registry_that_ails_holds_up_gates_and_nothing_else_and_gets_the_whole_story(
    stage: Stage, ailment: Ailment
) -> None:
    namespace, registry = await stage.namespace(), stage.registry
    ref = Ref(namespace, "fraud")
    async with stage.observed(namespace) as trace, stage.operator(namespace):
        await stage.create(ref, ramp={"steps": steps(10, 50, 100, hold="2s")})
        await trace.until_phase(ref, "Promoted", "1")

        async with registry.ailing(ailment):  # while the gates are judged
            await stage.pin(ref, "2")
            await trace.until(lambda: trace.status(ref).get("reason") == REASONS[ailment], "the reason", 40)
            assert trace.weights(ref) == {"1": 100}
            await trace.until(lambda: audit(trace, ref)["reason"] == REASONS[ailment], "why the story waits", 60)
        await trace.until_weights(ref, 60, v1=90, v2=10)

        async with registry.ailing(ailment):  # while it ramps, is promoted, is followed by another
            await trace.until_phase(ref, "Promoted", "2")
            assert trace.status(ref)["outbox"]
        await stage.pin(ref, "3")
        await trace.until_weights(ref, 60, v2=90, v3=10)

        async with registry.ailing(ailment):  # while it breaks
            stage.prometheus.say(ref, "3", BAD)
            await trace.until_weights(ref, 5, v2=100)
            await trace.until_phase(ref, "RolledBack", "2")

        await trace.until(lambda: not trace.status(ref).get("outbox"), lambda: str(trace.status(ref)["outbox"]), 120)
        await trace.until(lambda: audit(trace, ref)["reason"] == "Recorded", lambda: str(audit(trace, ref)), 10)
        assert registry.aliases[f"fraud_detector.{ref.namespace}"] == {"champion": "2"}
        assert written(registry, ref) == told(trace, ref)
        assert "hunter2" not in json.dumps(trace.status(ref)) + str(trace.events(ref))
        assert violations(trace, ref, stage.prometheus) == []


def audit(trace: Trace, ref: Ref) -> dict[str, Any]:
    conditions = trace.status(ref)["conditions"]
    return next(found for found in conditions if found["type"] == "AuditRecorded")


def written(registry: ScriptedRegistry, ref: Ref) -> Counter[tuple[str, str]]:
    """Return what is kept in the registry of an object: version and event."""
    mine = [json.loads(text) for path, text in registry.records.items() if f"/modelramp/{ref.namespace}/" in path]
    return Counter((record["version"], record["event"]) for record in mine)


def told(trace: Trace, ref: Ref) -> Counter[tuple[str, str]]:
    return Counter((record["version"], record["event"]) for record in trace.status(ref)["history"])
