"""The worker process as the operator holds it: started when there is a question, ended when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelramp.rollout.observation import Failed, NoData, Reading, Value

Answer = Reading[Mapping[str, Any]]

_LONGEST_LINE = 16 << 20
_START_SECONDS = 60.0
_END_SECONDS = 5.0


@dataclass(eq=False)
class Call:
    """One question to the worker; `progress` is bytes done and bytes in all, None before the first."""

    answer: asyncio.Future[Answer]
    progress: tuple[int, int] | None = None


@dataclass(eq=False)
class _Life:
    """One life of the process, from its start to its end."""

    process: asyncio.subprocess.Process
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    calls: dict[int, Call] = field(default_factory=dict)
    why: Failed | None = None


class Worker:
    """A process that is asked in lines of JSON; any number of questions at a time, all from one loop."""

    def __init__(self, threads: int, environment: Mapping[str, str], idle: float) -> None:
        """Prepare; nothing runs before the first question. `idle` seconds without one end the process."""
        self._threads, self._environment, self._idle = threads, dict(environment), idle
        self._ids = itertools.count(1)
        self._life: _Life | None = None
        self._start = asyncio.Lock()
        self._retirement: asyncio.TimerHandle | None = None
        self._followed: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """Return the process id, None while no process runs."""
        return self._life.process.pid if self._life else None

    async def ready(self) -> None:
        """Wait until the process takes questions, starting it if need be, or until it has ended instead."""
        async with self._start:
            life = self._life or await self._begin()
        await life.ready.wait()
        self._retire_later(life)

    def ask(self, question: Mapping[str, Any]) -> Call:
        """Ask; the call's answer comes when it comes. The caller keeps the deadline."""
        call = Call(asyncio.get_running_loop().create_future())
        if self._life is None or self._life.process.stdin is None:
            call.answer.set_result(_ended(None))
            return call
        number = next(self._ids)
        self._life.calls[number] = call
        self._life.process.stdin.write(json.dumps({"id": number, **question}).encode() + b"\n")
        return call

    def kill(self, why: Failed) -> None:
        """End the process now; every open call is answered `why`. The next question starts another."""
        if life := self._life:
            self._life, life.why = None, why
            life.process.kill()

    async def close(self) -> None:
        """End the process and wait until it and those before it have ended."""
        self.kill(Failed("RegistryError", "the operator is stopping"))
        if self._retirement:
            self._retirement.cancel()
        await asyncio.gather(*self._followed)

    async def _begin(self) -> _Life:
        pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        command = (sys.executable, "-P", "-m", "modelramp.adapters.mlflow_worker", str(self._threads))
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=pipe,
            stdout=pipe,
            stderr=nowhere,
            env={**os.environ, **self._environment},
            limit=_LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is the operator's to handle
        )
        life = self._life = _Life(process)
        following = asyncio.create_task(self._follow(life))
        self._followed.add(following)
        following.add_done_callback(self._followed.discard)
        return life

    async def _follow(self, life: _Life) -> None:
        """Hand out the answers until the process ends, then answer what is left open."""
        overdue = asyncio.get_running_loop().call_later(_START_SECONDS, life.process.kill)
        try:
            while line := await self._line(life):
                overdue.cancel()
                self._hear(life, json.loads(line))
        finally:
            overdue.cancel()
            self._life = None if self._life is life else self._life
            code = await _ending(life.process)
            for call in life.calls.values():
                _settle(call, life.why or _ended(code))
            life.ready.set()

    async def _line(self, life: _Life) -> bytes:
        assert life.process.stdout is not None  # noqa: S101  asked for with PIPE
        try:
            return await life.process.stdout.readline()
        except ValueError:  # longer than any answer may be
            return b""

    def _hear(self, life: _Life, said: Mapping[str, Any]) -> None:
        if "ready" in said:
            life.ready.set()
        elif "progress" in said:
            life.calls[said["id"]].progress = (said["progress"][0], said["progress"][1])
        else:
            _settle(life.calls.pop(said["id"]), _answer(said))
            self._retire_later(life)

    def _retire_later(self, life: _Life) -> None:
        if self._retirement:
            self._retirement.cancel()
        self._retirement = asyncio.get_running_loop().call_later(self._idle, self._retire, life)

    def _retire(self, life: _Life) -> None:
        """Close the process's input, which ends it; whoever asks meanwhile gets another."""
        if not life.calls and self._life is life and life.process.stdin is not None:
            self._life = None
            life.process.stdin.close()


async def _ending(process: asyncio.subprocess.Process) -> int:
    """Wait for the process's own end; a kill that comes just after it would lose the exit code."""
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(process.wait(), _END_SECONDS)
    process.kill()
    return await process.wait()


def _settle(call: Call, answer: Answer) -> None:
    if not call.answer.done():
        call.answer.set_result(answer)


def _ended(code: int | None) -> Failed:
    how = f" (exit code {code})" if code is not None else ""
    return Failed("RegistryError", f"the registry client's process ended before it answered{how}")


def _answer(said: Mapping[str, Any]) -> Answer:
    if "value" in said:
        return Value(said["value"])
    if "missing" in said:
        return NoData(*said["missing"])
    return Failed(*said["failed"])
