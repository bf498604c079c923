"""Whole operator processes, `modelramp run`, on a real API server: who leads, who may be restarted, how they end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.kinds import LEASE, MODEL_DEPLOYMENT
from modelramp.adapters.store import Store
from modelramp.handlers import Watches
from tests.adapters.real import install_definition
from tests.controlplane import running_api_server
from tests.controlplane.supervised import free_port
from tests.loop.live import Namespace, a_model_deployment, until, wired

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens


@dataclass
class Operator:
    """One `modelramp run`, as its logs, its probes and its end show it."""

    process: asyncio.subprocess.Process
    port: int
    session: aiohttp.ClientSession
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(json.loads(line))

    def said(self, text: str) -> bool:
        return any(text in line["message"] for line in self.lines)

    async def get(self, path: str) -> tuple[int, str]:
        try:
            async with self.session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError as away:
            return 0, str(away)

    async def metric(self, metric: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels, 0 while nothing answers."""
        status, text = await self.get("/metrics")
        if status != 200:
            return 0.0
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(s.value for s in samples if s.name == metric and labels.items() <= s.labels.items())

    async def leads(self) -> bool:
        return await self.metric("modelramp_leader") == 1

    async def is_ready(self) -> bool:
        return (await self.get("/readyz"))[0] == 200

    async def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit code and how long the end took."""
        began = asyncio.get_running_loop().time()
        self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), 20)
        return code, asyncio.get_running_loop().time() - began


@asynccontextmanager
async def operating(namespace: Namespace, kubeconfig: Path | None = None, **more: str) -> AsyncIterator[Operator]:
    """Run an operator for one namespace; it is killed in the end if it still runs."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "operator"),
        "KUBECONFIG": str(kubeconfig or namespace.server.kubeconfig),
        "MODELRAMP_NAMESPACES": namespace.name,
        "MODELRAMP_LEASE_NAMESPACE": namespace.name,
        "MODELRAMP_PROMETHEUS_URL": NOBODY,
        "MLFLOW_TRACKING_URI": NOBODY,
        "MODELRAMP_PROBE_PORT": str(port),
        "POD_NAME": f"operator-{port}",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "modelramp", "run", env=environment | more, stderr=asyncio.subprocess.PIPE
    )
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session:
        operator = Operator(process, port, session)
        reading = asyncio.create_task(operator.read_log())
        try:
            yield operator
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading
            print(*operator.lines, sep="\n")  # pytest shows it where the test fails


def holder(namespace: Namespace) -> str:
    return str(namespace.read(LEASE, "modelramp")["spec"]["holderIdentity"])


async def test_a_process_leads_is_ready_and_ends_well_when_told(namespace: Namespace) -> None:
    async with operating(namespace) as operator:
        await until(operator.leads, "it leads")
        await until(operator.is_ready, "it is ready")
        assert (await operator.get("/healthz"))[0] == 200
        assert (await asyncio.to_thread(holder, namespace)).startswith(f"operator-{operator.port}_")
        code, seconds = await operator.end()
        assert code == 0
        assert seconds < 10
        assert await asyncio.to_thread(holder, namespace) == "", "the next one need not wait"


async def test_an_object_gets_its_turns_and_then_nothing_is_written(namespace: Namespace) -> None:
    async with operating(namespace) as operator:
        await until(operator.leads, "it leads")
        await until(operator.is_ready, "it is ready")
        await asyncio.to_thread(namespace.create, MODEL_DEPLOYMENT, a_model_deployment())

        async def judged() -> bool:
            status = (await asyncio.to_thread(namespace.read, MODEL_DEPLOYMENT, "fraud-detector"))["status"]
            return status.get("observedGeneration") == 1 and status["reason"].startswith("Registry")

        await until(judged, "the registry is away, and the status says so")
        version = namespace.read(MODEL_DEPLOYMENT, "fraud-detector")["metadata"]["resourceVersion"]
        turns = await operator.metric("modelramp_turn_seconds_count")

        async def looked_again() -> bool:
            return await operator.metric("modelramp_turn_seconds_count") >= turns + 2

        await until(looked_again, "two more looks")
        assert namespace.read(MODEL_DEPLOYMENT, "fraud-detector")["metadata"]["resourceVersion"] == version
        assert await operator.metric("modelramp_rollout_info", name="fraud-detector", phase="Gating") == 1
        assert await operator.metric("modelramp_turns_failing") == 0


async def test_a_follower_is_ready_shows_metrics_and_leads_once_the_leader_ends(namespace: Namespace) -> None:
    async with operating(namespace) as leader:
        await until(leader.leads, "the first leads")
        async with operating(namespace) as follower:
            await until(follower.is_ready, "the second is ready")
            assert not await follower.leads()
            assert await follower.metric("process_resident_memory_bytes") > 0
            assert (await leader.end())[0] == 0
            assert await until(follower.leads, "the second leads") < 5
            await until(follower.is_ready, "and has read everything")


async def test_who_lost_the_lease_ends_at_once_and_not_well(namespace: Namespace) -> None:
    async with operating(namespace) as operator:
        await until(operator.leads, "it leads")
        await asyncio.to_thread(namespace.merge, LEASE, "modelramp", {"spec": {"holderIdentity": "another"}})
        assert await asyncio.wait_for(operator.process.wait(), 15) == 1
        assert await asyncio.to_thread(holder, namespace) == "another"
    assert operator.said("the Lease is lost to another")


async def test_a_container_that_is_killed_and_restarted_leads_on_without_a_wait(namespace: Namespace) -> None:
    pod = {"POD_NAME": "operator-0", "POD_UID": "6b1f0c5e"}
    async with operating(namespace, **pod) as first:
        await until(first.leads, "it leads")
        await first.end(signal.SIGKILL)
    async with operating(namespace, **pod) as again:
        await until(lambda: again.said("standing by"), "it is up")
        assert await until(again.leads, "it leads") < 3


@pytest.mark.slow
async def test_a_killed_leader_is_followed_by_another(namespace: Namespace) -> None:
    async with operating(namespace) as leader, operating(namespace) as other:
        await until(leader.is_ready, "the first is up")
        await until(other.is_ready, "the second is up")
        first, second = (leader, other) if await leader.leads() else (other, leader)
        await first.end(signal.SIGKILL)
        assert await until(second.leads, "the other leads") < 25


@pytest.mark.slow
async def test_an_outage_of_the_api_server_ends_nothing_but_the_right_to_write(
    namespace: Namespace, tmp_path: Path
) -> None:
    async with wired(namespace.server, tmp_path) as wire, operating(namespace, wire.kubeconfig) as operator:
        await until(operator.leads, "it leads")
        await until(operator.is_ready, "it is ready")
        wire.cut()

        async def stopped() -> bool:
            return not await operator.leads()

        await until(stopped, "no write any more")
        await asyncio.to_thread(namespace.server.restart)
        await asyncio.to_thread(namespace.create, MODEL_DEPLOYMENT, a_model_deployment())
        wire.mend()
        assert await until(operator.leads, "it leads on") < 5

        async def seen() -> bool:
            status = (await asyncio.to_thread(namespace.read, MODEL_DEPLOYMENT, "fraud-detector"))["status"]
            return bool(status.get("observedGeneration") == 1)

        await until(seen, "what came meanwhile gets its turn")
        assert operator.process.returncode is None


@pytest.mark.slow
async def test_without_the_definition_it_waits_and_says_what_is_missing() -> None:
    with running_api_server() as server:
        namespace = Namespace(server)
        with pytest.raises(RuntimeError, match="does not offer all of modeldeployments"):
            await watching_alone(namespace)
        async with operating(namespace) as operator:
            await until(lambda: operator.said("waiting for the first full read"), "the complaint")
            assert (await operator.get("/readyz"))[0] == 503
            assert (await operator.get("/healthz"))[0] == 200, "a restart would not help"
            await asyncio.to_thread(install_definition, server)
            await until(operator.is_ready, "it goes on by itself")
            await asyncio.to_thread(namespace.create, MODEL_DEPLOYMENT, a_model_deployment())

            async def seen() -> bool:
                return await operator.metric("modelramp_rollout_info", name="fraud-detector") == 1

            await until(seen, "the first object")
            assert (await operator.end())[0] == 0


async def watching_alone(namespace: Namespace) -> None:
    """Watch without the full read that sees to it that the definition is there."""
    kubeconfig, clock = namespace.server.kubeconfig, SystemClock()
    watches = Watches(Store(), lambda *_: None, clock, kubeconfig, (namespace.name,))
    await watches.run(asyncio.Event(), lambda: None)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MODELRAMP_PROBE_PORT", "http", "MODELRAMP_PROBE_PORT: 'http': must be a port"),
        ("KUBECONFIG", "/no/such/file", "KUBECONFIG: '/no/such/file': must be a kubeconfig file"),
        ("MLFLOW_TRACKING_URI", "", "MLFLOW_TRACKING_URI is not set"),
    ],
)
async def test_a_wrong_variable_ends_it_before_it_starts(variable: str, value: str, said: str) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "operator"),
        "MODELRAMP_PROMETHEUS_URL": NOBODY,
        "MLFLOW_TRACKING_URI": NOBODY,
        "MODELRAMP_LEASE_NAMESPACE": "x",
        variable: value,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "modelramp", "run", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.decode().startswith(f"modelramp: {said}")
