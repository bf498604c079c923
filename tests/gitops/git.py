"""Git's copy of a ModelDeployment, and the ways in which it is brought to the cluster, by the real kubectl."""

from __future__ import annotations

import asyncio
import copy
import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cluster.tools.kubectl import find_kubectl
from modelramp.adapters.kinds import MODEL_DEPLOYMENT
from modelramp.ports import Ref
from tests.whole.manifests import model
from tests.whole.stage import Stage

ARGO_CD = "--field-manager=argocd-controller"


class Way(Enum):
    """How a copy is brought to the cluster: as the arguments of kubectl."""

    SERVER_SIDE = ("apply", "--server-side", "--force-conflicts", ARGO_CD)
    """Argo CD with ServerSideApply=true, and Flux."""
    CLIENT_SIDE = ("apply", ARGO_CD)
    """Argo CD by default, and people."""
    REPLACE = ("replace", ARGO_CD)
    """Argo CD with Replace=true."""


@dataclass
class Repository:
    """One manifest; commits change it, syncs bring it to the cluster."""

    stage: Stage
    ref: Ref
    manifest: dict[str, Any]

    @classmethod
    def of(cls, stage: Stage, ref: Ref, version: str, **spec: Any) -> Repository:
        """Return a repository with a first commit."""
        return cls(stage, ref, model(ref, version, **spec))

    def commit(self, version: str) -> None:
        """Change the pin, as a rollout or its revert does."""
        self.manifest["spec"]["model"]["version"] = version

    async def sync(self, way: Way) -> str:
        """Bring the manifest to the cluster and return what kubectl said; a first `replace` is a `create`."""
        is_there = await self.live() is not None
        arguments = way.value if is_there or way is not Way.REPLACE else ("create", ARGO_CD)
        code, said = await self._kubectl(*arguments)
        while way is Way.REPLACE and code and "Conflict" in said:  # it was read, changed by the operator, written back
            code, said = await self._kubectl(*arguments)
        assert code == 0, said
        return said

    async def difference(self, *, server_side: bool) -> str:
        """Return what `kubectl diff` sees between git and the cluster, empty for nothing."""
        how = ("--server-side", "--force-conflicts") if server_side else ()
        code, said = await self._kubectl("diff", *how, ARGO_CD)
        assert code in (0, 1), said
        return said

    async def live(self) -> Any:
        """Return the object as it is stored."""
        return await self.stage.admin.get(MODEL_DEPLOYMENT, self.ref.namespace, self.ref.name)

    async def _kubectl(self, *arguments: str) -> tuple[int, str]:
        command = (find_kubectl(), "--kubeconfig", self.stage.server.kubeconfig, *arguments, "-f", "-")
        pipe = asyncio.subprocess.PIPE
        kubectl = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await kubectl.communicate(json.dumps(self.manifest).encode())
        return kubectl.returncode or 0, said.decode()


def named_by(git: Any, live: Any) -> Any:
    """Return of the live object what git names: Argo CD's client-side diff compares this with git's copy."""
    if isinstance(git, dict) and isinstance(live, dict):
        return {key: named_by(git[key], value) for key, value in live.items() if key in git}
    if isinstance(git, list) and isinstance(live, list):
        return [named_by(one, other) for one, other in zip(git, live, strict=False)] + live[len(git) :]
    return copy.deepcopy(live)
