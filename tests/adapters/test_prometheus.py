"""Instant queries over HTTP: what is sent, and how connections are used."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from modelramp.rollout.observation import Failed, Value
from tests.adapters.prometheus_peer import (
    answer,
    asking,
    document,
    hang,
    http,
    read_request,
    reset,
    saying,
    serving,
)


async def test_a_redirect_is_not_followed_and_no_cookie_is_kept() -> None:
    async with serving(saying(http(document()))) as other:
        away = http(
            b"", f"Location: {other.url}/api/v1/query", "Set-Cookie: session=1", status="307 Temporary Redirect"
        )
        async with serving(saying(away)) as peer, asking(peer.url) as metrics:
            readings = [await metrics.query("up") for _ in range(2)]
    assert [reading.reason for reading in readings if isinstance(reading, Failed)] == ["Redirected"] * 2
    assert not other.requests
    assert all(b"ookie" not in request for request in peer.requests)


async def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(saying(http(document("1")))) as proxy, serving(saying(http(document("2")))) as peer:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert await answer(peer) == Value(2)
    assert not proxy.requests


async def test_the_query_arrives_as_it_was_written() -> None:
    promql = 'sum(rate(x{a="é&+= %\\"\n"}[5m])) > 0 # 100%'
    async with serving(saying(http(document()))) as peer, asking(f"{peer.url}/prefix/") as metrics:
        await metrics.query(promql)
    head, _, form = peer.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /prefix/api/v1/query HTTP/1.1\r\n")
    assert parse_qs(form.decode())["query"] == [promql]


async def test_a_server_that_takes_no_post_is_asked_by_get_from_then_on() -> None:
    async def query(request: web.Request) -> web.Response:
        return web.Response(body=document(str(len(request.query["query"]))), content_type="application/json")

    application = web.Application()
    application.router.add_get("/api/v1/query", query)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with asking(f"http://127.0.0.1:{runner.addresses[0][1]}") as metrics:
        assert [await metrics.query(promql) for promql in ("a&b=é", "x" * 3000)] == [Value(5), Value(3000)]
    await runner.cleanup()


async def test_a_gateway_that_packs_every_answer_is_understood() -> None:
    async with serving(saying(http(gzip.compress(document()), "Content-Encoding: gzip"))) as peer:
        assert await answer(peer) == Value(0.25)
    async with serving(saying(http(zlib.compress(document()), "Content-Encoding: deflate"))) as peer:
        assert await answer(peer) == Value(0.25)


async def test_one_connection_serves_many_queries() -> None:
    async with serving(saying(http(document()))) as peer, asking(peer.url) as metrics:
        assert {await metrics.query("up") for _ in range(50)} == {Value(0.25)}
    assert (peer.connections, len(peer.requests)) == (1, 50)


async def test_many_queries_at_once_share_twenty_connections() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        await saying(http(document()))(reader, writer)

    async with serving(slow) as peer, asking(peer.url) as metrics:
        readings = await asyncio.gather(*(metrics.query("up") for _ in range(100)))
    assert set(readings) == {Value(0.25)}
    assert peer.connections == 20


async def test_a_kept_connection_that_the_server_closed_costs_no_answer() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await saying(http(document()))(reader, writer)
        await read_request(reader)
        writer.close()

    async with serving(once) as peer, asking(peer.url) as metrics:
        assert [await metrics.query("up") for _ in range(4)] == [Value(0.25)] * 4


async def test_a_server_that_resets_everything_is_asked_twice_and_no_more() -> None:
    async with serving(reset) as peer:
        assert isinstance(await answer(peer), Failed)
    assert peer.connections == 2


async def test_an_old_answer_from_a_cache_is_stale() -> None:
    old = document().replace(str(int(datetime.now(UTC).timestamp())).encode(), b"1700000000")
    async with serving(saying(http(old))) as peer:
        found = await answer(peer)
    assert isinstance(found, Failed)
    assert found.reason == "Stale"


async def test_half_of_a_surrogate_pair_is_refused_before_it_is_sent() -> None:
    async with serving(saying(http(document()))) as peer, asking(peer.url) as metrics:
        found = await metrics.query('up{a="\ud83d"}')
    assert found == Failed("QueryRefused", "the query holds half of a surrogate pair, which is no text")
    assert not peer.requests


async def test_a_query_that_is_cancelled_ends_its_connection() -> None:
    async with serving(hang) as peer, asking(peer.url) as metrics:
        query = asyncio.create_task(metrics.query("up"))
        await peer.asked.wait()
        query.cancel()
        with pytest.raises(asyncio.CancelledError):
            await query
        await asyncio.wait_for(peer.ended.wait(), 5)


async def test_it_asks_again_after_it_was_closed() -> None:
    async with serving(saying(http(document()))) as peer, asking(peer.url) as metrics:
        await metrics.query("up")
        await metrics.close()
        assert await metrics.query("up") == Value(0.25)
