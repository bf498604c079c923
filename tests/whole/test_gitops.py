"""Git's copy is applied again and again, by the real kubectl: nothing changes, nothing starts."""

from __future__ import annotations

from typing import Any

import pytest

from modelramp.adapters.kinds import FIELD_MANAGER, MODEL_DEPLOYMENT
from modelramp.ports import Ref
from tests.gitops.argocd import discover, health, press
from tests.gitops.git import Repository, Way, named_by
from tests.gitops.kstatus import BY_HEALTH, compute
from tests.whole.conftest import Residence
from tests.whole.invariants import moves
from tests.whole.manifests import steps
from tests.whole.prometheus import BAD, GOOD

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
ENDLESS = {"ramp": {"steps": steps(10, 100, hold="1h")}}
WAYS = pytest.mark.parametrize("way", Way, ids=lambda way: way.name.lower())


async def in_mid_ramp(residence: Residence, way: Way, until: str = "Holding", **spec: Any) -> Repository:
    """Bring version 1 to all traffic and version 2 to its first step, all by git, and wait for this reason there."""
    ref = residence.ref()
    git = Repository.of(residence.stage, ref, "1", **(ENDLESS | spec))
    await git.sync(way)
    await residence.trace.until_phase(ref, "Promoted", "1")
    git.commit("2")
    await git.sync(way)
    await residence.trace.until_weights(ref, v1=90, v2=10)
    await rests(residence, ref, until)
    return git


async def rests(residence: Residence, ref: Ref, reason: str) -> None:
    """Wait until the attempt waits for this and its guardrail has spoken."""

    def holds() -> bool:
        status = residence.trace.status(ref)
        return bool(status.get("reason") == reason and status.get("guardrails"))

    await residence.trace.until(holds, f"{reason} of {ref}")


async def rolled_back(residence: Residence, way: Way) -> Repository:
    """Let version 2 break at its first step."""
    git = await in_mid_ramp(residence, way)
    residence.stage.prometheus.say(git.ref, "2", BAD)
    await residence.trace.until_phase(git.ref, "RolledBack", "1")
    await until_health(residence, git, "Degraded")
    return git


async def until_health(residence: Residence, git: Repository, status: str) -> None:
    """Wait until Argo CD shows this, and see that kstatus agrees."""

    def newest() -> Any:
        found = residence.trace.newest(MODEL_DEPLOYMENT, git.ref.name)
        return found.object if found else {"metadata": {"generation": 1}}

    await residence.trace.until(lambda: health(newest())["status"] == status, lambda: f"{status}: {health(newest())}")
    assert compute([newest()]) == [BY_HEALTH[status]]


async def syncs_change_nothing(residence: Residence, git: Repository, way: Way) -> None:
    """Apply git's copy twice and see that spec, status and route are as before, also after a later turn."""
    await residence.trace.until(lambda: not residence.trace.status(git.ref).get("outbox"), "every record is written")
    before, moved = await git.live(), moves(residence.trace, git.ref)
    for _ in range(2):
        await git.sync(way)
    await residence.promoted("1")  # what was waiting in the operator's queue before has had its turn
    after = await git.live()
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["status"] == before["status"]
    assert moves(residence.trace, git.ref) == moved
    assert residence.violations(git.ref) == []


@WAYS
async def test_a_sync_in_the_middle_of_a_ramp_changes_nothing(residence: Residence, way: Way) -> None:
    git = await in_mid_ramp(residence, way)
    await syncs_change_nothing(residence, git, way)
    await until_health(residence, git, "Progressing")


@WAYS
async def test_a_sync_after_an_automatic_rollback_starts_nothing(residence: Residence, way: Way) -> None:
    git = await rolled_back(residence, way)
    residence.stage.prometheus.say(git.ref, "2", GOOD)
    await syncs_change_nothing(residence, git, way)
    await until_health(residence, git, "Degraded")


async def test_a_revert_in_git_makes_it_good_without_a_write_of_the_route(residence: Residence) -> None:
    git = await rolled_back(residence, Way.SERVER_SIDE)
    moved = moves(residence.trace, git.ref)
    git.commit("1")
    await git.sync(Way.SERVER_SIDE)
    await residence.trace.until_phase(git.ref, "Promoted", "1")
    await until_health(residence, git, "Healthy")
    assert residence.trace.status(git.ref)["reason"] == "Restored"
    assert moves(residence.trace, git.ref) == moved


async def test_what_the_schema_fills_in_is_no_difference(residence: Residence) -> None:
    git = await in_mid_ramp(residence, Way.SERVER_SIDE)
    assert await git.difference(server_side=True) == ""
    assert await git.difference(server_side=False) == ""
    live = await git.live()
    assert live["spec"] != git.manifest["spec"]  # defaults are there
    assert named_by(git.manifest["spec"], live["spec"]) == git.manifest["spec"]


async def test_the_operator_never_writes_the_spec(residence: Residence) -> None:
    git = await rolled_back(residence, Way.SERVER_SIDE)
    live = await git.live()
    written = {each["manager"]: each["fieldsV1"] for each in live["metadata"]["managedFields"]}
    assert "f:status" in written[FIELD_MANAGER]
    owners = {manager for manager, fields in written.items() if "f:spec" in fields}
    assert owners == {"argocd-controller"}
    assert live["metadata"]["generation"] == 2  # one commit after the first


async def test_what_a_button_did_stays_through_syncs(residence: Residence) -> None:
    waiting = {"steps": [{"weight": 10, "approval": True}, {"weight": 50, "hold": "1h"}, {"weight": 100}]}
    git = await in_mid_ramp(residence, Way.SERVER_SIDE, "AwaitingApproval", ramp=waiting)
    await until_health(residence, git, "Suspended")
    await pressed(residence, git, "pause")
    await rests(residence, git.ref, "Paused")
    await syncs_change_nothing(residence, git, Way.SERVER_SIDE)
    assert (await git.live())["spec"]["paused"] is True
    assert await git.difference(server_side=True) == ""
    await pressed(residence, git, "resume")
    await rests(residence, git.ref, "AwaitingApproval")
    await pressed(residence, git, "approve")
    await residence.trace.until_weights(git.ref, v1=50, v2=50)
    await pressed(residence, git, "abort")
    await residence.trace.until_weights(git.ref, v1=100)
    await until_health(residence, git, "Degraded")
    await syncs_change_nothing(residence, git, Way.CLIENT_SIDE)
    await pressed(residence, git, "retry")
    await residence.trace.until_weights(git.ref, v1=90, v2=10)


async def pressed(residence: Residence, git: Repository, action: str) -> None:
    """Press a button of Argo CD: its Lua on the live object, its merge patch to the API server."""
    live = await git.live()
    assert action in discover(live)
    await residence.stage.admin.merge(MODEL_DEPLOYMENT, git.ref, press(action, live))
