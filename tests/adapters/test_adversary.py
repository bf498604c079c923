"""Somebody who writes the user's VirtualService all the time, on a real API server: a retreat arrives nevertheless."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from modelramp.adapters.kinds import VIRTUAL_SERVICE, Kind
from modelramp.adapters.kubernetes import Answer, Cluster
from modelramp.ports import Conflict, Done
from tests.adapters.real import Process
from tests.adapters.scenes import ALL_ON_7, HALF_ON_8, V8, Scene

pytestmark = pytest.mark.apiserver
Edit = Callable[[int], list[Any]]
TURN: list[Any] = [{"op": "move", "from": "/spec/http/6", "path": "/spec/http/0"}]
"""The last of the seven routes becomes the first, so that each of them stands at another index."""


def edits_a_foreign_route(number: int) -> list[Any]:
    return [
        {"op": "add", "path": "/spec/http/0/timeout", "value": f"{number % 9 + 1}s"},
        {"op": "add", "path": "/metadata/annotations/adversary", "value": str(number)},
    ]


def reorders_the_list(_: int) -> list[Any]:
    return TURN


@contextlib.asynccontextmanager
async def adversary(scene: Scene, edit: Edit, pause: float = 0.02) -> AsyncIterator[list[int]]:
    """Write the VirtualService all the time."""
    writes: list[int] = []

    async def write() -> None:
        for number in itertools.count():
            await scene.real.cluster.patch(VIRTUAL_SERVICE, scene.real.namespace, "shop", edit(number))
            writes.append(number)
            await asyncio.sleep(pause)

    task = asyncio.create_task(write())
    try:
        yield writes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("edit", [edits_a_foreign_route, reorders_the_list])
async def test_an_adversary_that_writes_every_20_ms_cannot_stop_a_retreat(scene: Scene, edit: Edit) -> None:
    took, loop = [], asyncio.get_running_loop()
    async with adversary(scene, edit) as writes:
        while len(took) < 10 or len(writes) < 20:
            await halved(scene)
            begin = loop.time()
            assert await scene.process.traffic.write(scene.rollout, ALL_ON_7) == Done()
            took.append(loop.time() - begin)
            assert (await scene.weights())[V8] == 0
    assert max(took) < 2.0, f"a retreat took {max(took):.3f} s"


async def halved(scene: Scene) -> None:
    """Give half to the candidate; progress may lose, and is tried again."""
    while isinstance(await scene.process.traffic.write(scene.rollout, HALF_ON_8), Conflict):
        pass


class TurnsAfterEachRead(Cluster):
    """The adversary at its quickest: nobody can read the list and write it before it is another."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Answer:
        answer = await super().get(kind, namespace, name)
        if kind is VIRTUAL_SERVICE:
            await super().patch(kind, namespace, name, TURN)
        return answer


async def test_a_list_that_is_reordered_after_each_read_cannot_stop_a_retreat(scene: Scene) -> None:
    await halved(scene)
    cluster = await TurnsAfterEachRead.connect(scene.real.server.kubeconfig)
    try:
        process = Process(cluster, scene.real.session)
        await process.list_all(scene.real.namespace, VIRTUAL_SERVICE)
        await scene.edit(TURN)
        assert await process.traffic.write(scene.rollout, ALL_ON_7) == Done()
    finally:
        await cluster.close()
    assert (await scene.weights())[V8] == 0
