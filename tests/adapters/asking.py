"""Asking an adapter of the registry, as the loop does: again and again while it is busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.rollout.observation import Busy, Failed, ModelVersion, Reading, Value
from tests.mlflow_server import MlflowServer

DEADLINE = 3.0
"""Seconds after which the adapters of these tests give a call up."""
LATE = 1.5
"""What a busy machine may add."""
SECRETS = ("hunter2", "t0ken", "body-of-the-answer")
PAGE = b"<html><body>body-of-the-answer</body></html>"


async def awake(registry: MlflowRegistry) -> None:
    """Ask until the worker has started."""
    async with asyncio.timeout(60):
        while isinstance(await registry.resolve("nobody", "1"), Busy):
            pass


async def settled(registry: MlflowRegistry, name: str, version: str = "1") -> Reading[ModelVersion]:
    """Ask until the files are hashed."""
    async with asyncio.timeout(60):
        while isinstance(answer := await registry.resolve(name, version), Busy):
            pass
        return answer


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


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what is awaited happens in another process
            await asyncio.sleep(0.01)


async def in_a_moment(registry: MlflowRegistry, name: str) -> Reading[ModelVersion] | Busy:
    begin = time.monotonic()
    reading = await registry.resolve(name, "1")
    assert time.monotonic() - begin < 1 + LATE
    return reading


async def failure(registry: MlflowRegistry, name: str = "fraud_detector") -> Failed:
    """Ask until there is an answer: none keeps the asker for long, and the last comes by the deadline."""
    begin = time.monotonic()
    while isinstance(reading := await in_a_moment(registry, name), Busy):
        pass
    assert time.monotonic() - begin < DEADLINE + LATE
    assert isinstance(reading, Failed), reading
    assert not [secret for secret in SECRETS if secret in reading.message]
    assert "127.0.0.1" in reading.message
    return reading
