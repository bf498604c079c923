"""A namespace that was deleted took the operator's Role with it; what is served in the others goes on."""

from __future__ import annotations

import asyncio

import pytest

from modelramp.ports import Ref
from tests.chart.rendering import rendered
from tests.chart.test_admission import collection
from tests.whole.stage import Stage

pytestmark = pytest.mark.timeout(120)


async def grant(stage: Stage, home: str, namespace: str) -> None:
    """Give the release in `home` what the chart gives it in a namespace; with its own, what is in none."""
    for obj in rendered({"namespaces": [namespace]}, release=home, namespace=home):
        place = obj["metadata"].get("namespace", home)
        if obj["kind"].removeprefix("Cluster") in ("Role", "RoleBinding") and place == namespace:
            await stage.admin.request("POST", collection(obj), obj)


async def test_a_namespace_without_rights_keeps_no_other_waiting_and_is_served_once_it_has_them(stage: Stage) -> None:
    home, other = await stage.namespace(), await stage.namespace()
    account = stage.server.mint(f"system:serviceaccount:{home}:{home}-modelramp", "system:authenticated")
    environment = {
        "MODELRAMP_LEASE_NAME": f"{home}-modelramp",
        "KUBECONFIG": str(account.kubeconfig),
        "MODELRAMP_NAMESPACES": f"{home},{other}",
        "MODELRAMP_RELIST_SECONDS": "1",
    }
    await grant(stage, home, home)
    async with stage.operator(home, environment=environment) as operator, stage.observed(home) as trace:
        await stage.create(Ref(home, "fraud"))
        await trace.until_phase(Ref(home, "fraud"), "Promoted", "1")
        await grant(stage, home, other)
        async with asyncio.timeout(30):
            assert await operator.process.wait() == 1, "the kubelet starts it again"
    async with stage.operator(home, environment=environment), stage.observed(other) as trace:
        await stage.create(Ref(other, "fraud"))
        await trace.until_phase(Ref(other, "fraud"), "Promoted", "1")
