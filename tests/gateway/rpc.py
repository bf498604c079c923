"""gRPC: model versions that answer a unary method, and clients that call it all the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import grpc

from modelramp.adapters.kinds import GRPC_ROUTE
from modelramp.ports import Ref
from tests.adapters.routes import GRPC
from tests.gateway.versions import lead_to, machine_address
from tests.gateway.world import Wire
from tests.mesh.versions import Version
from tests.whole.admin import Admin
from tests.whole.data_path import Load

_SERVICE, _METHOD = "fraud.Model", "Score"


@asynccontextmanager
async def serving_versions(admin: Admin, ref: Ref, numbers: Iterable[str]) -> AsyncIterator[Mapping[str, Version]]:
    """Run a gRPC server for each version, behind the Service that the operator makes for it."""
    versions = {number: Version(number) for number in numbers}
    async with AsyncExitStack() as stack:
        for version in versions.values():
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((_handler(version),))
            port = server.add_insecure_port(f"{machine_address()}:0")
            await server.start()
            stack.push_async_callback(server.stop, None)
            await lead_to(admin, ref, version.number, machine_address(), port)
        yield versions


def _handler(version: Version) -> grpc.GenericRpcHandler:
    async def score(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if version.broken:
            await context.abort(grpc.StatusCode.INTERNAL, version.number)
        return version.number.encode()

    return grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: grpc.unary_unary_rpc_method_handler(score)})


async def until_served(address: str, host: str) -> None:
    """Wait until the proxy knows the first version."""
    async with asyncio.timeout(30), _called(address, host) as call:
        while True:
            with suppress(grpc.aio.AioRpcError):
                await call(b"", timeout=5)
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def loading(address: str, per_second: float, host: str) -> AsyncIterator[Load]:
    """Call until the end of the block; what fails is answered with its status code's name."""
    load = Load()
    async with _called(address, host) as call:
        tasks = [asyncio.create_task(_call_on(call, load, 4 / per_second)) for _ in range(4)]
        try:
            yield load
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _called(address: str, host: str) -> AsyncIterator[grpc.aio.UnaryUnaryMultiCallable]:
    options = [("grpc.default_authority", host)]
    async with grpc.aio.insecure_channel(address.removeprefix("http://"), options) as channel:
        yield channel.unary_unary(f"/{_SERVICE}/{_METHOD}")


async def _call_on(call: grpc.aio.UnaryUnaryMultiCallable, load: Load, pause: float) -> None:
    while True:
        try:
            said = (await call(b"", timeout=10)).decode()
        except grpc.aio.AioRpcError as fault:
            said = fault.code().name
        load.answers.append((time.monotonic(), said))
        await asyncio.sleep(pause)


PROXIED = "sum(envoy_cluster_upstream_rq_total{envoy_cluster_name={{backend}}})"
_RATE = "sum(rate(envoy_cluster_grpc_Score_{}{{envoy_cluster_name={{{{backend}}}}}}[{{{{window}}}}]))"
FAILURES = f"({_RATE.format('failure')} or vector(0)) / {_RATE.format('total')}"
RPC = Wire(
    GRPC_ROUTE,
    {"grpcRoute": {**GRPC["grpcRoute"], "requestsQuery": PROXIED}},
    serving_versions,
    until_served,
    loading,
    {"query": FAILURES},
)
"""Servers of gRPC do not count as ours do: the proxies are asked how many calls a version has had, and failed."""
