"""Full reads: what they wait for, whom they wake, and how often they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from modelramp.adapters.kinds import MODEL_DEPLOYMENT, Kind, Object
from modelramp.adapters.kubernetes import Listing
from modelramp.adapters.store import Store
from modelramp.ports import Ref
from modelramp.relist import Relist
from modelramp.rollout.observation import Failed
from tests.loop.virtual_time import now, on_virtual_time

MISSING = Failed("NotListed", "GET /apis/modelramp.dev/v1alpha1/modeldeployments: 404 NotFound")


class ApiServer:
    """Lists by namespace, each with the version that the list was made at; `trouble` is answered instead."""

    def __init__(self, **lists: tuple[str, list[Object]]) -> None:
        self.lists, self.trouble = lists, False
        self.read_at: list[float] = []

    async def list(
        self, kind: Kind, namespace: str | None, selector: str, keep: Callable[[Object], Object]
    ) -> Listing | Failed:
        assert (kind, selector) == (MODEL_DEPLOYMENT, "app=x")
        self.read_at.append(now())
        if self.trouble:
            return MISSING
        version, objects = self.lists[namespace or "all"]
        return Listing(tuple(keep(obj) for obj in objects), version)

    def relist(self, *namespaces: str, store: Store | None = None) -> Relist:
        server: Any = self
        return Relist(server, store or Store(), (MODEL_DEPLOYMENT,), lambda _: "app=x", namespaces)


def an_object(namespace: str, name: str, version: str) -> Object:
    metadata = {"namespace": namespace, "name": name, "uid": name, "resourceVersion": version, "generation": 1}
    return {"kind": MODEL_DEPLOYMENT.name, "metadata": metadata, "spec": {}}


@on_virtual_time
async def test_the_first_read_is_tried_until_it_succeeds_and_the_trouble_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = ApiServer(all=("9", [an_object("a", "x", "5")]))
    server.trouble = True
    relist = server.relist()
    reading = asyncio.create_task(relist.until_complete())
    await asyncio.sleep(30.5)
    assert not reading.done()
    server.trouble = False
    await asyncio.sleep(1)
    assert reading.done()
    assert relist.store.refs() == [Ref("a", "x")]
    assert len(caplog.records) == 1
    assert "404" in caplog.text


@on_virtual_time
async def test_later_reads_come_again_and_again_and_wake_whom_a_watch_should_have_woken() -> None:
    server = ApiServer(all=("9", [an_object("a", "x", "5")]))
    woken: list[Ref] = []
    repaired: list[int] = []
    repeating = asyncio.create_task(server.relist().forever(timedelta(seconds=450), woken.append, repaired.append))
    await asyncio.sleep(3600)
    repeating.cancel()
    pauses = [later - earlier for earlier, later in zip([0.0, *server.read_at], server.read_at, strict=False)]
    assert all(450 * 0.67 <= pause <= 450 * 1.33 for pause in pauses)
    assert len(set(pauses)) == len(pauses), "without jitter all operators would read at a time"
    assert woken == [Ref("a", "x")]
    assert repaired == [1]


@on_virtual_time
async def test_a_read_that_fails_is_followed_by_the_next() -> None:
    server = ApiServer(all=("9", [an_object("a", "x", "5")]))
    server.trouble = True
    woken: list[Ref] = []
    repeating = asyncio.create_task(server.relist().forever(timedelta(seconds=10), woken.append, lambda _: None))
    await asyncio.sleep(60)
    assert woken == []
    server.trouble = False
    await asyncio.sleep(15)
    repeating.cancel()
    assert woken == [Ref("a", "x")]


@on_virtual_time
async def test_what_is_newer_than_the_oldest_of_several_lists_is_not_taken_for_gone() -> None:
    store = Store()
    store.put(MODEL_DEPLOYMENT, an_object("b", "just-made", "15"))
    store.put(MODEL_DEPLOYMENT, an_object("b", "long-gone", "7"))
    server = ApiServer(a=("10", []), b=("20", []))
    assert await server.relist("a", "b", store=store).once() == {Ref("b", "long-gone")}
    assert store.refs() == [Ref("b", "just-made")]
