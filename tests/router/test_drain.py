"""How a router pod ends."""

import asyncio
from pathlib import Path

from modelramp.router.drain import DrainSettings, drain
from tests.router.rig import Rig, eventually, free_port, load, rigged


def settings_for(rig: Rig, settle: float = 0.2, deadline: float = 10.0) -> DrainSettings:
    """Return settings with times of a test."""
    assert rig.envoy is not None
    return DrainSettings(rig.envoy.admin, settle=settle, quiet=0.1, deadline=deadline)


async def test_a_request_that_runs_is_answered_before_envoy_ends(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100})) as rig:
        rig.upstreams["7"].delay = 1.0
        slow = asyncio.create_task(rig.ask())

        async def arrived() -> bool:
            return rig.upstreams["7"].live == 1

        await eventually(arrived, "the request is at version 7")
        draining = asyncio.create_task(drain(settings_for(rig)))
        assert await slow == "7"
        assert await draining is True
        assert rig.envoy is not None
        assert await asyncio.to_thread(rig.envoy.process.wait, 5) == 0


async def test_while_it_drains_it_is_not_ready_but_answers_and_closes_connections(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100})) as rig:
        rig.upstreams["7"].delay = 0.05
        assert rig.envoy is not None
        async with load(rig, workers=2) as answers:
            draining = asyncio.create_task(drain(settings_for(rig, settle=30)))

            async def not_ready() -> bool:
                assert rig.envoy is not None
                async with rig.session.get(f"{rig.envoy.stats}/ready") as response:
                    return response.status == 503

            await eventually(not_ready, "readiness fails")
            async with rig.session.get(rig.http) as response:
                assert response.status == 200
                assert response.headers["connection"] == "close"
            assert not draining.done()
            draining.cancel()
        assert set(answers) == {"7"}


async def test_a_request_that_never_ends_does_not_hold_the_pod_for_ever(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100})) as rig:
        rig.upstreams["7"].delay = 15.0
        stuck = asyncio.create_task(rig.ask())

        async def arrived() -> bool:
            return rig.upstreams["7"].live == 1

        await eventually(arrived, "the request is at version 7")
        assert await drain(settings_for(rig, deadline=1.0)) is False
        assert rig.envoy is not None
        assert await asyncio.to_thread(rig.envoy.process.wait, 5) == 0
        await asyncio.gather(stuck, return_exceptions=True)


async def test_where_envoy_is_gone_already_there_is_nothing_to_wait_for() -> None:
    assert await drain(DrainSettings(f"http://127.0.0.1:{free_port()}")) is True
