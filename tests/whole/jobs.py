"""A stand-in for the Job controller and the pods of rehearsals: one pod a Job, which ends as a test decreed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from modelramp.adapters.jobspec import REHEARSAL
from modelramp.adapters.kinds import ATTEMPT, FIELD_MANAGER, JOB, MANAGED_BY, NAME, POD
from modelramp.adapters.rehearsals import CONTROLLER
from modelramp.ports import Ref
from tests.whole.admin import Admin, RefusedError

OURS = f"{MANAGED_BY}={FIELD_MANAGER}"
FLAWLESS = {"p50": 0.004, "p95": 0.008, "p99": 0.012, "memory": 200 * 2**20}


@dataclass
class Jobs:
    """One for all namespaces that begin with `prefix`; `made` are all Jobs that ever were, by ModelDeployment."""

    admin: Admin
    prefix: str
    fates: dict[tuple[Ref, str], dict[str, Any] | None] = field(default_factory=dict)
    made: dict[Ref, list[str]] = field(default_factory=dict)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Jobs]:
        """Work until the end of the block."""
        task = asyncio.create_task(self._follow())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def decree(self, ref: Ref, version: str, figures: dict[str, Any] | None) -> None:
        """Decree how a candidate answers, over what is flawless; None: its Job never ends."""
        self.fates[ref, version] = figures

    async def end(self, ref: Ref, version: str) -> None:
        """End the Jobs of a version that were to run for ever."""
        self.decree(ref, version, {})
        items, _ = await self.admin.list(JOB, ref.namespace, f"{NAME}={ref.name}")
        for job in items:
            if _version(job) == version:
                await self._end(job)

    async def _follow(self) -> None:
        async for change, job in self.admin.follow(JOB, OURS):
            if job["metadata"]["namespace"].startswith(self.prefix):
                try:
                    await (self._collect(job) if change == "DELETED" else self._run(job))
                except (RefusedError, aiohttp.ClientError, OSError):
                    continue

    async def _run(self, job: Any) -> None:
        metadata = job["metadata"]
        ref = Ref(metadata["namespace"], metadata["labels"][NAME])
        if metadata["uid"] in self.made.setdefault(ref, []):
            return
        self.made[ref].append(metadata["uid"])
        await self.admin.create(_pod(job))
        if self.fates.get((ref, _version(job)), {}) is not None:
            await self._end(job)

    async def _end(self, job: Any) -> None:
        metadata, script = job["metadata"], _script(job)
        ref = Ref(metadata["namespace"], metadata["labels"][NAME])
        told = {}
        if "CANDIDATE_URL" in script:
            asked = int(script["REHEARSAL_REQUESTS"])
            told["candidate"] = (
                {"asked": asked, "answered": asked} | FLAWLESS | (self.fates.get((ref, _version(job))) or {})
            )
        if "FALLBACK_URL" in script:
            told["fallback"] = {"asked": 1, "answered": 1}
        state = {"terminated": {"exitCode": 0, "reason": "Completed", "message": json.dumps(told)}}
        status = {"name": REHEARSAL, "ready": False, "restartCount": 0, "image": "x", "imageID": "x", "state": state}
        body = {"status": {"phase": "Succeeded", "containerStatuses": [status]}}
        await self.admin.merge(POD, Ref(ref.namespace, f"{metadata['name']}-0"), body, sub="status")

    async def _collect(self, job: Any) -> None:
        await self.admin.delete(POD, job["metadata"]["namespace"], f"{job['metadata']['name']}-0")


def _version(job: Any) -> str:
    return str(job["metadata"]["labels"][ATTEMPT]).partition("-")[0]


def _script(job: Any) -> dict[str, str]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"]}


def _pod(job: Any) -> dict[str, Any]:
    metadata, template = job["metadata"], job["spec"]["template"]
    marks = template["metadata"]["labels"] | {CONTROLLER: metadata["uid"]}
    named = {"name": f"{metadata['name']}-0", "namespace": metadata["namespace"], "labels": marks}
    container = {"name": REHEARSAL, "image": "rehearsal:stand-in"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": {"containers": [container]}}
