"""Model versions behind their Services: servers at the machine's own address, and EndpointSlices that lead there."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from typing import Any

from aiohttp import web

from modelramp.adapters.kinds import Kind
from modelramp.ports import Ref
from modelramp.rollout.queries import service
from tests.mesh.versions import Version
from tests.whole.admin import Admin

ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")


def machine_address() -> str:
    """Return an address of this machine that is not the loopback's, which no endpoint may have; empty without one."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asked, suppress(OSError):
        asked.connect(("192.0.2.1", 9))  # sends nothing: asks which way it would go
        return str(asked.getsockname()[0])
    return ""


@asynccontextmanager
async def serving_versions(admin: Admin, ref: Ref, numbers: Iterable[str]) -> AsyncIterator[Mapping[str, Version]]:
    """Run a server for each version, behind the Service that the operator makes for it."""
    versions = {number: Version(number) for number in numbers}
    async with AsyncExitStack() as stack:
        for version in versions.values():
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", version.answer)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, machine_address(), 0).start()
            await lead_to(admin, ref, version.number, *runner.addresses[0][:2])
        yield versions


async def lead_to(admin: Admin, ref: Ref, number: str, address: str, port: int) -> None:
    """Write the EndpointSlice of a version, as the controller does that does not run here."""
    await admin.request("POST", ENDPOINT_SLICE.path(ref.namespace), _slice(service(ref.name, number), address, port))


def _slice(name: str, address: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.name,
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }
