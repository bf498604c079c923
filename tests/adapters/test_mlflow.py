"""The registry adapter against a real MLflow server: what a version resolves to."""

from __future__ import annotations

import math
import re
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.rollout.observation import NoData
from tests.adapters.asking import (
    resolved,
    settled,
)
from tests.adapters.impostors import impostor, relay
from tests.mlflow_server import MlflowServer, mlflow_client, register

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry(mlflow_server: MlflowServer) -> AsyncIterator[MlflowRegistry]:
    registry = MlflowRegistry(mlflow_server.uri, deadline=20)
    yield registry
    await registry.close()


async def test_a_version_resolves_to_its_run_its_files_and_what_was_logged(
    mlflow_server: MlflowServer, registry: MlflowRegistry
) -> None:
    made = register(mlflow_server, "whole", run_metrics={"auc": 0.91}, tags={"owner": "risk-ml@example.com"})
    model = await resolved(registry, "whole")
    assert (model.name, model.version, model.run_id) == ("whole", "1", made.run_id)
    assert (model.status, model.signature is not None) == ("READY", True)
    assert model.source.startswith("mlflow-artifacts:/")
    assert made.model_id in model.source
    assert re.fullmatch("[0-9]{13}", model.created)
    assert re.fullmatch("sha256:[0-9a-f]{64}", model.digest)
    assert [(metric.key, metric.value) for metric in model.metrics] == [("auc", 0.91)]
    assert model.tags["owner"] == "risk-ml@example.com"


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
    assert (await resolved(registry, "unsigned")).signature is None


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
    assert tags == {"owner": "version", "team": "run", "mlflow.source.git.commit": "c0ffee", "long": "x" * 1000}


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
