"""The scripted world keeps its script: time, traffic and hands have the effects that scenarios count on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelramp.adapters.memory import ports_on
from modelramp.adapters.world import Question, World
from modelramp.ports import Done, Ref, Rollout
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Effect, Failed, Reading, Split, Value, Workload
from modelramp.rollout.queries import backend, render
from modelramp.rollout.spec import ConfigMapTraffic, Serving, Spec
from modelramp.rollout.templates import ROUTER
from tests.adapters.real import pin

REF = Ref("default", "fraud-vip")
SPEC = Spec("fraud_detector", "8", Serving(replicas=2))
TENTH_ON_8 = SetTraffic(Split({"7": 90, "8": 10}, {"8": 50}), "7", ("7", "8"), retreat=False, why="step 2")


async def begun(world: World) -> Rollout:
    world.create(REF, SPEC)
    found = await ports_on(world).objects.read(REF)
    assert isinstance(found, Value)
    return found.value


def value(reading: Reading[Effect]) -> Effect:
    assert isinstance(reading, Value)
    return reading.value


async def test_pods_take_their_time_and_some_never_come_up() -> None:
    world = World(ready_after=lambda version: timedelta(seconds=20) if version == "8" else None)
    rollout, workloads = await begun(world), ports_on(world).workloads
    for version in ("8", "9"):
        assert await workloads.run(rollout, pin(version)) == Done()
    world.advance(timedelta(seconds=19))
    assert await workloads.read(rollout) == Value({v: Workload(v, 2, 0, trouble="starting") for v in ("8", "9")})
    world.advance(timedelta(seconds=1))
    assert await workloads.read(rollout) == Value(
        {"8": Workload("8", 2, 2), "9": Workload("9", 2, 0, trouble="starting")}
    )


async def test_requests_follow_the_split_from_the_moment_it_is_in_effect() -> None:
    world = World(effect_after=timedelta(seconds=10), requests_per_second=100)
    rollout, traffic = await begun(world), ports_on(world).traffic
    await traffic.write(rollout, TENTH_ON_8)
    world.advance(timedelta(seconds=5))
    assert value(await traffic.measure(rollout)).in_effect is None
    world.advance(timedelta(hours=24) - timedelta(seconds=5))
    effect = value(await traffic.measure(rollout))
    assert effect.in_effect == TENTH_ON_8.split
    requests = (24 * 3600 - 10) * 100
    assert effect.requests == {"7": requests * 90 // 100, "8": requests * 60 // 100}


async def test_a_script_is_asked_about_the_version_and_its_weight() -> None:
    asked: list[Question] = []

    def measure(question: Question) -> Reading[float]:
        asked.append(question)
        return Value(0.3 if question.version == "8" else 0.0)

    world = World(measure=measure)
    rollout, ports = await begun(world), ports_on(world)
    await ports.traffic.write(rollout, TENTH_ON_8)
    world.advance(timedelta(seconds=1))
    window = timedelta(minutes=1)
    query = render(
        ROUTER["error-rate"].query, {"backend": backend(*_names(), "8", ConfigMapTraffic()), "window": window}
    )
    assert await ports.metrics.query(query) == Value(0.3)
    assert (asked[0].version, asked[0].weight, asked[0].at) == ("8", 10, world.now)


def _names() -> tuple[str, str]:
    return REF.namespace, REF.name


@pytest.mark.parametrize("what", ["api", "registry", "metrics", "proxies"])
async def test_what_is_away_does_not_answer(what: str) -> None:
    world = World()
    rollout, ports = await begun(world), ports_on(world)
    world.away.add(what)
    asked = {
        "api": ports.traffic.read(rollout),
        "registry": ports.registry.resolve("fraud_detector", "8"),
        "metrics": ports.metrics.query("up"),
        "proxies": ports.traffic.measure(rollout),
    }
    for name, reading in asked.items():
        answer = await reading
        assert (isinstance(answer, Failed) and answer.reason == "Unreachable") == (name == what)


async def test_a_process_can_end_before_any_write() -> None:
    class KilledError(Exception):
        pass

    def kill(name: str) -> None:
        raise KilledError(name)

    world = World()
    rollout, ports = await begun(world), ports_on(world)
    world.before_write = kill
    with pytest.raises(KilledError, match=r"route v7=90 v8=10 mirror\.v8=50"):
        await ports.traffic.write(rollout, TENTH_ON_8)
    assert world.routes == {}
    with pytest.raises(KilledError, match="remember"):
        await ports.objects.remember(rollout, replace(rollout.status, weight=10))
    assert world.objects[REF].status == rollout.status


async def test_a_split_that_is_none_is_never_stored() -> None:
    world = World()
    rollout, traffic = await begun(world), ports_on(world).traffic
    with pytest.raises(ValueError, match="100"):
        await traffic.write(rollout, replace(TENTH_ON_8, split=Split({"7": 90, "8": 20})))
    assert world.routes == {}
