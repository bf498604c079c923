"""The first example's models: trained by its own script, registered in a real server, judged by its own manifest."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.api import Problem, read_spec
from modelramp.rollout.gates.chain import Case, judge_gates
from modelramp.rollout.observation import Busy, ModelVersion, Value
from tests.mlflow_server import EXAMPLE, MlflowServer, example, mlflow_client, start_server, train_example

VERSIONS = ("1", "2", "3")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server of its own, where `fraud_detector` is not registered yet."""
    server = start_server(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def trained(server: MlflowServer) -> list[str]:
    """What `train.py` said, asked first for a version that is not next, then for one, then for all."""
    refused = train_example(server, "--version", "2")
    assert refused.returncode != 0
    assert "register it before v2" in refused.stderr
    said = []
    for arguments in (["--version", "1"], []):
        begin = time.monotonic()
        done = train_example(server, *arguments)
        assert done.returncode == 0, done.stderr
        print(f"train.py {' '.join(arguments)}: {time.monotonic() - begin:.1f} s")
        said += done.stdout.splitlines()
    return said


@pytest.fixture(scope="module")
def versions(server: MlflowServer, trained: list[str]) -> dict[str, ModelVersion]:
    """The three versions as the operator sees them."""

    async def resolve_all() -> dict[str, ModelVersion]:
        registry = MlflowRegistry(server.uri, deadline=20)
        try:
            return {version: await resolve(registry, version) for version in VERSIONS}
        finally:
            await registry.close()

    async def resolve(registry: MlflowRegistry, version: str) -> ModelVersion:
        while isinstance(reading := await registry.resolve("fraud_detector", version), Busy):
            pass
        assert isinstance(reading, Value), reading
        return reading.value

    return asyncio.run(resolve_all())


@pytest.fixture(scope="module")
def models(server: MlflowServer, versions: dict[str, ModelVersion], tmp_path_factory: Any) -> dict[str, Any]:
    """The three models, loaded from the files that a pod would fetch."""
    from mlflow import pyfunc
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    loaded = {}
    for version, model in versions.items():
        directory = tmp_path_factory.mktemp(f"v{version}")
        get_artifact_repository(model.source, tracking_uri=server.uri).download_artifacts("", str(directory))
        loaded[version] = pyfunc.load_model(str(directory))
    return loaded


def score(model: Any, rows: list[dict[str, Any]]) -> np.ndarray:
    import pandas as pd

    return np.asarray(model.predict(pd.DataFrame(rows)))


def metric(model: ModelVersion, key: str) -> float:
    return next(metric.value for metric in model.metrics if metric.key == key)


def test_the_script_registers_what_is_missing_and_only_that(trained: list[str]) -> None:
    assert re.fullmatch(r"fraud_detector v1: auc 0\.\d{4}, p99 [\d.]+ ms", trained[0])
    assert trained[1] == "fraud_detector v1 is registered already"
    assert [line.split(":")[0] for line in trained[2:]] == ["fraud_detector v2", "fraud_detector v3"]


def test_the_metrics_are_the_same_on_every_machine(versions: dict[str, ModelVersion]) -> None:
    assert [metric(versions[version], "auc") for version in VERSIONS] == pytest.approx(
        [0.9387, 0.9529, 0.9578], abs=3e-3
    )


def test_every_version_passes_the_gates_of_the_manifest_in_its_turn(versions: dict[str, ModelVersion]) -> None:
    spec = read_spec(yaml.safe_load((EXAMPLE / "modeldeployment.yaml").read_text()))
    assert not isinstance(spec, Problem), spec
    for version, stable in (("1", None), ("2", versions["1"]), ("3", versions["2"])):
        results = judge_gates(Case(spec.plan.gates, versions[version], stable, datetime.now(UTC)))
        assert results
        assert not [result for result in results if not result.passed], version


def test_every_version_carries_its_lineage(server: MlflowServer, versions: dict[str, ModelVersion]) -> None:
    client = mlflow_client(server)
    for version, model in versions.items():
        registered, run = client.get_model_version("fraud_detector", version), client.get_run(model.run_id)
        assert (model.status, model.signature is not None) == ("READY", True)
        assert registered.description == model.tags["decision"]
        assert {"team", "owner", "risk", "pii", "compliance", "sla", "data_residency"} <= model.tags.keys()
        contexts = {tag.value for entry in run.inputs.dataset_inputs for tag in entry.tags}
        assert contexts >= {"training", "evaluation"}
        by_dataset = {entry.key for entry in model.metrics if entry.dataset.startswith("transactions-holdout@")}
        assert by_dataset >= {"auc", "aupr", "logloss", "accuracy", "precision", "recall", "f1", "p50_ms", "p99_ms"}


def test_a_model_is_data_that_the_runtime_image_can_load(
    server: MlflowServer, versions: dict[str, ModelVersion]
) -> None:
    for model in versions.values():
        files = server.artifacts / model.source.removeprefix("mlflow-artifacts:/")
        assert not [path for path in files.rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib", ".py"}]
        assert (files / "input_example.json").exists()
        assert "mlflow==" not in (files / "requirements.txt").read_text()


def test_every_version_answers_with_one_probability_a_row(models: dict[str, Any]) -> None:
    traffic = example("traffic")
    rows = traffic.transactions(np.random.default_rng(11), 500)
    for model in models.values():
        scores = score(model, rows)
        assert scores.shape == (500,)
        assert scores.min() >= 0
        assert scores.max() <= 1
        assert 0.02 < scores.mean() < 0.15


def test_only_version_3_fails_when_a_category_appears_that_training_never_saw(models: dict[str, Any]) -> None:
    traffic = example("traffic")
    known = traffic.transactions(np.random.default_rng(12), 50)
    new = traffic.transactions(np.random.default_rng(12), 50, new_category_share=1.0)
    assert {row["merchant_category"] for row in new} == {traffic.NEW_CATEGORY}
    for version in ("1", "2"):
        assert score(models[version], new).shape == (50,)
    assert score(models["3"], known).shape == (50,)
    with pytest.raises(ValueError, match="unknown categories"):
        score(models["3"], new)


def test_traffic_has_the_share_of_the_new_category_that_was_asked_for() -> None:
    traffic = example("traffic")
    rows = traffic.transactions(np.random.default_rng(13), 20_000, new_category_share=0.1)
    share = sum(row["merchant_category"] == traffic.NEW_CATEGORY for row in rows) / len(rows)
    assert share == pytest.approx(0.1, abs=0.01)
    body = traffic.request_body(rows[:2])
    assert body["dataframe_split"]["columns"] == list(traffic.COLUMNS)
    assert [type(value) for value in body["dataframe_split"]["data"][0]] == [float, str, str, int, int, int]


def test_the_readme_quotes_the_metrics_that_come_out(versions: dict[str, ModelVersion]) -> None:
    readme = Path(EXAMPLE / "README.md").read_text()
    for version, model in versions.items():
        assert f"| v{version} | {metric(model, 'auc'):.3f} |" in readme
