"""What a query costs: 50 objects that are asked about every second must not be felt."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.connection import Connection

import pytest

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.prometheus import PrometheusMetrics
from modelramp.rollout.observation import Value
from modelramp.rollout.queries import render
from modelramp.rollout.templates import ROUTER
from tests.adapters.prometheus_peer import document, http, saying, serving

QUERY = render(ROUTER["error-rate"].query, {"backend": "default_fraud-detector-v8", "window": timedelta(minutes=1)})


def serve(told: Connection) -> None:
    """Answer for ever, in a process of its own, so that its cost is not counted."""

    async def answer() -> None:
        async with serving(saying(http(document()))) as peer:
            told.send(peer.url)
            await asyncio.Event().wait()

    asyncio.run(answer())


@pytest.fixture
def url() -> Iterator[str]:
    told, telling = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(telling,), daemon=True)
    process.start()
    yield told.recv()
    process.kill()
    process.join()


@pytest.mark.parametrize("at_once", [1, 50])
async def test_a_query_costs_less_than_a_millisecond_of_cpu(url: str, at_once: int) -> None:
    metrics = PrometheusMetrics(url, SystemClock())
    await metrics.query(QUERY)
    began, asked = time.process_time(), 0
    while asked < 500:
        readings = await asyncio.gather(*(metrics.query(QUERY) for _ in range(at_once)))
        assert set(readings) == {Value(0.25)}
        asked += at_once
    microseconds = (time.process_time() - began) / asked * 1e6
    await metrics.close()
    print(f"{microseconds:.0f} µs of CPU per query, {at_once} at once")
    assert microseconds < 1000
