"""What the loop may rely on of any Objects: the same sentences for the scripted world and a real API server."""

from __future__ import annotations

from dataclasses import replace

from modelramp.ports import Conflict, Deposed, Done, Ref
from modelramp.rollout.observation import NoData
from modelramp.rollout.status import Phase, Status
from tests.adapters.benches import Bench, read
from tests.adapters.real import pin

RAMPING = Status(phase=Phase.RAMPING, stable=pin("7"), candidate=pin("8"), weight=10)


async def test_what_was_remembered_is_read_back(bench: Bench) -> None:
    member, ref = bench.member(1), await bench.begin()
    before = await read(member, ref)
    assert await member.objects.remember(before, RAMPING) == Done()
    after = await read(member, ref)
    assert after == replace(before, status=RAMPING, resource_version=after.resource_version)


async def test_a_status_is_not_written_on_an_old_reading(bench: Bench) -> None:
    member, ref = bench.member(1), await bench.begin()
    old = await read(member, ref)
    await bench.edit(ref)
    assert isinstance(await member.objects.remember(old, RAMPING), Conflict)
    newest = await read(member, ref)
    assert newest.spec.paused
    assert newest.generation == old.generation + 1
    assert await member.objects.remember(newest, RAMPING) == Done()


async def test_two_writers_of_one_reading_are_one_winner(bench: Bench) -> None:
    one, other, ref = bench.member(1), bench.member(1), await bench.begin()
    first, second = await read(one, ref), await read(other, ref)
    assert await one.objects.remember(first, RAMPING) == Done()
    assert isinstance(await other.objects.remember(second, Status()), Conflict)
    assert (await read(bench.member(1), ref)).status == RAMPING


async def test_who_does_not_lead_writes_nothing(bench: Bench) -> None:
    member, ref = bench.member(1), await bench.begin()
    rollout = await read(member, ref)
    member.lease.leading = False
    before = await bench.writes(ref)
    assert await member.objects.remember(rollout, RAMPING) == Deposed()
    assert await member.objects.claim(rollout) == Deposed()
    assert await member.objects.release(replace(rollout, claimed=True)) in (Deposed(), Done())
    assert await bench.writes(ref) == before


async def test_a_claimed_object_waits_to_be_released(bench: Bench) -> None:
    member, ref = bench.member(1), await bench.begin()
    assert await member.objects.claim(await read(member, ref)) == Done()
    assert (await read(member, ref)).claimed
    await bench.delete(ref)
    await bench.catch_up(member, ref)
    dying = await read(member, ref)
    assert dying.deleting
    assert dying.deleting_since is not None
    assert await member.objects.release(dying) == Done()
    assert isinstance(await member.objects.read(ref), NoData)
    assert await member.objects.release(dying) == Done()


async def test_an_object_that_nobody_holds_is_gone_at_once(bench: Bench) -> None:
    member, ref = bench.member(1), await bench.begin()
    rollout = await read(member, ref)
    await bench.delete(ref)
    assert isinstance(await member.objects.remember(rollout, RAMPING), Conflict)
    assert isinstance(await member.objects.read(ref), NoData)


async def test_an_object_that_never_was_is_gone(bench: Bench) -> None:
    found = await bench.member(1).objects.read(Ref("default", "nobody"))
    assert isinstance(found, NoData)
    assert found.reason == "Gone"
