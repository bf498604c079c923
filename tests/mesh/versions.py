"""Model versions that answer, as workloads of the mesh: `WorkloadEntry` objects, which may be on the loopback."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from modelramp.adapters.kinds import NAME, VERSION, Kind
from modelramp.ports import Ref
from tests.whole.admin import Admin

WORKLOAD_ENTRY = Kind("networking.istio.io/v1", "WorkloadEntry", "workloadentries")


@dataclass
class Version:
    """One version's server: answers with its number, with code 500 while it is `broken`, and counts its answers."""

    number: str
    broken: bool = False
    answers: Counter[str] = field(default_factory=Counter)
    """By code, copies included."""

    async def answer(self, _request: web.Request) -> web.Response:
        """Answer a request or a copy."""
        code = 500 if self.broken else 200
        self.answers[str(code)] += 1
        return web.Response(text=self.number, status=code)


@asynccontextmanager
async def serving_versions(admin: Admin, ref: Ref, numbers: Iterable[str]) -> AsyncIterator[Mapping[str, Version]]:
    """Run a server for each version, behind the Service that the operator makes for it."""
    versions = {number: Version(number) for number in numbers}
    async with AsyncExitStack() as stack:
        for index, version in enumerate(versions.values()):
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", version.answer)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, f"127.78.1.{index + 1}", 0).start()
            workload = _workload(ref, version.number, *runner.addresses[0][:2])
            await admin.request("POST", WORKLOAD_ENTRY.path(ref.namespace), workload)
        yield versions


def _workload(ref: Ref, number: str, address: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": WORKLOAD_ENTRY.api_version,
        "kind": WORKLOAD_ENTRY.name,
        "metadata": {"namespace": ref.namespace, "name": f"{ref.name}-v{number}"},
        "spec": {"address": address, "ports": {"http": port}, "labels": {NAME: ref.name, VERSION: number}},
    }
