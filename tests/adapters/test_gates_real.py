"""A registry full of good and bad versions on a real MLflow server: each bad one is refused for its exact reason."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

import pytest
import pytest_asyncio
import yaml

from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.rollout.gates.case import Case
from modelramp.rollout.gates.chain import judge_gates
from modelramp.rollout.gates.spec import (
    CoverageGate,
    DecisionGate,
    FairnessGate,
    Gates,
    Lineage,
    LineageGate,
    MetricGate,
    TagGate,
)
from modelramp.rollout.observation import Busy, ModelVersion, Value
from modelramp.rollout.status import GateResult
from tests.mlflow_server import MlflowServer, Registered, mlflow_client, put_artifact, register, small_model

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

MODEL = "gated_detector"
METRICS = {
    "roc_auc": 0.95,
    "p99_ms": 40.0,
    "coverage": 0.99,
    "demographic_parity_ratio": 0.9,
    "demographic_parity_ratio/country": 0.85,
}
TAGS = {"team": "fraud", "risk": "tier1", "decision": "less fraud at the same cost"}
RUN_TAGS = {"mlflow.source.git.commit": "c0ffee", "mlflow.source.git.dirty": "false"}
HOLDOUT = ("holdout", "d1")
GATES = Gates(
    metrics=(MetricGate("auc", min=0.9), MetricGate("auc", max_drop=0.01), MetricGate("p99_ms", max=50)),
    fairness=(FairnessGate("demographic_parity_ratio", min=0.8),),
    coverage=(CoverageGate("coverage", 0.95),),
    lineage=LineageGate(tuple(Lineage), "feature_table_version"),
    tags=(TagGate("team"), TagGate("risk", ("tier1", "tier2"))),
    decision=DecisionGate(),
)


def signed(server: MlflowServer, made: Registered, part: str, columns: str) -> None:
    """Rewrite a part of the logged signature."""
    described = yaml.safe_load((small_model() / "MLmodel").read_text())
    described["signature"][part] = columns
    put_artifact(server, made.model_id, "MLmodel", yaml.safe_dump(described).encode())


def columns(**kinds: str) -> Callable[[MlflowServer, Registered], None]:
    listed = ", ".join(f'{{"type": "{kind}", "name": "{name}", "required": true}}' for name, kind in kinds.items())
    return lambda server, made: signed(server, made, "inputs", f"[{listed}]")


def on_run(action: str, *args: Any) -> Callable[[MlflowServer, Registered], None]:
    return lambda server, made: getattr(mlflow_client(server), action)(made.run_id, *args)


@dataclass(frozen=True)
class Made:
    """How a version differs from the good one; `then` is done to it after it was registered."""

    reason: str
    also: tuple[str, ...] = ()
    metrics: dict[str, float | None] | None = None
    tags: dict[str, str] | None = None
    run_tags: dict[str, str] | None = None
    signature: bool = True
    ready: bool = True
    dataset: tuple[str, str] | None = HOLDOUT
    lineage: bool = True
    then: Callable[[MlflowServer, Registered], None] | None = None


BAD = {
    "not ready": Made("VersionNotReady", ready=False),
    "its run failed": Made("RunNotFinished", then=on_run("set_terminated", "FAILED")),
    "its run goes on": Made("RunNotFinished", then=on_run("update_run", "RUNNING")),
    "its run was deleted": Made("RunNotFinished", then=on_run("delete_run")),
    "deprecated": Made("Deprecated", tags={"deprecated": "true"}),
    "deprecated at length": Made("Deprecated", tags={"deprecated": "superseded " * 200}),
    "sunset passed": Made("SunsetPassed", tags={"sunset_on": "2025-01-01"}),
    "no signature": Made("SignatureMissing", signature=False),
    "a narrowed type": Made("SignatureIncompatible", then=columns(amount="float", hour="long")),
    "a new column": Made("SignatureIncompatible", then=columns(amount="double", hour="long", country="string")),
    "a signature of nonsense": Made("SignatureUnreadable", then=lambda *made: signed(*made, "inputs", "{{")),
    "a lying training_accuracy": Made("MetricMissing", metrics={"roc_auc": None, "training_roc_auc": 0.99}),
    "NaN": Made("MetricNotFinite", metrics={"roc_auc": float("nan")}),
    "infinite": Made("MetricNotFinite", metrics={"roc_auc": float("inf")}),
    "under the floor": Made("MetricBelowMin", ("MetricDropped",), metrics={"roc_auc": 0.8}),
    "worse than stable": Made("MetricDropped", metrics={"roc_auc": 0.93}),
    "measured on other rows": Made("DatasetDiffers", dataset=("holdout", "d2")),
    "too slow": Made("MetricAboveMax", metrics={"p99_ms": 60}),
    "unfair": Made("FairnessBroken", metrics={"demographic_parity_ratio": 0.5}),
    "unfair to one group": Made("FairnessBroken", metrics={"demographic_parity_ratio/country": 0.5}),
    "fairness unknown": Made(
        "FairnessMissing", metrics={"demographic_parity_ratio": None, "demographic_parity_ratio/country": None}
    ),
    "little coverage": Made("CoverageBelowMin", metrics={"coverage": 0.5}),
    "coverage unknown": Made("CoverageMissing", metrics={"coverage": None}),
    "a dirty commit": Made("GitTreeDirty", run_tags={"mlflow.source.git.dirty": "true"}),
    "no commit": Made("GitCommitMissing", run_tags={"mlflow.source.git.commit": ""}),
    "no lineage": Made("DatasetsMissing", ("FeatureTablesMissing", "ParametersMissing"), lineage=False),
    "no team": Made("TagMissing", tags={"team": ""}),
    "a risk of its own": Made("TagNotAllowed", tags={"risk": "low"}),
    "no decision": Made("DecisionMissing", tags={"decision": ""}),
}


def made(server: MlflowServer, how: Made) -> Registered:
    """Register a version that is good but for what `how` says."""
    wanted: dict[str, float | None] = {**METRICS, **(how.metrics or {})}
    metrics = {key: value for key, value in wanted.items() if value is not None}
    tags = {key: value for key, value in (TAGS | (how.tags or {})).items() if value}
    registered = register(
        server, MODEL, signature=how.signature, ready=how.ready, model_metrics=metrics, dataset=how.dataset, tags=tags
    )
    client = mlflow_client(server)
    for key, value in (RUN_TAGS | (how.run_tags or {})).items():
        client.set_tag(registered.run_id, key, value)
    if how.lineage:
        client.log_param(registered.run_id, "depth", 2)
        _log_inputs(client, registered.run_id)
    if how.then:
        how.then(server, registered)
    return registered


def _log_inputs(client: Any, run: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    train = Dataset("train", "t1", "local", "{}")
    client.log_inputs(run, [DatasetInput(train, [InputTag("feature_table_version", "2026-10")])])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry(mlflow_server: MlflowServer) -> AsyncIterator[MlflowRegistry]:
    registry = MlflowRegistry(mlflow_server.uri)
    yield registry
    await registry.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stable(mlflow_server: MlflowServer, registry: MlflowRegistry) -> ModelVersion:
    return await asked(registry.inspect, made(mlflow_server, Made("")).version)


async def asked(ask: Callable[[str, str], Any], version: str) -> ModelVersion:
    for _ in range(200):
        answer = await ask(MODEL, version)
        if not isinstance(answer, Busy):
            break
    assert isinstance(answer, Value), answer
    return answer.value


async def judged(registry: MlflowRegistry, version: str, stable: ModelVersion) -> tuple[GateResult, ...]:
    candidate = await asked(registry.resolve, version)
    return judge_gates(Case(GATES, candidate, stable, datetime.now(UTC)))


@pytest.mark.parametrize("wrong", BAD)
async def test_a_bad_version_is_refused_for_its_exact_reason(
    wrong: str, mlflow_server: MlflowServer, registry: MlflowRegistry, stable: ModelVersion
) -> None:
    version = made(mlflow_server, BAD[wrong]).version
    failed = [result for result in await judged(registry, version, stable) if not result.passed]
    assert {result.reason for result in failed} == {BAD[wrong].reason, *BAD[wrong].also}


async def test_a_good_version_passes_every_gate(
    mlflow_server: MlflowServer, registry: MlflowRegistry, stable: ModelVersion
) -> None:
    results = await judged(registry, made(mlflow_server, Made("")).version, stable)
    assert [result for result in results if not result.passed] == []
    assert {result.gate for result in results} >= {"run", "compatibility", "metric:auc", "lineage:FeatureTables"}
    (drop,) = (result for result in results if result.reason == "MetricHeld")
    assert drop.source.startswith("roc_auc on dataset holdout@d1, run ")


async def test_what_the_message_of_an_incompatible_signature_names(
    mlflow_server: MlflowServer, registry: MlflowRegistry, stable: ModelVersion
) -> None:
    version = made(mlflow_server, BAD["a narrowed type"]).version
    (result,) = (result for result in await judged(registry, version, stable) if not result.passed)
    assert f"clients of version {stable.version} would break: inputs/amount: double -> float" in result.message


class Counted(BaseHTTPRequestHandler):
    """Hands each request on to MLflow and writes it down."""

    target = ""
    seen: list[str] = []  # noqa: RUF012  shared on purpose

    def do_GET(self) -> None:
        self._pass(None)

    def do_POST(self) -> None:
        self._pass(self.rfile.read(int(self.headers["Content-Length"])))

    def _pass(self, body: bytes | None) -> None:
        type(self).seen.append(self.path)
        request = Request(self.target + self.path, body, {"Content-Type": "application/json"}, method=self.command)
        with urlopen(request, timeout=30) as answer:
            content = answer.read()
            self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def counter(mlflow_server: MlflowServer) -> Iterator[tuple[str, list[str]]]:
    """A proxy before MLflow, and the paths that it was asked for."""
    handler = type("Handler", (Counted,), {"target": mlflow_server.uri, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler.seen  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


async def test_a_snapshot_takes_at_most_four_calls_also_with_a_zero_from_another_run(
    mlflow_server: MlflowServer, counter: tuple[str, list[str]]
) -> None:
    uri, seen = counter
    client, version = (
        mlflow_client(mlflow_server),
        made(mlflow_server, Made("", metrics={"equal_odds_difference": 0.0})),
    )
    other = client.create_run(client.get_run(version.run_id).info.experiment_id).info.run_id
    client.log_metric(other, "demographic_parity_difference", 0.0, model_id=version.model_id)
    registry = MlflowRegistry(uri, deadline=60)  # a repeat would be a call too many
    try:
        whole = await asked(registry.inspect, version.version)
        assert len(seen) <= 4, seen
    finally:
        await registry.close()
    values = {metric.key: metric.value for metric in whole.metrics}
    assert (values["demographic_parity_difference"], values["equal_odds_difference"]) == (0.0, 0.0)
    assert (whole.signature is not None, whole.run is not None, whole.digest) == (True, True, "")


async def test_a_snapshot_takes_at_most_a_hundred_milliseconds(mlflow_server: MlflowServer) -> None:
    version, registry = made(mlflow_server, Made("")).version, MlflowRegistry(mlflow_server.uri)
    try:
        await asked(registry.inspect, version)
        took = []
        for _ in range(15):
            begin = time.perf_counter()
            await asked(registry.inspect, version)
            took.append(time.perf_counter() - begin)
    finally:
        await registry.close()
    assert min(took) < 0.1, f"best {min(took) * 1000:.0f} ms, median {median(took) * 1000:.0f} ms"
