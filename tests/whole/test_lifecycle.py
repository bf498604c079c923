"""The whole life on real parts: API server, MLflow, Prometheus, Envoy with its follower, requests all the time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelramp.ports import Ref
from modelramp.router.podspec import router_name
from tests.controlplane import ApiServer
from tests.mlflow_server import MlflowServer, register
from tests.prometheus_server import PrometheusServer
from tests.whole.data_path import Load, Router, Version, loading, serving_versions
from tests.whole.dns import ClusterDns
from tests.whole.invariants import moves, violations
from tests.whole.observer import Trace
from tests.whole.stage import Stage, staged
from tests.whole.test_edits import roll_back_by_hand

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MODEL = "whole_life"


def plan(version: str) -> dict[str, Any]:
    """Return a spec whose guardrail is the built-in one, on what Prometheus scrapes from Envoy."""
    errors = {"name": "errors", "template": "error-rate", "max": 0.05, "interval": "1s", "window": "4s", "minPasses": 2}
    return {
        "model": {"name": MODEL, "version": version},
        "serving": {"replicas": 1},
        "gates": {
            "metrics": [{"metric": "auc", "min": 0.9}, {"metric": "auc", "maxDrop": 0.01, "compareOn": "AnyDataset"}]
        },
        "shadow": {"percent": 100, "duration": "2s", "minRequests": 50},
        "ramp": {"steps": [{"weight": weight, "hold": "2s"} for weight in (1, 10, 50, 100)]},
        "guardrails": [errors],
        "traffic": {"configMap": {"routerReplicas": 1}},
    }


@dataclass
class Life:
    """Everything in it."""

    stage: Stage
    ref: Ref
    trace: Trace
    router: Router
    versions: dict[str, Version]

    async def until_all_served_by(self, load: Load, version: str, within: float = 10.0) -> None:
        """Wait until thirty answers in a row are of one version."""

        def served() -> bool:
            newest = load.answers[-30:]
            return len(newest) == 30 and {answer for _, answer in newest} == {version}

        await self.trace.until(served, lambda: f"v{version} serves all: {Counter(load.since(0.0))}", within)


@pytest.fixture
async def life(
    defined_server: ApiServer, tmp_path: Path, mlflow_server: MlflowServer, prometheus: PrometheusServer
) -> AsyncIterator[Life]:
    """Give three registered versions with a server each, and a router that is yet to be started."""
    for auc in (0.93, 0.95, 0.96):
        register(mlflow_server, MODEL, model_metrics={"auc": auc})
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(staged(defined_server, tmp_path))
        stage.environment = {"MLFLOW_TRACKING_URI": mlflow_server.uri, "MODELRAMP_PROMETHEUS_URL": prometheus.url}
        ref = Ref(await stage.namespace(), "fraud")
        dns = await stack.enter_async_context(ClusterDns().serving())
        (tmp_path / "router").mkdir()
        router = Router(defined_server, ref, tmp_path / "router", dns)
        stage.kubelet.place = lambda _ref, _index: ("127.0.0.1", router.stats_port)
        try:
            versions = await stack.enter_async_context(serving_versions(dns, ref, "1", "2", "3"))
        except PermissionError:
            pytest.skip("needs the right to listen on port 80 of the loopback, as Services do")
        trace = await stack.enter_async_context(stage.observed(ref.namespace))
        prometheus.scrape(f"127.0.0.1:{router.stats_port}/stats/prometheus")
        yield Life(stage, ref, trace, router, versions)


async def test_a_whole_life_on_real_parts(life: Life) -> None:
    async with AsyncExitStack() as running:
        async with life.stage.operator(life.ref.namespace) as operator:
            load = await begin(life, running)
            await promote_the_second(life, load)
            await lose_the_third(life, load)
            await back_by_the_pin(life, load)
            assert await operator.terminate() == 0
        await back_by_hand_with_nobody_there(life, load)
        async with life.stage.operator(life.ref.namespace, name="b"):
            await life.trace.until_phase(life.ref, "RolledBack", "2", within=30)
            await asyncio.sleep(2.0)
            assert life.trace.weights(life.ref) == {"2": 100}, "it keeps that decision"
        failed = Counter(answer for answer in load.since(0.0) if answer not in ("1", "2", "500 from 3"))
        assert not failed, f"no request fails but those that version 3 fails: {failed}"
        print(f"{len(load.answers)} requests; {len(life.versions['3'].live)} met version 3")
    assert violations(life.trace, life.ref, hands=True) == []


async def begin(life: Life, running: AsyncExitStack) -> Load:
    """Roll the first version out; its router runs once the operator has made its rights and its Deployment."""
    await life.stage.create(life.ref, **plan("1"))
    key = (life.ref.namespace, router_name(life.ref.name))
    await life.trace.until(lambda: key in life.stage.kubelet.deployments, f"the Deployment {key}", 60)
    await running.enter_async_context(life.router.running())
    load = await running.enter_async_context(loading(life.router.http))
    await life.trace.until_phase(life.ref, "Promoted", "1")
    await life.until_all_served_by(load, "1", within=20)
    load.answers.clear()
    return load


async def promote_the_second(life: Life, load: Load) -> None:
    """Gates, shadow, 1, 10, 50, 100 %."""
    await life.stage.pin(life.ref, "2")
    await life.trace.until_phase(life.ref, "Promoted", "2", within=90)
    await life.until_all_served_by(load, "2")
    shares = [move.after.weight("2") for move in moves(life.trace, life.ref) if move.after.weight("2")]
    assert shares == [1, 10, 50, 100]
    assert life.versions["2"].copies >= 50


async def lose_the_third(life: Life, load: Load) -> None:
    """It passes gates and shadow, and fails everybody who meets it."""
    life.versions["3"].broken = True
    await life.stage.pin(life.ref, "3")
    await life.trace.until_phase(life.ref, "RolledBack", "2", within=90)
    await life.until_all_served_by(load, "2")
    served = life.versions["3"].live
    back = next(move for move in reversed(moves(life.trace, life.ref)) if move.before.weight("3"))
    print(
        f"version 3: {served[-1] - served[0]:.2f} s from its first failure to its last, at {back.before.weight('3')} %;"
    )
    print(f"  {served[-1] - back.revision.at:+.3f} s from the stored zero to its last")
    assert served[-1] - back.revision.at < 1.0
    assert served[-1] - served[0] < 20.0


async def back_by_the_pin(life: Life, load: Load) -> None:
    """One write."""
    before = len(moves(life.trace, life.ref))
    await life.stage.pin(life.ref, "1")
    await life.trace.until_phase(life.ref, "Promoted", "1")
    await life.until_all_served_by(load, "1")
    assert [dict(move.after.weights) for move in moves(life.trace, life.ref)[before:]] == [{"1": 100}]


async def back_by_hand_with_nobody_there(life: Life, load: Load) -> None:
    """Traffic moves though no operator runs: the router follows its ConfigMap itself."""
    await roll_back_by_hand(life.stage, life.ref, to="2", of="1")
    moved = time.monotonic()
    await life.until_all_served_by(load, "2", within=5.0)
    last = max(at for at, answer in load.answers if answer == "1")
    print(f"by hand, no operator: {last - moved:+.3f} s to the last answer of version 1")
