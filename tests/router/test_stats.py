"""What is read from one router pod, and what is said when it cannot be read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from modelramp.router.admin import Failure, Unreadable
from modelramp.router.render import Backend, render_config_map
from modelramp.router.stats import RouterEffect, read_effect
from tests.router.rig import NAME, NAMESPACE, eventually, free_port, rigged

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def test_the_effect_is_what_envoy_itself_says(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 90, "8": 10}, {"8": 0})) as rig:
        answers = await rig.shares(400)
        assert rig.envoy is not None
        effect = await read_effect(rig.session, rig.envoy.stats)
        assert isinstance(effect, RouterEffect)
        assert effect.weights == {"7": 90, "8": 10}
        assert effect.mirror == {"7": 0, "8": 0}
        assert effect.requests == {"7": answers["7"], "8": answers["8"]}
        assert effect.responses["7"] == {"2xx": answers["7"]}
        assert effect.active == {"7": 0, "8": 0}
        assert effect.rejected == 0
        data = rig.data({"7": 90, "8": 10})
        assert f"version_info: {effect.rds_version}\n" in data["rds.yaml"]
        assert f"version_info: {effect.cds_version}\n" in data["cds.yaml"]


async def test_a_version_that_takes_no_connection_is_told_from_one_that_does(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0})) as rig:
        assert rig.envoy is not None
        stats = rig.envoy.stats
        nowhere = Backend("9", "127.0.0.1", free_port())
        known = [Backend(version, "127.0.0.1", rig.upstreams[version].port) for version in ("7", "8")]
        data = render_config_map(NAMESPACE, NAME, [*known, nowhere], stable="7", split={"7": 100}, mirror={})
        rig.put(data)
        await rig.settled(data)

        async def unreachable() -> frozenset[str]:
            effect = await read_effect(rig.session, stats)
            assert isinstance(effect, RouterEffect)
            return effect.unreachable

        async def only_nine() -> bool:
            return await unreachable() == {"9"}

        async def none() -> bool:
            return not await unreachable()

        await eventually(only_nine, "8 takes connections though nothing is sent to it; nobody is at 9")
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", nowhere.port)
        async with server:
            assert await eventually(none, "9 takes connections now") < 4


async def test_the_statistics_port_shows_and_changes_nothing_else(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100})) as rig:
        assert rig.envoy is not None
        for path in ("/ready", "/runtime?format=json", "/stats", "/stats/prometheus"):
            async with rig.session.get(rig.envoy.stats + path) as response:
                assert response.status == 200, path
        forbidden = [
            ("POST", "/quitquitquit"),
            ("GET", "/quitquitquit"),
            ("POST", "/runtime_modify?weight.v8=100"),
            ("GET", "/runtime_modify?weight.v8=100"),
            ("POST", "/stats"),
            ("POST", "/runtime"),
            ("POST", "/healthcheck/fail"),
            ("GET", "/config_dump"),
            ("GET", "/clusters"),
            ("GET", "/stats/../config_dump"),
            ("GET", "/stats/%2e%2e/config_dump"),
            ("GET", "/"),
        ]
        for method, path in forbidden:
            async with rig.session.request(method, rig.envoy.stats + path) as response:
                assert response.status == 404, (method, path)
        assert await rig.ask() == "7"


async def test_prometheus_sees_namespace_and_version_and_few_series(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0})) as rig:
        await rig.shares(80)
        assert rig.envoy is not None
        async with rig.session.get(f"{rig.envoy.stats}/stats/prometheus") as response:
            text = await response.text()
        label = 'envoy_cluster_name="default_fraud-detector-v7"'
        assert f'envoy_cluster_upstream_rq_xx{{envoy_response_code_class="2",{label}}} 80' in text
        assert f'envoy_cluster_upstream_rq_time_bucket{{{label},le="80"}} ' in text
        series = [line for line in text.splitlines() if not line.startswith("#")]
        print(f"\n{len(series)} series with two versions")
        assert len(series) < 400


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Run a server that is no Envoy."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def html(request: web.Request) -> web.StreamResponse:
    """Answer as a login page does."""
    return web.Response(text="<html>secret</html>", content_type="text/html")


async def redirect(request: web.Request) -> web.StreamResponse:
    """Send elsewhere."""
    raise web.HTTPFound("http://127.0.0.1:1/")


async def huge(request: web.Request) -> web.StreamResponse:
    """Answer two megabytes."""
    return web.Response(body=b" " * 2_000_000)


async def dripping(request: web.Request) -> web.StreamResponse:
    """Answer a byte now and then, for ever."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def other_json(request: web.Request) -> web.StreamResponse:
    """Answer JSON that no Envoy sends."""
    return web.json_response([1, 2])


async def garbage_weight(request: web.Request) -> web.StreamResponse:
    """Answer like an Envoy whose runtime somebody else wrote."""
    if request.path == "/runtime":
        return web.json_response({"entries": {"weight.v8": {"final_value": "all", "layer_values": ["all"]}}})
    return web.json_response({"stats": []})


@pytest.mark.parametrize(
    ("handler", "failure"),
    [
        (html, Failure.NOT_JSON),
        (redirect, Failure.STATUS),
        (huge, Failure.TOO_LARGE),
        (dripping, Failure.TIMEOUT),
        (other_json, Failure.UNEXPECTED),
        (garbage_weight, Failure.UNEXPECTED),
    ],
)
async def test_an_answer_that_cannot_be_used_has_a_name(handler: Handler, failure: Failure) -> None:
    async with serving(handler) as address, aiohttp.ClientSession() as session:
        begin = asyncio.get_running_loop().time()
        read = await read_effect(session, address)
        assert isinstance(read, Unreadable)
        assert read.failure is failure
        assert asyncio.get_running_loop().time() - begin < 1.5
        assert "secret" not in read.detail


async def test_a_pod_that_is_gone_is_unreachable() -> None:
    async with aiohttp.ClientSession() as session:
        read = await read_effect(session, f"http://127.0.0.1:{free_port()}")
        assert isinstance(read, Unreadable)
        assert read.failure is Failure.UNREACHABLE
