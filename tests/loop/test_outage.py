"""The API server goes away and comes back: when it is asked, and when the loop is told."""

from __future__ import annotations

import asyncio

import pytest

from modelramp.outage import Outage
from tests.loop.virtual_time import now, on_virtual_time


class ApiServer:
    """Answers from a moment on; what was asked and told is written down."""

    def __init__(self, back_at: float) -> None:
        self.back_at = back_at
        self.asked: list[float] = []
        self.told: list[float] = []

    async def answers(self) -> bool:
        self.asked.append(now())
        return now() >= self.back_at

    def outage(self) -> Outage:
        return Outage(self.answers, lambda: self.told.append(now()))


@pytest.mark.parametrize("code", [0, 502, 503, 504])
@on_virtual_time
async def test_its_return_is_told_once_and_within_half_a_second(code: int) -> None:
    server = ApiServer(back_at=20.2)
    outage = server.outage()
    for _ in range(50):
        outage.noted("PATCH", "configmaps", code, 0.1)
    await asyncio.sleep(100)
    assert server.told == [20.5]
    assert len(server.asked) == 41


@pytest.mark.parametrize("code", [200, 201, 404, 409, 422, 429, 500])
@on_virtual_time
async def test_a_server_that_answers_is_not_away(code: int) -> None:
    server = ApiServer(back_at=0)
    server.outage().noted("PATCH", "configmaps", code, 0.1)
    await asyncio.sleep(100)
    assert (server.asked, server.told) == ([], [])


@on_virtual_time
async def test_a_server_that_comes_and_goes_is_asked_less_and_less_often() -> None:
    server = ApiServer(back_at=0)
    outage = server.outage()
    for _ in range(400):
        outage.noted("PATCH", "configmaps", 0, 0.1)
        await asyncio.sleep(0.25)
    pauses = [round(later - earlier, 2) for earlier, later in zip(server.told, server.told[1:], strict=False)]
    assert pauses == sorted(pauses)
    assert 8 <= pauses[-1] <= 8.25


@on_virtual_time
async def test_after_a_calm_time_it_is_asked_quickly_again() -> None:
    server = ApiServer(back_at=0)
    outage = server.outage()
    for begin in (0, 1, 2, 100):
        await asyncio.sleep(max(0.0, begin - now()))
        outage.noted("PATCH", "configmaps", 0, 0.1)
    await asyncio.sleep(50)
    assert server.told[-1] == 100.5


@on_virtual_time
async def test_a_process_that_ends_asks_no_more() -> None:
    server = ApiServer(back_at=1000)
    outage = server.outage()
    outage.noted("PATCH", "configmaps", 0, 0.1)
    await asyncio.sleep(2.1)
    outage.stop()
    asked = len(server.asked)
    await asyncio.sleep(100)
    assert len(server.asked) == asked
