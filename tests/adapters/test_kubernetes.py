"""Calls to API servers that are slow, busy, away or talkative: every fault is a value that keeps secrets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from modelramp.adapters.kinds import CONFIG_MAP
from modelramp.adapters.kubernetes import Answer, Cluster, Listing, Missing, Reply
from modelramp.ports import Conflict
from modelramp.rollout.observation import Failed
from tests.adapters.real import RealCluster

TOKEN = "very-secret-token"
GOOD = {"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default", "resourceVersion": "1"}}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Impostor:
    """Answers as it is told, in order, and remembers what it was asked."""

    answers: list[Handler]
    asked: list[web.Request] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        return await self.answers[min(len(self.asked), len(self.answers)) - 1](request)


def say(status: int, document: object = None, **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=json.dumps(document), headers=given)

    return handler


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(300):
        await response.write(b" ")
        await asyncio.sleep(0.1)
    return response


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def asked(*answers: Handler, deadline: float = 1.0) -> AsyncIterator[tuple[Cluster, Impostor]]:
    """Run an impostor and a client of it."""
    impostor = Impostor(list(answers))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", impostor.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    configuration = Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    configuration.api_key["BearerToken"] = f"Bearer {TOKEN}"
    cluster = Cluster(configuration, deadline=deadline)
    try:
        yield cluster, impostor
    finally:
        await cluster.close()
        await runner.cleanup()


async def get(*answers: Handler, deadline: float = 1.0) -> Answer:
    async with asked(*answers, deadline=deadline) as (cluster, _):
        return await cluster.get(CONFIG_MAP, "default", "a")


@pytest.mark.parametrize("handler", [hang, drip])
async def test_a_call_ends_within_its_deadline(handler: Handler) -> None:
    async with asked(handler, deadline=0.5) as (cluster, _):
        begin = asyncio.get_running_loop().time()
        answer = await cluster.get(CONFIG_MAP, "default", "a")
        assert asyncio.get_running_loop().time() - begin < 1.0
    path = "/api/v1/namespaces/default/configmaps/a"
    assert answer == Failed("Timeout", f"GET {path}: no answer within 0.5 s")


async def test_a_busy_server_is_asked_once_more_when_it_said() -> None:
    async with asked(say(429, {}, Retry_After="0"), say(200, GOOD)) as (cluster, impostor):
        assert await cluster.get(CONFIG_MAP, "default", "a") == Reply(GOOD)
        assert len(impostor.asked) == 2


async def test_a_server_that_stays_busy_is_not_asked_a_third_time() -> None:
    busy = {"reason": "TooManyRequests", "message": "slow down"}
    async with asked(say(429, busy, Retry_After="0")) as (cluster, impostor):
        answer = await cluster.get(CONFIG_MAP, "default", "a")
        assert isinstance(answer, Failed)
        assert answer.reason == "TooManyRequests"
        assert len(impostor.asked) == 2


async def test_a_wait_that_is_too_long_is_bounded_by_the_deadline() -> None:
    answer = await get(say(429, {}, Retry_After="3600"), deadline=0.3)
    assert isinstance(answer, Failed)
    assert answer.reason == "Timeout"


async def test_a_connection_that_breaks_is_tried_once_more() -> None:
    async with asked(cut, say(200, GOOD)) as (cluster, _):
        body = {"data": {"weight.v8": "0"}}
        assert await cluster.patch(CONFIG_MAP, "default", "a", body) == Reply(GOOD)
    assert await get(cut) == Failed(
        "Unreachable", "GET /api/v1/namespaces/default/configmaps/a: ServerDisconnectedError"
    )


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (404, Missing, ""),
        (409, Conflict, ""),
        (401, Failed, "Unauthorized"),
        (403, Failed, "Forbidden"),
        (500, Failed, "InternalError"),
        (503, Failed, "ServiceUnavailable"),
    ],
)
async def test_each_refusal_is_a_value_of_its_own(status: int, kind: type, reason: str) -> None:
    answer = await get(say(status, {"kind": "Status", "reason": reason, "message": "said so"}))
    assert isinstance(answer, kind)
    assert getattr(answer, "reason", "") == reason
    assert "said so" in answer.message  # type: ignore[union-attr]


async def test_a_redirect_or_a_page_of_html_is_no_answer() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>please log in</html>", content_type="text/html")

    answer = await get(page)
    assert isinstance(answer, Failed)
    assert (answer.reason, "html" in answer.message) == ("Malformed", False)


async def test_no_message_repeats_a_value_or_the_token() -> None:
    whole = json.dumps({"data": {"password": "hunter2"}})
    refusal = {"reason": "Invalid", "message": f'"" is invalid: patch: Invalid value: {json.dumps(whole)}: cannot'}
    refusal |= {"details": {"causes": [{"field": "patch"}]}}
    for said in (refusal, {"reason": "Invalid", "message": "x" * 5000, "details": {"causes": [{"field": "a"}]}}):
        answer = await get(say(422, said))
        assert isinstance(answer, Failed)
        assert "hunter2" not in answer.message
        assert TOKEN not in answer.message
        assert len(answer.message) < 400


async def test_the_token_goes_where_it_belongs() -> None:
    async with asked(say(200, GOOD)) as (cluster, impostor):
        await cluster.get(CONFIG_MAP, "default", "a")
        assert impostor.asked[0].headers["Authorization"] == f"Bearer {TOKEN}"


async def test_a_list_is_read_to_its_last_page() -> None:
    def page(name: str, following: str) -> Handler:
        metadata = {"resourceVersion": "7", "continue": following}
        return say(200, {"metadata": metadata, "items": [{"metadata": {"name": name}}]})

    async with asked(page("a", "next"), page("b", "")) as (cluster, impostor):
        listing = await cluster.list(CONFIG_MAP, None, "x=y")
        assert isinstance(listing, Listing)
        assert [item["metadata"]["name"] for item in listing.items] == ["a", "b"]
        assert impostor.asked[1].query["continue"] == "next"
        assert impostor.asked[1].query["labelSelector"] == "x=y"


async def test_a_list_that_breaks_off_is_no_list() -> None:
    first = say(200, {"metadata": {"resourceVersion": "7", "continue": "next"}, "items": []})
    async with asked(first, say(410, {"reason": "Expired", "message": "too old"})) as (cluster, _):
        listing = await cluster.list(CONFIG_MAP)
        assert isinstance(listing, Failed)
        assert listing.reason == "Expired"


async def test_every_call_is_counted() -> None:
    calls: list[tuple[str, str, int]] = []
    configuration = Configuration(host="http://127.0.0.1:9")
    cluster = Cluster(configuration, on_call=lambda method, plural, status, _: calls.append((method, plural, status)))
    await cluster.get(CONFIG_MAP, "default", "a")
    await cluster.close()
    assert calls == [("GET", "configmaps", 0)]


@pytest.mark.apiserver
async def test_a_json_patch_whose_test_fails_is_a_conflict_and_an_invalid_object_is_not(real: RealCluster) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": real.namespace}}
    assert isinstance(await real.cluster.create(config_map), Reply)
    assert isinstance(await real.cluster.create(config_map), Conflict)

    async def patch(*operations: dict[str, object]) -> Answer:
        return await real.cluster.patch(CONFIG_MAP, real.namespace, "a", list(operations))

    for path, value in (("/metadata/uid", "other"), ("/metadata/annotations/none", "1"), ("/data/weight.v8", "1")):
        assert isinstance(await patch({"op": "test", "path": path, "value": value}), Conflict)
    invalid = await patch({"op": "add", "path": "/data", "value": {"not/a/key": "1"}})
    assert isinstance(invalid, Failed)
    assert invalid.reason == "Invalid"


@pytest.mark.apiserver
async def test_a_user_without_rights_is_told_which(real: RealCluster) -> None:
    nobody = real.server.mint("nobody")
    cluster = await Cluster.connect(Path(nobody.kubeconfig))
    answer = await cluster.get(CONFIG_MAP, real.namespace, "a")
    await cluster.close()
    assert isinstance(answer, Failed)
    assert answer.reason == "Forbidden"
    assert 'User "nobody" cannot get resource "configmaps"' in answer.message
    assert nobody.token not in answer.message
