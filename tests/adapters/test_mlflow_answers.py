"""The registry adapter against servers that answer badly: a named reason, and no secret in it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import pytest_asyncio

from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.rollout.observation import Failed, NoData, Value
from tests.adapters.asking import (
    DEADLINE,
    PAGE,
    awake,
    failure,
    settled,
)
from tests.adapters.impostors import Impostor, answer, flood, impostor, relay
from tests.mlflow_server import MlflowServer, register

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
        (400, "INVALID_PARAMETER_VALUE", "RegistryRefused"),
        (404, "ENDPOINT_NOT_FOUND", "RegistryRefused"),
        (400, "LONGER_THAN_ANY" * 1000, "RegistryError"),
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


@pytest.mark.parametrize("uri", ["sqlite:///user:hunter2@/mlflow.db", "databricks", "", "http://"])
async def test_an_address_that_is_no_mlflow_server_is_refused_without_quoting_it(uri: str) -> None:
    with pytest.raises(ValueError, match="http:// or https://") as refused:
        MlflowRegistry(uri)
    assert "hunter2" not in str(refused.value)
