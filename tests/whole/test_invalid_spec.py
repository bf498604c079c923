"""A stored spec that this operator's version refuses, as an older or looser definition let it in: guardrails go on."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml

from modelramp.adapters.kinds import MODEL_DEPLOYMENT
from modelramp.ports import Ref
from tests.adapters.real import CRDS, DEFINITIONS
from tests.whole.admin import JSON_PATCH, RefusedError
from tests.whole.conftest import Residence
from tests.whole.invariants import violations
from tests.whole.manifests import steps
from tests.whole.prometheus import BAD
from tests.whole.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
ENDLESS = {"ramp": {"steps": steps(10, 100, hold="1h")}}
LOOSE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@asynccontextmanager
async def loosely_defined(stage: Stage) -> AsyncIterator[None]:
    """Let the API server take any spec meanwhile."""
    strict = yaml.safe_load((CRDS / "modeldeployment.yaml").read_text())
    loose = copy.deepcopy(strict)
    for version in loose["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"]["properties"]["spec"] = LOOSE
    await _define(stage, loose)
    try:
        yield
    finally:
        await _define(stage, strict)


async def _define(stage: Stage, definition: Any) -> None:
    path = f"{DEFINITIONS}/{definition['metadata']['name']}"
    stored = await stage.admin.request("GET", path)
    definition["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
    await stage.admin.request("PUT", path, definition)


async def misspell(stage: Stage, ref: Ref) -> None:
    """Store a version that is none; a definition takes a moment to be in force."""
    patch = [{"op": "replace", "path": "/spec/model/version", "value": "latest"}]
    async with loosely_defined(stage):
        for _ in range(100):
            try:
                await stage.admin.request("PATCH", MODEL_DEPLOYMENT.path(ref.namespace, ref.name), patch, JSON_PATCH)
            except RefusedError:
                continue
            return
    raise AssertionError("the looser definition was never in force")


def stalled(residence_status: dict[str, Any]) -> str:
    """Return the reason for which the object is stalled, "" where it is not."""
    found = {each["type"]: each for each in residence_status.get("conditions") or ()}
    held = found.get("Stalled", {})
    return str(held["reason"]) if held.get("status") == "True" else ""


async def test_a_breach_takes_the_traffic_back_though_the_spec_cannot_be_used(residence: Residence) -> None:
    ref = await residence.promoted("1", **ENDLESS)
    await residence.stage.pin(ref, "2")
    await residence.trace.until_weights(ref, v1=90, v2=10)
    await misspell(residence.stage, ref)
    await residence.trace.until(lambda: stalled(residence.trace.status(ref)) == "InvalidSpec", "it says so")
    assert "spec.model.version" in residence.trace.status(ref)["message"]
    residence.stage.prometheus.say(ref, "2", BAD)
    await residence.trace.until_weights(ref, 3.0, v1=100)
    await residence.trace.until_phase(ref, "RolledBack", "1")
    await residence.stage.pin(ref, "3")
    await residence.trace.until_weights(ref, v1=90, v3=10)
    assert stalled(residence.trace.status(ref)) == ""
    assert residence.violations(ref) == []


async def test_a_promoted_version_serves_on_and_its_reason_comes_back_with_the_spec(residence: Residence) -> None:
    ref = await residence.promoted("1", "2")
    await misspell(residence.stage, ref)
    await residence.trace.until(lambda: stalled(residence.trace.status(ref)) == "InvalidSpec", "it says so")
    assert residence.trace.weights(ref) == {"2": 100}
    await residence.stage.pin(ref, "2")
    await residence.trace.until(lambda: stalled(residence.trace.status(ref)) == "", "mended")
    assert residence.trace.status(ref)["phase"] == "Promoted"
    assert residence.violations(ref) == []


@pytest.mark.asyncio(loop_scope="function")
async def test_an_operator_that_never_saw_a_usable_spec_protects_by_what_the_attempt_remembers(stage: Stage) -> None:
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    async with stage.observed(namespace) as trace:
        async with stage.operator(namespace) as first:
            await stage.create(ref, **ENDLESS)
            await trace.until_phase(ref, "Promoted", "1")
            await stage.pin(ref, "2")
            await trace.until_weights(ref, v1=90, v2=10)
            await first.terminate()
        await misspell(stage, ref)
        async with stage.operator(namespace, name="b"):
            await trace.until(lambda: stalled(trace.status(ref)) == "InvalidSpec", "it says so")
            assert trace.weights(ref) == {"1": 90, "2": 10}
            stage.prometheus.say(ref, "2", BAD)
            await trace.until_weights(ref, 3.0, v1=100)
            await trace.until_phase(ref, "RolledBack", "1")
        assert violations(trace, ref, stage.prometheus) == []
