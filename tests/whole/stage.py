"""The whole stage: a real API server, everything that stands in for what it lacks, and operators as processes.

async with staged(server, directory) as stage:
    namespace = await stage.namespace()
    async with stage.observed(namespace) as trace, stage.operator(namespace):
        await stage.admin.create(model(Ref(namespace, "fraud")))
        await trace.until_phase(Ref(namespace, "fraud"), "Promoted")
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelramp.adapters.kinds import MODEL_DEPLOYMENT
from modelramp.ports import Ref
from tests.controlplane import ApiServer
from tests.controlplane.supervised import free_port
from tests.whole.admin import Admin
from tests.whole.jobs import Jobs
from tests.whole.kubelet import Kubelet
from tests.whole.manifests import model
from tests.whole.observer import Trace, observing
from tests.whole.process import OperatorProcess, children_of, running_operator
from tests.whole.prometheus import ScriptedPrometheus
from tests.whole.proxy import ApiProxy
from tests.whole.registry import ScriptedRegistry
from tests.whole.routers import Routers

FAR_RELIST = "80000"
"""Seconds: no full read may come to the rescue of a watch."""


@dataclass
class Stage:
    """What plays together; namespaces are its own by their prefix."""

    server: ApiServer
    directory: Path
    admin: Admin
    kubelet: Kubelet
    jobs: Jobs
    routers: Routers
    prometheus: ScriptedPrometheus
    registry: ScriptedRegistry
    prefix: str
    environment: dict[str, str] = field(default_factory=dict)
    """Variables of every operator from now on, over the usual ones."""
    _made: int = 0

    async def namespace(self) -> str:
        """Make a namespace."""
        self._made += 1
        name = f"{self.prefix}-{self._made}"
        await self.admin.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def observed(self, namespace: str) -> AbstractAsyncContextManager[Trace]:
        """Record what is stored in a namespace."""
        return observing(self.admin, namespace)

    def proxied(self) -> AbstractAsyncContextManager[ApiProxy]:
        """Put a proxy before the API server."""
        return ApiProxy(self.server).serving()

    async def kill_api_server(self) -> None:
        """End it as a node's crash does: told to stop, it would serve the watches of our own kind for a minute."""
        for child in children_of(self.server._process.shell.pid):
            if child.command == "kube-apiserver":
                os.kill(child.pid, signal.SIGKILL)
        await asyncio.to_thread(self.server.stop)

    async def start_api_server(self) -> None:
        """Start it again at the same address; etcd has kept the data."""
        await asyncio.to_thread(self.server.start)

    async def create(self, ref: Ref, version: str = "1", **spec: Any) -> None:
        """Create a ModelDeployment."""
        await self.admin.create(model(ref, version, **spec))

    async def pin(self, ref: Ref, version: str) -> None:
        """Pin a version, as `kubectl patch mdep` does."""
        await self.admin.edit(ref, model={"version": version})

    async def delete(self, ref: Ref) -> None:
        """Delete a ModelDeployment."""
        await self.admin.delete(MODEL_DEPLOYMENT, ref.namespace, ref.name)

    @asynccontextmanager
    async def operator(
        self,
        namespace: str,
        *,
        name: str = "a",
        through: ApiProxy | None = None,
        environment: Mapping[str, str] = {},
        forked: bool = False,
    ) -> AsyncIterator[OperatorProcess]:
        """Run an operator for a namespace, "" for all; its Lease is in the namespace, or in `default`.

        With `forked` it begins with everything imported.
        """
        number = secrets.token_hex(3)
        kubeconfig = self.directory / f"{name}-{number}.kubeconfig"
        _write_kubeconfig(kubeconfig, self.server, through)
        variables = {
            "KUBECONFIG": str(kubeconfig),
            "MLFLOW_TRACKING_URI": self.registry.url,
            "MODELRAMP_PROMETHEUS_URL": self.prometheus.url,
            "MODELRAMP_NAMESPACES": namespace,
            "MODELRAMP_LEASE_NAMESPACE": namespace or "default",
            "MODELRAMP_RELIST_SECONDS": FAR_RELIST,
            "POD_NAME": f"operator-{name}",
        }
        log = self.directory / f"{namespace or 'all'}-{name}-{number}.log"
        variables |= self.environment | dict(environment)
        async with running_operator(variables, log, free_port(), forked=forked) as operator:
            yield operator


@asynccontextmanager
async def staged(server: ApiServer, directory: Path) -> AsyncIterator[Stage]:
    """Set the stage on a server that knows ModelDeployments; `directory` takes logs and kubeconfigs."""
    prefix = f"whole-{secrets.token_hex(3)}"
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Admin(server))
        routers = await stack.enter_async_context(Routers(admin, prefix).serving())
        kubelet = await stack.enter_async_context(Kubelet(admin, prefix, routers.place).working())
        jobs = await stack.enter_async_context(Jobs(admin, prefix).working())
        prometheus = await stack.enter_async_context(ScriptedPrometheus().serving())
        registry = await stack.enter_async_context(ScriptedRegistry().serving())
        yield Stage(server, directory, admin, kubelet, jobs, routers, prometheus, registry, prefix)


def _write_kubeconfig(path: Path, server: ApiServer, through: ApiProxy | None) -> None:
    found = json.loads(server.kubeconfig.read_text())
    if through:
        found["clusters"][0]["cluster"] = {"server": through.url}
    path.write_text(json.dumps(found))
    path.chmod(0o600)
