"""The story in MLflow: records are written behind the loop, one at a time, in order, again until they are there.

A turn never waits for it. What is written has the record's own name, so that a crash between the writing and the
status that forgets it doubles nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelramp.adapters.backlog import ALIASES, PACE, Backlog, Pace
from modelramp.adapters.mlflow_process import Answer, Worker
from modelramp.adapters.mlflow_records import DIRECTORY, PREFIX
from modelramp.api.codec import dump
from modelramp.lease import Lease
from modelramp.ports import Done, Ref, Rollout, Written
from modelramp.rollout.actions import Post
from modelramp.rollout.observation import Busy, Failed, NoData, Posted, Reading, Value
from modelramp.rollout.status import Record

FORMAT = "modelramp.dev/record/v1"
_DOWN = {"RegistryTimeout", "RegistryUnreachable", "RegistryError"}
_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SUMMARY = 500


@dataclass(frozen=True, slots=True)
class Aliases:
    """The registry's names for the version that serves and for the one that is tried; empty: none is moved."""

    stable: str = "champion"
    candidate: str = "challenger"


@dataclass(eq=False)
class _Job:
    rollout: Rollout
    wanted: Post
    backlog: Backlog
    outcome: Reading[Posted]
    task: asyncio.Task[None] | None = None
    failures: int = 0
    quiet_until: float = 0.0

    @property
    def is_writing(self) -> bool:
        return self.task is not None and not self.task.done()

    def is_due(self, now: float) -> bool:
        """Tell whether to ask the registry now."""
        return now >= self.quiet_until and bool(self.backlog.due(self.wanted, now))


class MlflowJournal:
    """Writes through the registry's worker process; `wake` is called with the object's name when something changed."""

    def __init__(
        self, worker: Worker, lease: Lease, wake: Callable[[Ref], None], aliases: Aliases, pace: Pace = PACE
    ) -> None:
        """Prepare; nothing is started before the first record."""
        self._worker, self._lease, self._wake, self._aliases, self._pace = worker, lease, wake, aliases, pace
        self._jobs: dict[tuple[Ref, str], _Job] = {}
        self._line = asyncio.Lock()

    async def posted(self, rollout: Rollout) -> Reading[Posted] | Busy:
        """Return what became of the records; what the status no longer holds is forgotten here too."""
        key = (rollout.ref, rollout.uid)
        self._succeed(*key)
        job = self._jobs.get(key)
        if job is None:
            return Value(Posted())
        if job.is_writing:
            return Busy("the records are being written")
        job.backlog.forget(rollout.status.outbox)
        if not rollout.status.outbox:
            self._jobs.pop(key)
        elif isinstance(job.outcome, Value):
            ids = job.outcome.value.ids & job.backlog.written.keys()
            return Value(replace(job.outcome.value, ids=ids))
        return job.outcome

    def _succeed(self, ref: Ref, uid: str) -> None:
        """Let an object's word on the aliases count, and that of a deleted one of its name no more."""
        for (name, other), job in self._jobs.items():
            if name == ref and other != uid:
                job.backlog.cede()

    async def post(self, rollout: Rollout, wanted: Post) -> Written:
        """Begin to write, unless it is being done, or all of it is to be left alone for a while.

        What an object that is going leaves is taken over whatever is being done: nobody will ask again.
        """
        job = self._jobs.get((rollout.ref, rollout.uid)) or _Job(rollout, wanted, Backlog(self._pace), Value(Posted()))
        self._jobs[rollout.ref, rollout.uid] = job
        if rollout.deleting or not job.is_writing:
            job.rollout, job.wanted = rollout, wanted
        if not job.is_writing and (rollout.deleting or job.is_due(asyncio.get_running_loop().time())):
            job.task = asyncio.create_task(self._keep_on(job), name=f"records of {rollout.ref}")
        return Done()

    async def close(self) -> None:
        """Stop writing; what is not written stays in the status."""
        tasks = [job.task for job in self._jobs.values() if job.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_on(self, job: _Job) -> None:
        """Try once; where nobody will ask again, because the object is going, until it is done."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, job.quiet_until - loop.time()))
            async with self._line:
                job.outcome = await self._write(job.rollout, job.wanted, job.backlog)
            job.failures = job.failures + 1 if _is_away(job.outcome) else 0
            pause = self._pace.pause(job.failures) if self._lease.held() else self._pace.again
            job.quiet_until = loop.time() + pause
            if not job.rollout.deleting or job.backlog.is_done(job.wanted):
                break
            await asyncio.sleep(job.backlog.rest(job.wanted, loop.time()))
        self._wake(job.rollout.ref)

    async def _write(self, rollout: Rollout, wanted: Post, backlog: Backlog) -> Reading[Posted]:
        """Write what is due, until the registry is found to be away; Failed where it took nothing."""
        loop = asyncio.get_running_loop()
        for item in backlog.due(wanted, loop.time()):
            if not self._lease.held():
                return _deposed(rollout, wanted, backlog)
            if item is None and backlog.ceded:
                continue
            answer = await self._ask(_question(rollout, item) if item else self._move(rollout, wanted))
            if isinstance(answer, Failed):
                backlog.put_off(item.id if item else ALIASES, answer, loop.time())
                if _is_away(answer):
                    return Value(Posted(taken)) if (taken := backlog.taken(wanted)) else answer
            elif item:
                backlog.take(item)  # where the registry has nothing to keep it on, the status's history has it
            elif isinstance(answer, Value):
                self._placed(rollout, wanted, backlog, answer.value["foreign"])
        return _outcome(wanted, backlog)

    @staticmethod
    def _placed(rollout: Rollout, wanted: Post, backlog: Backlog, foreign: list[str]) -> None:
        backlog.place(wanted, foreign)
        if rollout.deleting:
            backlog.cede()

    def _move(self, rollout: Rollout, wanted: Post) -> dict[str, Any]:
        aliases = {self._aliases.stable: wanted.stable, self._aliases.candidate: wanted.candidate}
        moved = {alias: version for alias, version in aliases.items() if alias}
        return {"ask": "aliases", "name": rollout.spec.model_name, "owner": str(rollout.ref), "wanted": moved}

    async def _ask(self, question: Mapping[str, Any]) -> Answer:
        await self._worker.ready()
        call = self._worker.ask(question)
        try:
            async with asyncio.timeout(self._pace.deadline):
                return await asyncio.shield(call.answer)
        except TimeoutError:
            late = Failed("RegistryTimeout", f"a record was not written within {self._pace.deadline:g} s")
            self._worker.kill(late)  # a call that hangs must not write later what is old by then
            return late


def _deposed(rollout: Rollout, wanted: Post, backlog: Backlog) -> Reading[Posted]:
    """Say nothing of the registry; who leads now may have seen another object of a deleted one's name."""
    if rollout.deleting:
        backlog.cede()
    return Value(Posted(backlog.taken(wanted)))


def _is_away(answer: Reading[Any]) -> bool:
    return isinstance(answer, Failed) and answer.reason in _DOWN


def _outcome(wanted: Post, backlog: Backlog) -> Reading[Posted]:
    refused, taken = backlog.refused(wanted), backlog.taken(wanted)
    if refused and not taken and not backlog.is_placed(wanted):
        return refused
    return Value(Posted(taken, backlog.foreign, refused))


class NoJournal:
    """Keeps no records: they stay in `status.history` alone."""

    async def posted(self, rollout: Rollout) -> Reading[Posted] | Busy:  # noqa: ARG002
        """Say that there is no journal."""
        return NoData("JournalOff", "")

    async def post(self, rollout: Rollout, wanted: Post) -> Written:  # noqa: ARG002
        """Do nothing."""
        return Done()

    async def close(self) -> None:
        """Do nothing."""


def _question(rollout: Rollout, record: Record) -> dict[str, Any]:
    pin, ref = record.pin, rollout.ref
    return {
        "ask": "record",
        "name": rollout.spec.model_name,
        "version": record.version,
        "run_id": pin.run_id if pin else "",
        "source": pin.source if pin else "",
        "record": record.id,
        "path": f"{DIRECTORY}/{ref.namespace}/{ref.name}/{record.id}.json",
        "document": json.dumps(document(rollout, record), indent=1),
        "tag": PREFIX + _HUMPS.sub("-", record.event).lower(),
        "summary": _summary(ref, record),
    }


def document(rollout: Rollout, record: Record) -> dict[str, Any]:
    """Return a record as it is kept: its own fields, and whose it is."""
    ref = rollout.ref
    whose = {"namespace": ref.namespace, "name": ref.name, "uid": rollout.uid}
    return {"format": FORMAT, "deployment": whose, "model": rollout.spec.model_name, **dump(record)}


def _summary(ref: Ref, record: Record) -> dict[str, str]:
    told = {"at": dump(record.at), "deployment": str(ref), "message": record.message[:_SUMMARY], "by": record.by}
    return {key: value for key, value in {**told, "record": record.id}.items() if value}
