"""Which namespaces are served: one that may not be read keeps no other from being served."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from modelramp.adapters.kinds import MODEL_DEPLOYMENT, Kind
from modelramp.adapters.kubernetes import Listing
from modelramp.rollout.observation import Failed
from modelramp.territory import Territory
from tests.loop.virtual_time import now, on_virtual_time

EVERY = timedelta(seconds=450)


class ApiServer:
    """Lets nobody read what is closed; of what is away it says nothing."""

    def __init__(self, closed: set[str]) -> None:
        self.closed, self.away = closed, set[str]()

    async def list(self, kind: Kind, namespace: str) -> Listing | Failed:
        assert kind is MODEL_DEPLOYMENT
        if namespace in self.closed:
            return Failed("Forbidden", f"403 in {namespace}")
        return Failed("Timeout", "no answer") if namespace in self.away else Listing((), "9")

    def territory(self, *namespaces: str) -> Territory:
        server: Any = self
        return Territory(server, namespaces)


@on_virtual_time
async def test_a_namespace_that_may_not_be_read_is_named_and_the_others_are_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await ApiServer({"gone"}).territory("shop", "gone").until_open() == ("shop",)
    assert [record.message for record in caplog.records] == [
        "namespace gone is not served until its objects can be read: 403 in gone"
    ]


@on_virtual_time
async def test_all_namespaces_at_once_are_never_asked_for_one_by_one() -> None:
    assert await ApiServer({"gone"}).territory().until_open() == ()


@on_virtual_time
async def test_an_api_server_that_forbids_everything_for_a_moment_closes_nothing() -> None:
    server = ApiServer({"shop"})
    opening = asyncio.create_task(server.territory("shop", "bank").until_open())
    await asyncio.sleep(1)
    server.closed.clear()
    assert await opening == ("shop", "bank")


@on_virtual_time
async def test_what_does_not_answer_is_waited_for_and_not_passed_over() -> None:
    server = ApiServer(set())
    server.away.add("shop")
    assert await server.territory("shop", "bank").until_open() == ("shop", "bank")


@on_virtual_time
async def test_with_nothing_to_serve_it_waits_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    server = ApiServer({"shop"})
    opening = asyncio.create_task(server.territory("shop").until_open())
    await asyncio.sleep(30)
    assert not opening.done()
    assert len(caplog.records) == 1
    server.closed.clear()
    assert await opening == ("shop",)


@on_virtual_time
async def test_a_namespace_that_comes_back_is_noticed_within_about_a_minute() -> None:
    server = ApiServer({"bank"})
    changing = asyncio.create_task(server.territory("shop", "bank").until_changed(("shop",), EVERY))
    await asyncio.sleep(300)
    assert not changing.done()
    server.closed.clear()
    began = now()
    await changing
    assert now() - began <= 65


@on_virtual_time
async def test_a_namespace_that_goes_is_noticed_and_one_that_flickers_is_not() -> None:
    server = ApiServer(set())
    changing = asyncio.create_task(server.territory("shop", "bank").until_changed(("shop", "bank"), EVERY))
    await asyncio.sleep(449)
    server.closed.add("bank")
    await asyncio.sleep(2)
    server.closed.clear()
    await asyncio.sleep(1000)
    assert not changing.done()
    server.closed.add("bank")
    await changing


@on_virtual_time
async def test_nothing_to_serve_at_all_ends_nothing() -> None:
    server = ApiServer({"shop"})
    changing = asyncio.create_task(server.territory("shop").until_changed(("shop",), EVERY))
    await asyncio.sleep(3600)
    assert not changing.done()
    changing.cancel()
