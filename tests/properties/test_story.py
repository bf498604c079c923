"""The story is whole whatever happens: no record lost, none told twice; and a drill only lends traffic."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from modelramp.rollout.actions import Post
from modelramp.rollout.guardrails import Evidence
from modelramp.rollout.observation import Posted, Value
from modelramp.rollout.status import Phase, Status
from modelramp.rollout.traffic import AT_REST
from modelramp.rollout.turn import known_unready
from tests.properties.test_invariants import live, over, turn
from tests.properties.worlds import NOW, World


@over()
def test_a_record_waits_until_the_registry_has_it_and_is_told_once(world: World) -> bool:
    first = turn(world)
    new = [record.id for record in first.status.history[len(world.status.history) :]]
    waiting = [record.id for record in first.status.outbox]
    assert waiting == new
    assert [post.records for post in first.actions if isinstance(post, Post)] == ([first.status.outbox] if new else [])
    taken = frozenset(waiting[::2])
    seen = replace(world.seen, now=NOW + timedelta(seconds=1), journal=Value(Posted(taken)))
    left = [record.id for record in turn(replace(world, status=first.status, seen=seen)).status.outbox]
    assert [name for name in left if name in waiting] == [name for name in waiting if name not in taken]
    return len(waiting) > 1


@over(*AT_REST)
def test_a_drill_lends_traffic_to_a_ready_former_version_and_a_restart_ends_it(world: World) -> bool:
    drill = world.status.drill
    if drill is None or drill.ended_at is not None:
        return False
    if not runs(after := turn(world).status):
        assert after.stable is None or live(after, after.stable.version) == 100 or after.phase is Phase.RAMPING
    elif after.drill:
        assert not known_unready(world.seen, drill.version)
        assert after.phase in AT_REST
        assert world.status.was_stable(after.drill.version)
    begun = replace(drill, started_at=NOW - timedelta(seconds=30))
    restarted = Evidence(turn(world).evidence.scope, {}, NOW)
    again = turn(replace(world, status=replace(world.status, drill=begun), evidence=restarted)).status
    assert not runs(again)
    assert again.stable is not None
    assert live(again, again.stable.version) == 100
    return True


def runs(status: Status) -> bool:
    return status.drill is not None and status.drill.ended_at is None
