"""The registry adapter against servers that fail: a named reason within the deadline, no secret, and a way back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import pytest_asyncio

from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.rollout.observation import Busy, Failed, ModelVersion, NoData, Reading, Value
from tests.adapters.impostors import Impostor, answer, closed_port, drip, flood, hang, impostor, relay
from tests.mlflow_server import MlflowServer, register, start_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEADLINE = 3.0
LATE = 1.5
"""What a busy machine may add to a deadline."""
SECRETS = ("hunter2", "t0ken", "body-of-the-answer")
PAGE = b"<html><body>body-of-the-answer</body></html>"


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


async def awake(registry: MlflowRegistry) -> None:
    """Ask until the worker has started."""
    async with asyncio.timeout(60):
        while isinstance(await registry.resolve("nobody", "1"), Busy):
            pass


async def settled(registry: MlflowRegistry, name: str, version: str = "1") -> Reading[ModelVersion]:
    async with asyncio.timeout(60):
        while isinstance(reading := await registry.resolve(name, version), Busy):
            pass
        return reading


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what is awaited happens in another process
            await asyncio.sleep(0.01)


async def in_a_moment(registry: MlflowRegistry, name: str) -> Reading[ModelVersion] | Busy:
    begin = time.monotonic()
    reading = await registry.resolve(name, "1")
    assert time.monotonic() - begin < 1 + LATE
    return reading


async def failure(registry: MlflowRegistry, name: str = "fraud_detector") -> Failed:
    """Ask until there is an answer: none keeps the asker for long, and the last comes by the deadline."""
    begin = time.monotonic()
    while isinstance(reading := await in_a_moment(registry, name), Busy):
        pass
    assert time.monotonic() - begin < DEADLINE + LATE
    assert isinstance(reading, Failed), reading
    assert not [secret for secret in SECRETS if secret in reading.message]
    assert "127.0.0.1" in reading.message
    return reading


def model_version(**fields: object) -> bytes:
    named = {"name": "fraud_detector", "version": "1", "status": "READY", "creation_timestamp": 1, **fields}
    return json.dumps({"model_version": named}).encode()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "RegistryDenied"),
        (403, "RegistryDenied"),
        (404, "RegistryAnswer"),
        (429, "RegistryError"),
        (500, "RegistryError"),
        (502, "RegistryError"),
        (503, "RegistryError"),
    ],
)
async def test_a_page_with_an_error_status_is_named_by_the_status(
    server: Impostor, registry: MlflowRegistry, status: int, reason: str
) -> None:
    server.behave = answer(status, PAGE, "text/html")
    assert (await failure(registry)).reason == reason


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, "PERMISSION_DENIED", "RegistryDenied"),
        (401, "UNAUTHENTICATED", "RegistryDenied"),
        (400, "INVALID_PARAMETER_VALUE", "RegistryError"),
        (404, "ENDPOINT_NOT_FOUND", "RegistryError"),
    ],
)
async def test_mlflows_own_errors_are_named_by_their_code(
    server: Impostor, registry: MlflowRegistry, status: int, code: str, reason: str
) -> None:
    server.behave = answer(status, json.dumps({"error_code": code, "message": "body-of-the-answer"}).encode())
    assert (await failure(registry)).reason == reason


@pytest.mark.parametrize(
    "body",
    [
        PAGE,
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"model_version": 3}',
        b'{"model_version": {"name": {}}}',
        model_version(name="another"),
        model_version(version="2"),
        b"\xff\xfe",
    ],
)
async def test_an_answer_that_is_not_the_registrys_is_not_taken_for_one(
    server: Impostor, registry: MlflowRegistry, body: bytes
) -> None:
    server.behave = answer(200, body)
    assert (await failure(registry)).reason == "RegistryAnswer"


async def test_only_the_registry_itself_can_say_that_a_version_does_not_exist(
    server: Impostor, registry: MlflowRegistry
) -> None:
    absent = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "body-of-the-answer"}
    server.behave = answer(404, json.dumps(absent).encode())
    assert isinstance(await settled(registry, "fraud_detector"), NoData)
    server.behave = answer(404, PAGE, "text/html")
    assert isinstance(await settled(registry, "fraud_detector"), Failed)


async def test_a_redirect_is_not_followed(server: Impostor, registry: MlflowRegistry) -> None:
    with impostor() as elsewhere:
        server.behave = answer(302, b"", Location=f"http://127.0.0.1:{elsewhere.server.server_port}/")
        assert (await failure(registry)).reason == "RegistryAnswer"
    assert elsewhere.requests == []


async def test_files_on_a_strange_host_are_refused_before_it_is_asked(
    server: Impostor, registry: MlflowRegistry
) -> None:
    with impostor() as elsewhere:
        place = f"http://127.0.0.1:{elsewhere.server.server_port}/model"
        source = json.dumps({"artifact_uri": place}).encode()
        version = model_version(source=place)
        server.behave = lambda request: answer(200, source if "download-uri" in request.path else version)(request)
        reading = await settled(registry, "fraud_detector")
    assert isinstance(reading, Failed)
    assert reading.reason == "SourceRefused"
    assert elsewhere.requests == []


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


async def test_an_answer_without_end_does_not_take_the_machines_memory(
    server: Impostor, registry: MlflowRegistry
) -> None:
    server.behave = answer(500, PAGE)
    await awake(registry)
    server.behave = flood
    assert (await failure(registry)).reason in {"RegistryAnswer", "RegistryTimeout"}
    status = Path(f"/proc/{registry.pid}/status").read_text() if registry.pid else ""  # noqa: ASYNC240
    high_water = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
    assert high_water < 700 * 1024


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


async def test_files_that_stop_arriving_halfway_are_a_failure_and_not_a_digest(mlflow_server: MlflowServer) -> None:
    register(mlflow_server, "torn", files={"weights.bin": bytes(2_000_000)})
    with impostor() as proxy:
        pass_on = relay(mlflow_server.uri)

        def tear(request: BaseHTTPRequestHandler) -> None:
            if not request.path.endswith("weights.bin"):
                return pass_on(request)
            request.send_response(200)
            request.send_header("Content-Length", "2000000")
            request.end_headers()
            request.wfile.write(bytes(1000))
            return None

        proxy.behave = tear
        registry = MlflowRegistry(f"http://127.0.0.1:{proxy.server.server_port}", deadline=DEADLINE * 3, cooldown=0)
        try:
            reading = await settled(registry, "torn")
            assert isinstance(reading, Failed), reading
            assert reading.reason == "RegistryUnreachable"
            proxy.behave = pass_on
            assert isinstance(await settled(registry, "torn"), Value)
        finally:
            await registry.close()


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


@pytest.mark.parametrize("uri", ["sqlite:///user:hunter2@/mlflow.db", "databricks", "", "http://"])
async def test_an_address_that_is_no_mlflow_server_is_refused_without_quoting_it(uri: str) -> None:
    with pytest.raises(ValueError, match="http:// or https://") as refused:
        MlflowRegistry(uri)
    assert "hunter2" not in str(refused.value)
