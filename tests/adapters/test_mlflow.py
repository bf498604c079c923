"""The registry adapter against a real MLflow server: what a version resolves to."""

from __future__ import annotations

import asyncio
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.adapters.mlflow_artifacts import read_tree
from modelramp.adapters.mlflow_snapshot import trouble_with_source
from modelramp.rollout.observation import Busy, ModelVersion, NoData, Reading, Value
from tests.adapters.impostors import impostor, relay
from tests.mlflow_server import MlflowServer, artifact_file, mlflow_client, put_artifact, register

HASHING = r"hashing the files of version 1: \d+ MB of [89] MB"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry(mlflow_server: MlflowServer) -> AsyncIterator[MlflowRegistry]:
    registry = MlflowRegistry(mlflow_server.uri, deadline=20)
    yield registry
    await registry.close()


async def settled(registry: MlflowRegistry, name: str, version: str) -> Reading[ModelVersion]:
    """Ask until the files are hashed."""
    async with asyncio.timeout(60):
        while isinstance(answer := await registry.resolve(name, version), Busy):
            pass
        return answer


async def message(registry: MlflowRegistry, name: str) -> str:
    answer = await registry.resolve(name, "1")
    assert isinstance(answer, Busy), answer
    return answer.message


async def resolved(registry: MlflowRegistry, name: str, version: str = "1") -> ModelVersion:
    answer = await settled(registry, name, version)
    assert isinstance(answer, Value), answer
    return answer.value


async def afresh(server: MlflowServer, name: str, version: str = "1") -> ModelVersion:
    """Resolve with an adapter that remembers nothing."""
    registry = MlflowRegistry(server.uri, deadline=20)
    try:
        return await resolved(registry, name, version)
    finally:
        await registry.close()


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


async def test_a_version_resolves_to_its_run_its_files_and_what_was_logged(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    made = register(mlflow_server, "whole", run_metrics={"auc": 0.91}, tags={"owner": "risk-ml@example.com"})
    model = await resolved(registry, "whole")
    assert (model.name, model.version, model.run_id) == ("whole", "1", made.run_id)
    assert (model.status, model.has_signature) == ("READY", True)
    assert model.source.startswith("mlflow-artifacts:/")
    assert made.model_id in model.source
    assert re.fullmatch("[0-9]{13}", model.created)
    assert re.fullmatch("sha256:[0-9a-f]{64}", model.digest)
    assert [(metric.key, metric.value) for metric in model.metrics] == [("auc", 0.91)]
    assert model.tags["owner"] == "risk-ml@example.com"


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


async def test_metrics_of_the_logged_model_come_first_and_a_run_edited_later_does_not_outdo_them(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    dataset = ("holdout", "a5663895")
    made = register(mlflow_server, "edited", run_metrics={"loss": 0.2}, model_metrics={"auc": 0.93}, dataset=dataset)
    mlflow_client(mlflow_server).log_metric(made.run_id, "auc", 0.99, step=9)
    model = await resolved(registry, "edited")
    assert [(metric.key, metric.value, metric.dataset) for metric in model.metrics] == [
        ("auc", 0.93, "holdout@a5663895"),
        ("loss", 0.2, ""),
    ]


async def test_a_metric_that_is_no_number_stays_none(mlflow_server: MlflowServer, registry: MlflowRegistry) -> None:
    register(
        mlflow_server,
        "nan",
        model_metrics={"loss": math.nan, "errors": 0.0},
        run_metrics={"auc": math.nan, "top": math.inf, "low": -math.inf},
    )
    values = {metric.key: metric.value for metric in (await resolved(registry, "nan")).metrics}
    assert math.isnan(values["auc"])
    assert math.isnan(values["loss"])  # MLflow itself answers 0.0 here
    assert (values["errors"], values["top"], values["low"]) == (0.0, math.inf, -math.inf)


async def test_a_zero_of_another_run_counts_only_where_that_run_confirms_it(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    made = register(mlflow_server, "evaluated")
    client = mlflow_client(mlflow_server)
    evaluation = client.create_run("0").info.run_id
    client.log_metric(evaluation, "loss", math.nan, model_id=made.model_id)
    client.log_metric(evaluation, "errors", 0.0, model_id=made.model_id)
    values = {metric.key: metric.value for metric in (await resolved(registry, "evaluated")).metrics}
    assert math.isnan(values["loss"])
    assert values["errors"] == 0.0


async def test_a_model_without_a_signature_says_so(mlflow_server: MlflowServer, registry: MlflowRegistry) -> None:
    register(mlflow_server, "unsigned", signature=False)
    assert not (await resolved(registry, "unsigned")).has_signature


async def test_a_version_is_not_ready_before_its_logged_model_is(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    made = register(mlflow_server, "pending", ready=False)
    assert (await resolved(registry, "pending")).status == "LoggedModelPending"
    mlflow_client(mlflow_server).finalize_logged_model(made.model_id, "READY")
    assert (await resolved(registry, "pending")).status == "READY"


async def test_what_is_not_there_is_named(mlflow_server: MlflowServer, registry: MlflowRegistry) -> None:
    register(mlflow_server, "gone")
    register(mlflow_server, "gone")
    assert await settled(registry, "gone", "3") == NoData("VersionNotFound", "the registry has no version 3 of gone")
    assert await settled(registry, "never", "1") == NoData("ModelNotFound", "the registry has no model never")
    mlflow_client(mlflow_server).delete_model_version("gone", "2")
    assert isinstance(answer := await settled(registry, "gone", "2"), NoData)
    assert answer.reason == "VersionNotFound"


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


async def test_moving_an_alias_or_editing_tags_moves_nothing(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    register(mlflow_server, "aliased")
    register(mlflow_server, "aliased")
    client = mlflow_client(mlflow_server)
    client.set_registered_model_alias("aliased", "champion", "1")
    before = await resolved(registry, "aliased")
    client.set_registered_model_alias("aliased", "champion", "2")
    client.set_model_version_tag("aliased", "1", "note", "edited")
    after = await resolved(registry, "aliased")
    assert (after.source, after.digest, after.created) == (before.source, before.digest, before.created)
    assert "@" not in after.source


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
    assert (model.status, model.has_signature) == ("READY", False)


async def test_tags_are_the_versions_over_the_runs_and_mlflows_own_stay_out(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    made = register(mlflow_server, "tagged", tags={"owner": "version", "long": "x" * 2000})
    client = mlflow_client(mlflow_server)
    for key, value in {
        "owner": "run",
        "team": "run",
        "mlflow.source.git.commit": "c0ffee",
        "mlflow.source.git.repoURL": "https://token@git",
    }.items():
        client.set_tag(made.run_id, key, value)
    tags = (await resolved(registry, "tagged")).tags
    assert tags == {"owner": "version", "team": "run", "mlflow.source.git.commit": "c0ffee"}


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


async def test_resolving_costs_at_most_four_registry_calls_and_the_files_are_read_once(
    mlflow_server: MlflowServer,
) -> None:
    register(mlflow_server, "counted", run_metrics={"auc": 0.9})
    with impostor() as proxy:
        proxy.behave = relay(mlflow_server.uri)
        registry = MlflowRegistry(f"http://127.0.0.1:{proxy.server.server_port}", deadline=20)
        try:
            await resolved(registry, "counted")
            calls, files = _sorted_out(proxy.requests)
            assert len(calls) == 3, calls
            assert len(files) == 1 + 5, files  # one listing, five files
            begin, rounds = time.perf_counter(), 20
            for _ in range(rounds):
                await resolved(registry, "counted")
            print(f"snapshot: {(time.perf_counter() - begin) / rounds * 1000:.0f} ms through the proxy")
        finally:
            await registry.close()
        assert _sorted_out(proxy.requests)[1] == files
        assert len(_sorted_out(proxy.requests)[0]) == 3 * (rounds + 1)


def _sorted_out(requests: list[str]) -> tuple[list[str], list[str]]:
    files = [path for path in requests if "/mlflow-artifacts/" in path]
    return [path for path in requests if path not in files], files


async def test_a_settled_version_is_answered_within_one_turn(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    register(mlflow_server, "timed", run_metrics={f"m{at}": float(at) for at in range(20)})
    await resolved(registry, "timed")
    taken = []
    for _ in range(20):
        begin = time.perf_counter()
        await resolved(registry, "timed")
        taken.append(time.perf_counter() - begin)
    median = sorted(taken)[10]
    print(f"snapshot: median {median * 1000:.0f} ms, worst {max(taken) * 1000:.0f} ms")
    assert median < 0.5


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
