"""The registry adapter while servers hang, drip, freeze or stop: given up in time, and a way back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.rollout.observation import Busy, Failed, NoData, Value
from tests.adapters.asking import (
    DEADLINE,
    PAGE,
    awake,
    failure,
    settled,
    until,
)
from tests.adapters.impostors import Impostor, answer, closed_port, drip, hang, impostor
from tests.mlflow_server import MlflowServer, register, start_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def server() -> Iterator[Impostor]:
    with impostor() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry(server: Impostor) -> AsyncIterator[MlflowRegistry]:
    """An adapter of the impostor, with a worker that is up and a token to keep secret."""
    before = os.environ.get("MLFLOW_TRACKING_TOKEN")
    os.environ["MLFLOW_TRACKING_TOKEN"] = "t0ken"
    registry = MlflowRegistry(server.uri, deadline=DEADLINE, cooldown=0)
    await awake(registry)
    yield registry
    await registry.close()
    os.environ.pop("MLFLOW_TRACKING_TOKEN") if before is None else os.environ.update(MLFLOW_TRACKING_TOKEN=before)


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """Let go of the requests that an impostor still holds."""
    stop = threading.Event()
    yield stop
    stop.set()


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_server_that_never_answers_is_given_up_at_the_deadline(
    server: Impostor, registry: MlflowRegistry, stop: threading.Event
) -> None:
    server.behave = hang(stop)
    assert (await failure(registry)).reason == "RegistryTimeout"


async def test_a_hundred_questions_to_a_server_that_drips_are_all_answered_in_time_and_then_it_recovers(
    server: Impostor, registry: MlflowRegistry, stop: threading.Event
) -> None:
    server.behave = drip(stop)
    worker = registry.pid
    readings = await asyncio.gather(*(failure(registry, f"model-{at}") for at in range(100)))
    assert {reading.reason for reading in readings} == {"RegistryTimeout"}
    absent = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": ""}
    server.behave = answer(404, json.dumps(absent).encode())
    assert isinstance(await settled(registry, "fraud_detector"), NoData)
    assert registry.pid != worker


async def test_a_worker_that_is_killed_fails_the_call_and_the_next_one_has_another(
    server: Impostor, stop: threading.Event
) -> None:
    server.behave = hang(stop)
    registry = MlflowRegistry(server.uri, deadline=60, cooldown=0)
    try:
        assert isinstance(await registry.resolve("orphaned", "1"), Busy)
        await until(lambda: any("orphaned" in path for path in server.requests), 60)
        worker = registry.pid
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        assert await settled(registry, "orphaned") == Failed(
            "RegistryError", "the registry client's process ended before it answered (exit code -9)"
        )
        server.behave = answer(200, PAGE)
        assert isinstance(await settled(registry, "orphaned"), Failed)
        assert registry.pid not in {None, worker}
    finally:
        await registry.close()


async def test_one_who_stops_waiting_stops_nobody_else(
    server: Impostor, registry: MlflowRegistry, stop: threading.Event
) -> None:
    server.behave = answer(500, PAGE)
    await awake(registry)
    seen = len(server.requests)
    server.behave = hang(stop)
    impatient = asyncio.create_task(registry.resolve("shared", "1"))
    patient = asyncio.create_task(registry.resolve("shared", "1"))
    await asyncio.sleep(0)
    impatient.cancel()
    stop.set()
    await patient
    assert isinstance(await settled(registry, "shared"), Failed)
    assert impatient.cancelled()
    assert len({path for path in server.requests[seen:] if "shared" in path}) == 1


async def test_a_registry_that_is_down_is_left_alone_for_the_cooldown() -> None:
    registry = MlflowRegistry(f"http://127.0.0.1:{closed_port()}", deadline=DEADLINE, cooldown=30)
    try:
        await awake(registry)
        begin = time.monotonic()
        readings = [await failure(registry, f"model-{at}") for at in range(200)]
        assert {reading.reason for reading in readings} == {"RegistryUnreachable"}
        assert time.monotonic() - begin < 1
    finally:
        await registry.close()


async def test_an_idle_worker_ends_and_the_next_question_starts_another(server: Impostor) -> None:
    server.behave = answer(500, PAGE)
    registry = MlflowRegistry(server.uri, deadline=DEADLINE, cooldown=0, idle=0.2)
    try:
        await awake(registry)
        await until(lambda: registry.pid is None)
        assert isinstance(await settled(registry, "fraud_detector"), Failed)
    finally:
        await registry.close()
    assert registry.pid is None


async def test_a_real_server_that_freezes_and_comes_back_is_asked_again(mlflow_server: MlflowServer) -> None:
    register(mlflow_server, "frozen")
    registry = MlflowRegistry(mlflow_server.uri, deadline=DEADLINE, cooldown=0)
    try:
        assert isinstance(await settled(registry, "frozen"), Value)
        with mlflow_server.frozen():
            assert (await failure(registry, "frozen")).reason == "RegistryTimeout"
        async with asyncio.timeout(60):
            while not isinstance(await registry.resolve("frozen", "1"), Value):
                pass
    finally:
        await registry.close()


async def test_a_real_server_that_is_stopped_is_unreachable(tmp_path: Path) -> None:
    server = start_server(tmp_path)
    try:
        register(server, "stopped")
        registry = MlflowRegistry(server.uri, deadline=DEADLINE * 3, cooldown=0)
        assert isinstance(await settled(registry, "stopped"), Value)
        server.stop()
        assert (await failure(registry, "stopped")).reason == "RegistryUnreachable"
        await registry.close()
    finally:
        server.stop()


async def test_the_worker_goes_when_the_operator_is_killed(server: Impostor) -> None:
    server.behave = answer(500, PAGE)
    script = (
        "import asyncio, sys\n"
        "from modelramp.adapters.mlflow import MlflowRegistry\n"
        "async def main():\n"
        "    registry = MlflowRegistry(sys.argv[1], deadline=30)\n"
        "    await registry.resolve('fraud_detector', '1')\n"
        "    print(registry.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, server.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as operator:  # noqa: ASYNC220
        assert operator.stdout is not None
        worker = int(await asyncio.to_thread(operator.stdout.readline))
        assert is_running(worker)
        operator.kill()
    await until(lambda: not is_running(worker))
