"""Two pods of a version behind the router's Envoy, under load: one is told to go, or dies, and nobody notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import pytest

from modelramp.router.render import DEFAULTS, Backend, render_config_map
from modelramp_runtime.settings import read_settings
from tests.router.rig import NAME, NAMESPACE, Rig, eventually, following, running_envoy, write_first
from tests.runtime.conftest import Fraud
from tests.runtime.serving import IDENTITY, Served, is_ready, start

pytestmark = [pytest.mark.server, pytest.mark.slow]
CALLERS = 8
UNTIL_GONE = 1.0
"""Seconds until a pod that died is no endpoint any more: the kubelet sees it, the EndpointSlice, kube-proxy."""


@dataclass
class Service:
    """What kube-proxy makes of a Service: a new connection goes to one of its endpoints, and a dead one refuses it."""

    endpoints: list[int]
    port: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", random.choice(self.endpoints))
        except OSError:
            _reset(writer)
            return
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(_copy(source, target))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except OSError:
        _reset(target)
    finally:
        target.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass
class Scene:
    pods: list[Served]
    service: Service
    answers: Counter[str]
    """How many, by `200` or by status and text."""

    async def more(self, count: int) -> None:
        """Wait for so many more answers."""
        wanted = self.answers.total() + count

        async def came() -> bool:
            return self.answers.total() >= wanted

        await eventually(came, f"{count} more answers", 60)


@asynccontextmanager
async def under_load(fraud: Fraud, home: Path, *, idempotent: bool) -> AsyncIterator[Scene]:
    """Run two pods, the Service, the router, and callers that never pause."""
    # They drain for as long as pods do: longer than an endpoint stays, and an unused connection after it.
    pods = [start(fraud.directory, home / f"pod-{n}") for n in range(2)]
    (home / "envoy").mkdir()
    body = json.dumps({"dataframe_split": json.loads(fraud.example.to_json(orient="split", index=False))})
    expected = fraud.expected(fraud.example)
    answers: Counter[str] = Counter()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(lambda: [(pod.process.kill(), pod.process.wait()) for pod in pods if pod.process])

        async def ready() -> bool:
            return all([await asyncio.to_thread(is_ready, pod) for pod in pods])

        await eventually(ready, "both pods are ready", 90)
        service = await stack.enter_async_context(Service([pod.port for pod in pods]).running())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        rig = Rig(home / "envoy", {}, session)
        settings = replace(DEFAULTS, idempotent=idempotent)
        backends = [Backend("8", "127.0.0.1", service.port)]
        data = render_config_map(NAMESPACE, NAME, backends, stable="8", split={"8": 100}, mirror={}, settings=settings)
        await write_first(rig, rig.directory, data)
        rig.envoy = await stack.enter_async_context(running_envoy(session, rig.directory))
        await stack.enter_async_context(following(rig))

        async def call() -> None:
            headers = {"Content-Type": "application/json"}
            while True:
                async with session.post(f"{rig.http}/invocations", data=body, headers=headers) as answer:
                    text = await answer.text()
                    answers["200" if answer.status == 200 else f"{answer.status} {text}"] += 1
                    if answer.status == 200:
                        assert json.loads(text)["predictions"] == pytest.approx(expected)

        callers = [asyncio.create_task(call()) for _ in range(CALLERS)]
        try:
            scene = Scene(pods, service, answers)
            await scene.more(300)
            yield scene
            await scene.more(300)
            assert not any(caller.done() for caller in callers)
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_pod_that_is_told_to_go_costs_nobody_an_answer(fraud: Fraud, tmp_path: Path, idempotent: bool) -> None:
    async with under_load(fraud, tmp_path, idempotent=idempotent) as scene:
        going, staying = scene.pods
        assert going.process is not None
        going.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(UNTIL_GONE)  # the endpoints are told a moment later, as in a cluster
        scene.service.endpoints = [staying.port]
        assert await asyncio.to_thread(going.process.wait, 30) == 0
    assert set(scene.answers) == {"200"}


async def test_a_pod_that_dies_costs_nobody_an_answer_where_predictions_are_idempotent(
    fraud: Fraud, tmp_path: Path
) -> None:
    async with under_load(fraud, tmp_path, idempotent=True) as scene:
        dying, staying = scene.pods
        assert dying.process is not None
        dying.process.kill()
        await asyncio.sleep(UNTIL_GONE)
        scene.service.endpoints = [staying.port]
    assert set(scene.answers) == {"200"}


def test_a_pod_drains_longer_than_a_connection_to_it_can_lie_unused() -> None:
    drain = read_settings(IDENTITY).drain_seconds
    assert drain > UNTIL_GONE + max(DEFAULTS.idle_timeout, DEFAULTS.max_connection_age)
