"""Which of the namespaces to serve can be read: one that was deleted took its Role with it, and stops no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from modelramp.adapters.kinds import MODEL_DEPLOYMENT
from modelramp.adapters.kubernetes import Cluster
from modelramp.rollout.observation import Failed

log = logging.getLogger(__name__)

ASKED_AGAIN = timedelta(seconds=2)
"""What is forbidden is asked for twice: an API server that starts forbids everything for a moment."""
CLOSED_AGAIN = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Territory:
    """The namespaces to serve, empty for all."""

    cluster: Cluster
    namespaces: Sequence[str] = ()

    async def until_open(self) -> tuple[str, ...]:
        """Wait until a namespace can be read, or may be; return all such, and tell of the others."""
        told: Mapping[str, str] = {}
        while True:
            closed = await self._closed()
            if closed != told:
                told = closed
                for namespace, message in closed.items():
                    log.warning("namespace %s is not served until its objects can be read: %s", namespace, message)
            if not self.namespaces or len(closed) < len(self.namespaces):
                return self._without(closed)

    async def until_changed(self, served: Sequence[str], every: timedelta) -> None:
        """Return once other namespaces can be read than are served: one is gone, or one has come back."""
        while True:
            complete = len(served) == len(self.namespaces)
            await asyncio.sleep((every if complete else min(every, CLOSED_AGAIN)).total_seconds())
            now = self._without(await self._closed())
            if now and now != tuple(served):
                log.warning("the namespaces that can be read are now %s: starting again", ", ".join(now))
                return

    def _without(self, closed: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(namespace for namespace in self.namespaces if namespace not in closed)

    async def _closed(self) -> dict[str, str]:
        """Return the namespaces whose ModelDeployments may not be read, each with what the API server says."""
        first = await self._forbidden(self.namespaces)
        if not first:
            return {}
        await asyncio.sleep(ASKED_AGAIN.total_seconds())
        return await self._forbidden(tuple(first))

    async def _forbidden(self, namespaces: Sequence[str]) -> dict[str, str]:
        answers = {namespace: await self.cluster.list(MODEL_DEPLOYMENT, namespace) for namespace in namespaces}
        return {
            namespace: answer.message
            for namespace, answer in answers.items()
            if isinstance(answer, Failed) and answer.reason == "Forbidden"
        }
