"""Fixtures of the whole tests: a stage for what breaks things, an operator in residence for what does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from modelramp.ports import Ref
from tests.adapters.real import install_definition
from tests.controlplane import ApiServer
from tests.whole.invariants import violations
from tests.whole.observer import Trace
from tests.whole.process import OperatorProcess
from tests.whole.proxy import ApiProxy
from tests.whole.stage import Stage, staged


@pytest.fixture(scope="session")
def defined_server(api_server: ApiServer) -> ApiServer:
    """Give an API server that knows ModelDeployments."""
    install_definition(api_server)
    return api_server


@pytest.fixture
async def stage(defined_server: ApiServer, tmp_path: Path) -> AsyncIterator[Stage]:
    """Give a stage of its own to each test."""
    async with staged(defined_server, tmp_path) as it:
        yield it


@dataclass
class Residence:
    """An operator that serves one namespace for a whole module, seen by an independent watcher."""

    stage: Stage
    namespace: str
    trace: Trace
    proxy: ApiProxy
    operator: OperatorProcess
    refs: int = 0

    def ref(self) -> Ref:
        """Return a name that no other test has."""
        self.refs += 1
        return Ref(self.namespace, f"fraud-{self.refs}")

    async def promoted(self, *versions: str, **spec: Any) -> Ref:
        """Make an object and take it through these versions, one after the other."""
        ref = self.ref()
        await self.stage.create(ref, versions[0], **spec)
        await self.trace.until_phase(ref, "Promoted", versions[0])
        for version in versions[1:]:
            await self.stage.pin(ref, version)
            await self.trace.until_phase(ref, "Promoted", version)
        return ref

    def violations(self, ref: Ref, *, hands: bool = False) -> list[str]:
        """Return which invariants did not hold for an object."""
        return violations(self.trace, ref, self.stage.prometheus, hands=hands)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def residence(defined_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Residence]:
    """Give an operator in residence; its tests are marked with `asyncio(loop_scope="module")`."""
    async with staged(defined_server, tmp_path_factory.mktemp("residence")) as stage:
        namespace = await stage.namespace()
        async with (
            stage.observed(namespace) as trace,
            stage.proxied() as proxy,
            stage.operator(namespace, through=proxy) as operator,
        ):
            yield Residence(stage, namespace, trace, proxy, operator)
