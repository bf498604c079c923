"""What a candidate answers to copied requests, compared with what was answered: a guardrail on real parts.

The model servers are the pods' own, behind Envoy with its mirror; Prometheus scrapes them.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

from modelramp.adapters.kinds import DEPLOYMENT, SERVICE
from modelramp.ports import Ref
from modelramp.router.podspec import router_name
from modelramp.router.render import service_host
from tests.controlplane import ApiServer
from tests.prometheus_server import PrometheusServer
from tests.runtime.serving import awaited, start
from tests.whole.data_path import SERVICE_PORT, Load, Router, loading
from tests.whole.dns import ClusterDns
from tests.whole.invariants import moves, violations
from tests.whole.manifests import steps
from tests.whole.observer import Trace
from tests.whole.stage import Stage, staged

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(300)]
REQUEST = json.dumps({"dataframe_split": {"columns": ["x"], "data": [[0.5]]}}).encode()
SCORES = {"1": 1.0, "2": 1.2, "3": 1.001}
"""What each version multiplies with."""
SPEC: dict[str, Any] = {
    "serving": {"replicas": 1, "capture": {"percent": 100, "tolerance": 0.01}},
    "shadow": {"percent": 100, "duration": "1s"},
    "ramp": {"steps": steps(50, 100)},
    "guardrails": [
        {"name": "same", "template": "disagreement-rate", "max": 0.05, "interval": "1s", "window": "4s", "minPasses": 2}
    ],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give a model of one column for each version."""
    home, data = tmp_path_factory.mktemp("compared"), pd.DataFrame({"x": np.linspace(0, 1, 20)})
    for version, score in SCORES.items():
        model = LinearRegression().fit(data, data["x"] * score)
        signature = infer_signature(data, model.predict(data))
        mlflow.sklearn.save_model(
            model, home / version, signature=signature, pip_requirements=[], serialization_format="cloudpickle"
        )
    return {version: home / version for version in SCORES}


CAPTURE = {
    "MODELRAMP_CAPTURE_PERCENT": "100",
    "MODELRAMP_CAPTURE_TOLERANCE": "0.01",
    "MODELRAMP_CAPTURE_ASKS": "copies",
}


def address(version: str) -> str:
    return f"127.78.0.{version}"


@contextmanager
def pods(models: dict[str, Path], ref: Ref, directory: Path) -> Iterator[None]:
    """Run a pod of each version; the name that leads to all pods is here the first one's address."""
    peers = {"MODELRAMP_CAPTURE_PEERS": f"{address('1')}:{SERVICE_PORT}"}
    with ExitStack() as stack:
        for version, model in models.items():
            identity = {"MODEL_NAME": f"fraud_detector.{ref.namespace}", "MODEL_VERSION": version}
            place = {"HOST": address(version), "PORT": str(SERVICE_PORT)}
            server = start(model, directory / f"v{version}.log", **identity, **place, **CAPTURE, **peers)
            assert server.process is not None
            stack.callback(server.process.wait)
            stack.callback(server.process.kill)
        for version in models:
            awaited(partial(says_ready, address(version)), f"v{version} is ready", 90)
        yield


def says_ready(at: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://{at}:{SERVICE_PORT}/ready", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@dataclass
class Scene:
    stage: Stage
    ref: Ref
    trace: Trace
    router: Router


@pytest.fixture
async def scene(
    defined_server: ApiServer, tmp_path: Path, prometheus: PrometheusServer, models: dict[str, Path]
) -> AsyncIterator[Scene]:
    """Give three versions that serve, scraped, and a router that is yet to be started."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(staged(defined_server, tmp_path))
        stage.environment = {"MODELRAMP_PROMETHEUS_URL": prometheus.url}
        ref = Ref(await stage.namespace(), "fraud")
        dns = await stack.enter_async_context(ClusterDns().serving())
        (tmp_path / "router").mkdir()
        router = Router(defined_server, ref, tmp_path / "router", dns)
        stage.kubelet.place = lambda _ref, _index: ("127.0.0.1", router.stats_port)
        await asyncio.to_thread(stack.enter_context, pods(models, ref, tmp_path))
        for version in models:
            dns.addresses[service_host(ref.namespace, ref.name, version)] = address(version)
            prometheus.scrape(f"{address(version)}:{SERVICE_PORT}", namespace=ref.namespace)
        trace = await stack.enter_async_context(stage.observed(ref.namespace))
        yield Scene(stage, ref, trace, router)


async def test_a_candidate_that_disagrees_in_the_shadow_never_answers_and_one_that_agrees_goes_on(scene: Scene) -> None:
    stage, ref, trace = scene.stage, scene.ref, scene.trace
    async with AsyncExitStack() as running:
        await running.enter_async_context(stage.operator(ref.namespace))
        await stage.create(ref, **SPEC)
        key = (ref.namespace, router_name(ref.name))
        await trace.until(lambda: key in stage.kubelet.deployments, f"the Deployment {key}", 60)
        await running.enter_async_context(scene.router.running())
        load = await running.enter_async_context(loading(scene.router.http, body=REQUEST))
        await trace.until_phase(ref, "Promoted", "1")
        await trace.until(lambda: answers(load)[-10:].count("1") == 10, "version 1 answers", 60)
        load.answers.clear()
        await can_find_each_other(stage, ref)

        await stage.pin(ref, "2")
        await trace.until_phase(ref, "RolledBack", "1", within=60)
        [state] = trace.status(ref)["guardrails"]
        assert (state["name"], state["verdict"], state["message"]) == ("same", "Fail", "1 is above max 0.05")
        assert all(not move.after.weight("2") for move in moves(trace, ref)), "it never had a live request"

        await stage.pin(ref, "3")
        await trace.until_phase(ref, "Promoted", "3", within=60)
        assert {"1", "3"} == set(answers(load))
    assert violations(trace, ref) == []


def answers(load: Load) -> list[str]:
    """Return which version gave each answer, or what came instead."""
    return [version_of(answer) for _, answer in load.answers]


def version_of(answer: str) -> str:
    try:
        [value] = json.loads(answer)["predictions"]
    except ValueError:
        return answer
    return min(SCORES, key=lambda version: abs(0.5 * SCORES[version] - value))


async def can_find_each_other(stage: Stage, ref: Ref) -> None:
    """Check that the operator has made what the pods of a cluster need for it."""
    deployment = await stage.admin.get(DEPLOYMENT, ref.namespace, f"{ref.name}-v1")
    [server] = deployment["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in server["env"]}
    assert CAPTURE.items() <= given.items()
    assert given["MODELRAMP_CAPTURE_PEERS"] == f"{ref.name}-peers.{ref.namespace}.svc:8080"
    service = await stage.admin.get(SERVICE, ref.namespace, f"{ref.name}-peers")
    assert service["spec"]["clusterIP"] == "None", "the name has every pod's address"
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
