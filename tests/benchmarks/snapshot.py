"""What the gates' look at a version costs at a local MLflow server: calls, and milliseconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.rollout.observation import Busy, Value
from tests.adapters.impostors import impostor, relay
from tests.benchmarks.figures import Figure, spread
from tests.mlflow_server import MlflowServer, register, shared_server

ROUNDS = 50
MOST_CALLS, LONGEST = 4, 100.0
WHAT = "snapshot for the gates: a version, its model's and its run's metrics and tags, the signature"


async def measure() -> list[Figure]:
    """Look at a registered version again and again."""
    server = await asyncio.to_thread(_with_a_version)
    calls = await _calls(server)
    async with _registry(server.uri) as registry:
        took = [await _look(registry) for _ in range(ROUNDS)]
    values = spread(took, "min", "median", "max")
    return [
        Figure(WHAT, "ms", values, ROUNDS, beat={"median": LONGEST}, raw=took),
        Figure("  calls of it", "", {"calls": calls}, beat={"calls": MOST_CALLS}),
    ]


def _with_a_version() -> MlflowServer:
    server, metrics = shared_server(), {f"metric_{number}": number / 20 for number in range(20)}
    register(server, "measured", run_metrics=metrics, model_metrics={"auc": 0.95}, dataset=("rows", "1a2b3c4d"))
    return server


async def _calls(server: MlflowServer) -> int:
    with impostor() as proxy:
        proxy.behave = relay(server.uri)
        async with _registry(f"http://127.0.0.1:{proxy.server.server_port}"):
            return len(proxy.requests)


@asynccontextmanager
async def _registry(uri: str) -> AsyncIterator[MlflowRegistry]:
    """Yield a registry that has looked once: its process runs."""
    registry = MlflowRegistry(uri, deadline=60)
    try:
        await _look(registry)
        yield registry
    finally:
        await registry.close()


async def _look(registry: MlflowRegistry) -> float:
    began = time.perf_counter()
    while isinstance(found := await registry.inspect("measured", "1"), Busy):
        pass
    assert isinstance(found, Value), found
    return (time.perf_counter() - began) * 1000
