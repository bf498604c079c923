"""What the routers do, read from real Envoys that follow a ConfigMap on a real API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from modelramp.adapters.configmap import TrafficSettings
from modelramp.adapters.kinds import CONFIG_MAP, POD, labels
from modelramp.adapters.proxies import Pace, Totals, stats_url
from modelramp.ports import Done, Ref, Rollout
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Effect, Failed, Split, Value
from modelramp.rollout.status import Status
from modelramp.router.follow import FollowSettings, follow
from modelramp.router.render import Backend
from modelramp.router.watch import WatchSettings
from tests.adapters.real import Process, RealCluster, pin, read
from tests.router.rig import Envoy, Upstream, eventually, running_envoy, upstreams

NAME = "fraud-detector"
TENTH_ON_8 = SetTraffic(Split({"7": 90, "8": 10}, {"8": 0}), "7", ("7", "8"), retreat=False, why="step 2")
HALF_ON_8 = SetTraffic(Split({"7": 50, "8": 50}), "7", ("7", "8"), retreat=False, why="step 3")


@dataclass
class Routed:
    """An operator process and two routers that follow what it writes."""

    real: RealCluster
    process: Process
    rollout: Rollout
    envoys: list[Envoy]
    versions: dict[str, Upstream]

    async def effect(self) -> Effect | Failed:
        found = await self.process.traffic.measure(self.rollout)
        assert isinstance(found, Value | Failed)
        return found.value if isinstance(found, Value) else found

    async def does(self, split: Split) -> bool:
        effect = await self.effect()
        return isinstance(effect, Effect) and effect.in_effect is not None and effect.in_effect.same(split)

    async def ask(self, requests: int) -> None:
        for number in range(requests):
            async with self.process.session.get(self.envoys[number % len(self.envoys)].http) as response:
                assert response.status == 200


async def post_router_pod(real: RealCluster, name: str, envoy: Envoy) -> None:
    """Say that a router pod is ready: there is no kubelet beside a lone API server."""
    port = {"name": "stats", "containerPort": urlsplit(envoy.stats).port}
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "envoy", "image": "envoy", "ports": [port], "securityContext": security}
    pod = {"metadata": {"name": name, "labels": labels(NAME, "router")}, "spec": {"containers": [container]}}
    await real.request("POST", POD.path(real.namespace), pod)
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}], "conditions": conditions}
    path = f"{POD.path(real.namespace, name)}/status"
    await real.request("PATCH", path, {"status": status}, kind="application/merge-patch+json")


@contextlib.asynccontextmanager
async def routed(real: RealCluster, directory: Path, pace: Pace) -> AsyncIterator[Routed]:
    """Write 90/10 and run two routers on it."""
    async with contextlib.AsyncExitStack() as stack:
        versions = await stack.enter_async_context(upstreams(("7", "8")))

        def locate(_ref: Ref, version: str) -> Backend:
            return Backend(version, "127.0.0.1", versions[version].port)

        process = real.process(traffic_settings=TrafficSettings(locate=locate), pace=pace)
        rollout = await read(process, await real.create_model(NAME))
        rollout = replace(rollout, status=Status(stable=pin("7"), candidate=pin("8")))
        assert await process.traffic.write(rollout, TENTH_ON_8) == Done()
        envoys = [await stack.enter_async_context(router(real, directory / name, name)) for name in ("r1", "r2")]
        await process.list_all(real.namespace, POD)
        yield Routed(real, process, rollout, envoys, versions)


def token_file(real: RealCluster) -> Path:
    """Write the token where a follower reads it, as the kubelet does for a service account."""
    path = real.server.directory / "token"
    path.write_text(real.server.token)
    return path


@contextlib.asynccontextmanager
async def router(real: RealCluster, directory: Path, name: str) -> AsyncIterator[Envoy]:
    """Run one Envoy and the follower beside it, as a router's pod does."""
    watch = WatchSettings(real.namespace, f"{NAME}-traffic", real.server.url, token_file(real), real.server.ca)
    await follow(FollowSettings(watch, directory, once=True))
    async with running_envoy(real.session, directory) as envoy:
        task = asyncio.create_task(follow(FollowSettings(watch, directory, envoy.admin)))
        await post_router_pod(real, name, envoy)
        yield envoy
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.apiserver
async def test_a_split_is_in_effect_once_every_router_does_it(real: RealCluster, tmp_path: Path) -> None:
    async with routed(real, tmp_path, Pace(0, 0)) as world:
        await eventually(lambda: world.does(TENTH_ON_8.split), "90/10 is in effect")
        await world.ask(40)
        effect = await world.effect()
        assert isinstance(effect, Effect)
        assert sum(effect.requests.values()) == 40
        assert effect.requests["8"] == world.versions["8"].live
        assert await world.process.traffic.write(world.rollout, HALF_ON_8) == Done()
        took = await eventually(lambda: world.does(HALF_ON_8.split), "50/50 is in effect", within=5)
        assert took < 2


@pytest.mark.apiserver
async def test_a_router_that_is_silent_leaves_the_effect_unknown(real: RealCluster, tmp_path: Path) -> None:
    async with routed(real, tmp_path, Pace(0, 0)) as world:
        await eventually(lambda: world.does(TENTH_ON_8.split), "90/10 is in effect")
        await world.ask(20)
        await world.effect()
        world.envoys[0].process.kill()
        world.envoys[0].process.wait()
        effect = await world.effect()
        assert isinstance(effect, Effect)
        assert effect.in_effect is None
        assert effect.detail.startswith("router pod r1: ")
        assert sum(effect.requests.values()) == 20  # what the dead one had sent stays counted
        world.envoys[1].process.kill()
        world.envoys[1].process.wait()
        silent = await world.effect()
        assert isinstance(silent, Failed)
        assert silent.reason == "RouterSilent"


@pytest.mark.apiserver
async def test_without_a_ready_router_nothing_is_known(real: RealCluster) -> None:
    process = real.process()
    rollout = await read(process, await real.create_model(NAME))
    assert await process.traffic.write(rollout, TENTH_ON_8) == Done()
    assert await process.traffic.measure(rollout) == Failed("NoRouter", "no router pod is ready")


@pytest.mark.apiserver
async def test_a_settled_route_is_looked_at_rarely_and_anew_when_it_changes(real: RealCluster, tmp_path: Path) -> None:
    async with routed(real, tmp_path, Pace(unsettled=0.0, settled=60.0)) as world:
        await eventually(lambda: world.does(TENTH_ON_8.split), "90/10 is in effect")
        first = await world.effect()
        await world.ask(10)
        assert await world.effect() is first
        await real.edit_numbers(NAME, {"weight.v7": "100", "weight.v8": "0"})
        await world.process.writer.refresh(CONFIG_MAP, real.namespace, f"{NAME}-traffic")
        await eventually(lambda: world.does(Split({"7": 100})), "the hand's split is in effect", within=5)


def test_totals_only_grow_over_restarts_and_pods_that_go() -> None:
    totals = Totals()
    assert totals.count({"a": {"8": 100}, "b": {"8": 5}}, frozenset("ab")) == {"8": 105}
    assert totals.count({"a": {"8": 30}, "b": {"8": 6}}, frozenset("ab")) == {"8": 136}  # a has restarted
    assert totals.count({"b": {"8": 6}}, frozenset("ab")) == {"8": 136}  # a was silent
    assert totals.count({"a": {"8": 31}, "b": {"8": 6}}, frozenset("ab")) == {"8": 137}
    assert totals.count({"b": {"8": 7, "7": 1}}, frozenset("b")) == {"8": 138, "7": 1}  # a is gone
    assert set(totals.last) == {"b"}


def test_an_ipv6_router_is_asked_too() -> None:
    spec = {"containers": [{"name": "envoy", "ports": [{"name": "stats", "containerPort": 9901}]}]}
    assert stats_url({"spec": spec, "status": {"podIP": "fd00::7"}}) == "http://[fd00::7]:9901"
