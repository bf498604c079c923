"""ModelDeployments on a real API server: one status writer at a time, a finalizer beside those of others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelramp.adapters.kinds import FINALIZER, MODEL_DEPLOYMENT
from modelramp.ports import Conflict, Deposed, Done, Ref
from modelramp.rollout.observation import NoData
from modelramp.rollout.status import Phase, Status
from tests.adapters.real import Process, RealCluster, pin, read

pytestmark = pytest.mark.apiserver
NAME = "fraud-detector"
RAMPING = Status(phase=Phase.RAMPING, reason="Holding", stable=pin("7"), candidate=pin("8"), weight=10, step="2/4")


async def conclude_deletion(real: RealCluster, process: Process, ref: Ref) -> None:
    """Delete the object and let the process's store learn of it, as its watch would."""
    await real.request("DELETE", MODEL_DEPLOYMENT.path(ref.namespace, ref.name))
    await process.writer.refresh(MODEL_DEPLOYMENT, ref.namespace, ref.name)


async def test_what_was_remembered_is_read_back(real: RealCluster) -> None:
    process = real.process()
    ref = await real.create_model(NAME)
    assert await process.objects.remember(await read(process, ref), RAMPING) == Done()
    assert (await read(process, ref)).status == RAMPING
    assert (await read(real.process(), ref)).status == RAMPING


async def test_an_object_that_does_not_exist_is_gone(real: RealCluster) -> None:
    found = await real.process().objects.read(Ref(real.namespace, "nobody"))
    assert isinstance(found, NoData)
    assert found.reason == "Gone"


async def test_a_status_is_not_written_over_what_was_not_read(real: RealCluster) -> None:
    process = real.process()
    rollout = await read(process, await real.create_model(NAME))
    await real.merge(MODEL_DEPLOYMENT, NAME, {"spec": {"paused": True}})
    assert isinstance(await process.objects.remember(rollout, RAMPING), Conflict)
    newest = await read(process, rollout.ref)
    assert (newest.spec.paused, newest.status.phase) == (True, Phase.PENDING)
    assert await process.objects.remember(newest, RAMPING) == Done()


async def test_only_one_of_two_writers_of_the_same_reading_wins(real: RealCluster) -> None:
    ref = await real.create_model(NAME)
    one, other = real.process(), real.process()
    first, second = await read(one, ref), await read(other, ref)
    assert await one.objects.remember(first, RAMPING) == Done()
    assert isinstance(await other.objects.remember(second, Status(phase=Phase.REJECTED)), Conflict)
    assert (await read(real.process(), ref)).status.phase is Phase.RAMPING


async def test_a_field_that_is_no_more_is_removed(real: RealCluster) -> None:
    process = real.process()
    ref = await real.create_model(NAME)
    await process.objects.remember(await read(process, ref), RAMPING)
    settled = replace(RAMPING, phase=Phase.PROMOTED, candidate=None)
    assert await process.objects.remember(await read(process, ref), settled) == Done()
    assert "candidate" not in (await real.get(MODEL_DEPLOYMENT, NAME))["status"]


async def test_a_process_that_does_not_lead_writes_nothing(real: RealCluster) -> None:
    process = real.process()
    rollout = await read(process, await real.create_model(NAME))
    process.lease.leading = False
    for outcome in (
        await process.objects.remember(rollout, RAMPING),
        await process.objects.claim(rollout),
    ):
        assert outcome == Deposed()
    found = await real.get(MODEL_DEPLOYMENT, NAME)
    assert found["metadata"]["resourceVersion"] == rollout.resource_version


async def test_our_finalizer_comes_and_goes_beside_those_of_others(real: RealCluster) -> None:
    process = real.process()
    ref = await real.create_model(NAME)
    await real.merge(MODEL_DEPLOYMENT, NAME, {"metadata": {"finalizers": ["example.com/keep"]}})
    rollout = await read(process, ref)
    assert await process.objects.remember(rollout, RAMPING) == Done()
    assert await process.objects.claim(rollout) == Done()  # in the same turn: the version has moved on
    assert (await read(process, ref)).claimed
    assert await process.objects.claim(rollout) == Done()
    await conclude_deletion(real, process, ref)
    dying = await read(process, ref)
    assert dying.deleting
    assert dying.deleting_since is not None
    assert await process.objects.release(dying) == Done()
    left = (await real.get(MODEL_DEPLOYMENT, NAME))["metadata"]["finalizers"]
    assert left == ["example.com/keep"]


async def test_an_object_that_was_let_go_is_gone_at_once(real: RealCluster) -> None:
    process = real.process()
    ref = await real.create_model(NAME)
    assert await process.objects.claim(await read(process, ref)) == Done()
    await conclude_deletion(real, process, ref)
    dying = await read(process, ref)
    assert await process.objects.release(dying) == Done()
    assert isinstance(await process.objects.read(ref), NoData)
    assert await process.objects.release(dying) == Done()


async def test_a_finalizer_is_not_put_over_one_that_came_in_between(real: RealCluster) -> None:
    process = real.process()
    rollout = await read(process, await real.create_model(NAME))
    await real.merge(MODEL_DEPLOYMENT, NAME, {"metadata": {"finalizers": ["example.com/keep"]}})
    assert isinstance(await process.objects.claim(rollout), Conflict)
    assert await process.objects.claim(rollout) == Done()
    assert (await real.get(MODEL_DEPLOYMENT, NAME))["metadata"]["finalizers"] == ["example.com/keep", FINALIZER]


async def test_a_spec_that_cannot_be_read_says_which_field_and_does_not_stop_a_deletion(real: RealCluster) -> None:
    process = real.process()
    ref = await real.create_model(NAME)
    assert await process.objects.claim(await read(process, ref)) == Done()
    process = real.process()
    stored = await real.get(MODEL_DEPLOYMENT, NAME)
    older = stored | {"spec": {"model": {"name": "fraud_detector", "version": "latest"}, "traffic": {"configMap": {}}}}
    process.store.put(MODEL_DEPLOYMENT, older)
    found = await read(process, ref)
    assert found.spec.problem.startswith("spec.model.version: 'latest' is no registry version")
    assert found.spec.model_name == "fraud_detector"
    await real.request("DELETE", MODEL_DEPLOYMENT.path(ref.namespace, ref.name))
    dying = (await real.get(MODEL_DEPLOYMENT, NAME)) | {"spec": older["spec"]}
    process.store.put(MODEL_DEPLOYMENT, dying)
    assert await process.objects.release(await read(process, ref)) == Done()
    assert await real.get(MODEL_DEPLOYMENT, NAME) is None
