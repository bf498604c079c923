"""The registry adapter against a real MLflow server: where a version's files are, and their digest."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.adapters.mlflow_artifacts import read_tree
from modelramp.adapters.mlflow_snapshot import trouble_with_source
from modelramp.rollout.observation import Busy, ModelVersion, NoData, Value
from tests.adapters.asking import (
    afresh,
    resolved,
    settled,
)
from tests.adapters.impostors import impostor, relay
from tests.mlflow_server import MlflowServer, artifact_file, mlflow_client, put_artifact, register

HASHING = r"hashing the files of version 1: \d+ MB of [89] MB"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry(mlflow_server: MlflowServer) -> AsyncIterator[MlflowRegistry]:
    registry = MlflowRegistry(mlflow_server.uri, deadline=20)
    yield registry
    await registry.close()


async def message(registry: MlflowRegistry, name: str) -> str:
    answer = await registry.resolve(name, "1")
    assert isinstance(answer, Busy), answer
    return answer.message


def fetch(server: MlflowServer, model: ModelVersion, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the pods' init container's command on a resolved version."""
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": server.uri,
        "MODEL_SOURCE": model.source,
        "MODEL_DIGEST": model.digest,
        "MODEL_DIR": str(directory),
    }
    command = [sys.executable, "-m", "modelramp_runtime.fetch"]
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=120)


async def test_the_pods_accept_the_digest_and_refuse_files_that_changed_after_it(
    mlflow_server: MlflowServer, registry: MlflowRegistry, tmp_path: Path
) -> None:
    made = register(mlflow_server, "tampered", files={"code/with space.py": b"x = 1\n", "empty": b""})
    model = await resolved(registry, "tampered")
    accepted = fetch(mlflow_server, model, tmp_path / "good")
    assert accepted.returncode == 0, accepted.stdout
    assert (tmp_path / "good" / "code" / "with space.py").read_bytes() == b"x = 1\n"

    put_artifact(mlflow_server, made.model_id, "empty", b"no more")
    refused = fetch(mlflow_server, model, tmp_path / "bad")
    assert refused.returncode != 0
    assert "changed after the version was checked" in refused.stderr
    assert (await afresh(mlflow_server, "tampered")).digest != model.digest


async def test_the_digest_is_the_same_streamed_and_through_the_disk(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    register(mlflow_server, "both-ways", files={"data/a.bin": bytes(3_000_000), "data/deep/b": b"\xff"})
    model = await resolved(registry, "both-ways")
    told: list[tuple[int, int]] = []
    tree = read_tree(model.source, mlflow_server.uri, lambda done, total: told.append((done, total)), through_disk=True)
    assert isinstance(tree, Value)
    assert tree.value["digest"] == model.digest
    assert told[-1] == (tree.value["bytes"], tree.value["bytes"])


async def test_a_version_whose_logged_model_or_files_were_deleted_is_not_resolved(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    made = register(mlflow_server, "hollow")
    other = register(mlflow_server, "hollow")
    mlflow_client(mlflow_server).delete_logged_model(made.model_id)
    assert isinstance(answer := await settled(registry, "hollow", "1"), NoData)
    assert answer.reason == "LoggedModelNotFound"
    artifact_file(mlflow_server, other.model_id, "MLmodel").unlink()
    assert isinstance(answer := await settled(registry, "hollow", "2"), NoData)
    assert answer.reason == "ArtifactsNotFound"


async def test_a_number_that_is_used_again_after_a_delete_is_another_version(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    register(mlflow_server, "reused")
    before = await resolved(registry, "reused")
    mlflow_client(mlflow_server).delete_registered_model("reused")
    register(mlflow_server, "reused", files={"new": b"content"})
    after = await resolved(registry, "reused")
    assert after.version == before.version == "1"
    assert (after.source, after.created, after.digest) != (before.source, before.created, before.digest)


async def test_a_promoted_copy_resolves_to_the_same_files(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    register(mlflow_server, "dev-copied")
    mlflow_client(mlflow_server).copy_model_version("models:/dev-copied/1", "prod-copied")
    copy, original = await resolved(registry, "prod-copied"), await resolved(registry, "dev-copied")
    assert (copy.source, copy.digest) == (original.source, original.digest)


async def test_a_version_registered_from_a_runs_files_resolves_to_where_they_lie(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    made = register(mlflow_server, "classic")
    client = mlflow_client(mlflow_server)
    run = client.create_run("0")
    client.log_text(run.info.run_id, "flavors: {}\n", "old/MLmodel")
    version = client.create_model_version("classic", f"{run.info.artifact_uri}/old", run.info.run_id)
    model = await resolved(registry, "classic", str(version.version))
    assert model.source == f"{run.info.artifact_uri}/old"
    assert model.run_id == run.info.run_id != made.run_id
    assert (model.status, model.signature is not None) == ("READY", False)


async def test_files_on_a_machines_disk_or_on_a_strange_host_are_refused() -> None:
    registry = "https://mlflow.example.com/ml"
    for good in (
        "mlflow-artifacts:/1/models/m-1/artifacts",
        "mlflow-artifacts://mlflow.example.com/1",
        "s3://models/1",
        "wasbs://models@account.blob.core.windows.net/1",
    ):
        assert trouble_with_source(good, registry) == ""
    for bad, why in {
        "/var/run/secrets": "one machine's disk",
        "file:///etc": "one machine's disk",
        "models:/fraud_detector@champion": "can move",
        "runs:/1/model": "can move",
        "https://evil.example.com/1": "registry's credentials",
        "mlflow-artifacts://evil.example.com/1": "registry's credentials",
        "s3://key:secret@models/1": "carries a credential",
        "gs://models/1?token=secret": "carries a credential",
        "mlflow-artifacts://[bad": "malformed",
    }.items():
        assert why in trouble_with_source(bad, registry), bad


async def test_a_large_model_reports_its_progress_and_holds_up_nobody_else(
    mlflow_server: MlflowServer,
) -> None:
    register(mlflow_server, "large", files={"weights.bin": bytes(8_000_000)})
    register(mlflow_server, "small")
    held = threading.Event()
    with impostor() as proxy:
        proxy.behave = relay(mlflow_server.uri, "weights.bin", held)
        registry = MlflowRegistry(f"http://127.0.0.1:{proxy.server.server_port}", deadline=20)
        try:
            async with asyncio.timeout(60):
                while not re.fullmatch(HASHING, busy := await message(registry, "large")):
                    assert re.fullmatch(r"asking the registry for version 1|waiting to hash .*", busy)
            assert isinstance(await settled(registry, "small", "9"), NoData)
            held.set()
            assert (await resolved(registry, "large")).status == "READY"
        finally:
            held.set()
            await registry.close()


async def test_nothing_stays_on_the_disk(
    mlflow_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(mlflow_server, "tidy")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    await afresh(mlflow_server, "tidy")
    assert os.listdir(tmp_path) == []  # noqa: PTH208
