"""What the loop may rely on of any Traffic: the same sentences for the scripted world and a real API server."""

from __future__ import annotations

from dataclasses import replace

from modelramp.ports import Conflict, Deposed, Done, Ref, Rollout
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import NoData, Route, Split, Value
from modelramp.rollout.status import Status
from tests.adapters.benches import Bench, Member, read
from tests.adapters.real import pin

ALL_ON_7 = SetTraffic(Split({"7": 100}), "7", ("7", "8"), retreat=True, why="retreat 8-a errors")
SHADOW_8 = SetTraffic(Split({"7": 100}, {"8": 100}), "7", ("7", "8"), retreat=False, why="shadow")
TENTH_ON_8 = SetTraffic(Split({"7": 90, "8": 10}), "7", ("7", "8"), retreat=False, why="step 2")
HALF_ON_8 = SetTraffic(Split({"7": 50, "8": 50}), "7", ("7", "8"), retreat=False, why="step 3")
RAMPING = Status(stable=pin("7"), candidate=pin("8"))


async def begun(bench: Bench, *written: SetTraffic) -> tuple[Member, Rollout]:
    """Return a leader that has written these, and the object in a ramp."""
    member = bench.member(epoch=1)
    rollout = replace(await read(member, await bench.begin()), status=RAMPING)
    for wanted in written:
        await member.traffic.read(rollout)
        assert await member.traffic.write(rollout, wanted) == Done()
    return member, rollout


async def route(bench: Bench, member: Member, rollout: Rollout) -> Route:
    """Return the route once the process has heard of everything."""
    await bench.catch_up(member, rollout.ref)
    found = await member.traffic.read(rollout)
    assert isinstance(found, Value)
    return found.value


async def stored(bench: Bench, rollout: Rollout) -> Split:
    """Return what a process that has just started finds."""
    found = await route(bench, bench.member(epoch=99), rollout)
    assert found.split is not None
    return found.split


async def test_before_the_first_write_there_is_no_route(routed: Bench) -> None:
    member, rollout = await begun(routed)
    found = await member.traffic.read(replace(rollout, status=Status()))
    if isinstance(found, Value):  # the route is the user's own: then it is there, and nothing of it is ours
        assert found.value.written is None
    else:
        assert isinstance(found, NoData)
        assert found.reason == "NoRoute"


async def test_a_split_is_read_back_with_its_reason(routed: Bench) -> None:
    member, rollout = await begun(routed, SHADOW_8)
    found = await member.traffic.read(rollout)
    assert isinstance(found, Value)
    seen = found.value
    assert seen.split is not None
    assert seen.written is not None
    assert seen.split.same(SHADOW_8.split)
    assert seen.written.same(SHADOW_8.split)
    assert seen.backends == {"7", "8"}
    assert (seen.why, seen.current, seen.malformed) == ("shadow", True, "")


async def test_writing_a_split_that_is_stored_writes_nothing(routed: Bench) -> None:
    member, rollout = await begun(routed, TENTH_ON_8)
    before = await routed.writes(rollout.ref)
    await member.traffic.read(rollout)
    assert await member.traffic.write(rollout, TENTH_ON_8) == Done()
    assert await routed.writes(rollout.ref) == before


async def test_a_hand_at_the_route_is_told_from_our_own(routed: Bench) -> None:
    member, rollout = await begun(routed, TENTH_ON_8)
    await routed.shift_by_hand(rollout.ref, {"7": 100, "8": 0})
    seen = await route(routed, member, rollout)
    assert seen.split is not None
    assert seen.split.same(Split({"7": 100}))
    assert seen.written == TENTH_ON_8.split
    assert seen.author.startswith("kubectl-patch at 20")


async def test_numbers_that_are_no_split_are_malformed(routed: Bench) -> None:
    member, rollout = await begun(routed, TENTH_ON_8)
    await routed.shift_by_hand(rollout.ref, {"7": 90, "8": 90})
    seen = await route(routed, member, rollout)
    assert seen.split == (Split({"7": 50, "8": 50}) if routed.relative else None)
    assert "add up to 100, not 180" in seen.malformed


async def test_progress_loses_against_what_was_written_since(routed: Bench) -> None:
    member, rollout = await begun(routed, TENTH_ON_8)
    await member.traffic.read(rollout)
    await routed.shift_by_hand(rollout.ref, {"7": 100, "8": 0})
    assert isinstance(await member.traffic.write(rollout, HALF_ON_8), Conflict)
    assert (await stored(routed, rollout)).weight("8") == 0


async def test_a_retreat_is_written_whatever_was_written_since(routed: Bench) -> None:
    member, rollout = await begun(routed, TENTH_ON_8)
    await member.traffic.read(rollout)
    await routed.shift_by_hand(rollout.ref, {"7": 0, "8": 100})
    assert await member.traffic.write(rollout, ALL_ON_7) == Done()
    assert (await stored(routed, rollout)).same(ALL_ON_7.split)


async def test_a_retreat_mends_numbers_that_are_no_split(routed: Bench) -> None:
    member, rollout = await begun(routed, TENTH_ON_8)
    await routed.shift_by_hand(rollout.ref, {"7": 90, "8": 90})
    await routed.catch_up(member, rollout.ref)
    assert await member.traffic.write(rollout, ALL_ON_7) == Done()
    assert (await stored(routed, rollout)).same(ALL_ON_7.split)


async def test_a_backend_that_is_left_out_is_gone(routed: Bench) -> None:
    member, rollout = await begun(routed, TENTH_ON_8, ALL_ON_7, replace(ALL_ON_7, backends=("7",)))
    assert (await route(routed, member, rollout)).backends == {"7"}


async def test_a_promotion_makes_the_candidate_stable(routed: Bench) -> None:
    promoted = SetTraffic(Split({"8": 100}), "8", ("7", "8"), retreat=True, why="promoted")
    _, rollout = await begun(routed, HALF_ON_8, promoted)
    assert (await stored(routed, rollout)).same(Split({"8": 100}))


async def test_who_does_not_lead_writes_nothing(routed: Bench) -> None:
    member, rollout = await begun(routed, TENTH_ON_8)
    member.lease.leading = False
    before = await routed.writes(rollout.ref)
    for wanted in (ALL_ON_7, HALF_ON_8):
        assert await member.traffic.write(rollout, wanted) == Deposed()
    assert await routed.writes(rollout.ref) == before


async def test_a_deposed_leaders_late_write_is_refused(routed: Bench) -> None:
    old, rollout = await begun(routed, TENTH_ON_8)
    new = routed.member(epoch=2)
    assert not (await route(routed, new, rollout)).current
    assert await new.traffic.write(rollout, HALF_ON_8) == Done()
    assert old.lease.held()
    assert await old.traffic.write(rollout, ALL_ON_7) == Deposed()
    await routed.catch_up(old, rollout.ref)
    await old.traffic.read(rollout)
    assert await old.traffic.write(rollout, TENTH_ON_8) == Deposed()
    assert (await stored(routed, rollout)).same(HALF_ON_8.split)


async def test_a_new_leader_goes_on_where_the_old_one_was(routed: Bench) -> None:
    _, rollout = await begun(routed, TENTH_ON_8)
    new = routed.member(epoch=2)
    assert (await route(routed, new, rollout)).split is not None
    assert await new.traffic.write(rollout, TENTH_ON_8) == Done()
    assert (await route(routed, new, rollout)).current


async def test_routes_are_each_objects_own(routed: Bench) -> None:
    member, rollout = await begun(routed, TENTH_ON_8)
    other = replace(rollout, ref=Ref(rollout.ref.namespace, "other"), status=Status())
    found = await member.traffic.read(other)
    assert not isinstance(found, Value) or not found.value.backends
