"""The workers of one pod, which speak with one voice: whoever is asked asks the others first.

Each listens on a Unix socket in a directory that only they can enter; a question is one line, its answer JSON.
What a question is about follows it, as words.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

DEADLINE = 2.0
"""Seconds; a worker that takes longer to say a word is as good as stuck."""


class Question(StrEnum):
    """What one worker asks of another."""

    STANDING = "standing"
    METRICS = "metrics"
    CAPTURED = "captured"


Tell = Callable[[Question, list[str]], Any]
"""What gives a worker's own answer to a question, and to what it is about."""


@dataclass(frozen=True, slots=True)
class Siblings:
    """One worker's place among `count`; alone it has nobody to ask."""

    number: int = 0
    count: int = 1
    directory: Path = Path()

    @property
    def others(self) -> list[int]:
        """The numbers of the other workers."""
        return [number for number in range(self.count) if number != self.number]

    @contextlib.asynccontextmanager
    async def answering(self, answer: Tell) -> AsyncIterator[None]:
        """Answer the others' questions meanwhile."""
        if not self.others:
            yield
            return

        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, ValueError), contextlib.closing(writer):
                question, *about = (await reader.readline()).decode().split()
                writer.write(json.dumps(answer(Question(question), about)).encode())
                await writer.drain()

        async with await asyncio.start_unix_server(respond, self._socket(self.number)):
            yield

    async def ask(self, question: Question, about: Iterable[str] = ()) -> dict[int, Any]:
        """Return each other worker's answer by its number, None where it gave none in time."""
        line = " ".join((question, *about))
        answers = await asyncio.gather(*(self._ask(number, line) for number in self.others))
        return dict(zip(self.others, answers, strict=True))

    async def _ask(self, number: int, line: str) -> Any:
        try:
            async with asyncio.timeout(DEADLINE):
                reader, writer = await asyncio.open_unix_connection(self._socket(number))
                with contextlib.closing(writer):
                    writer.write(f"{line}\n".encode())
                    return json.loads(await reader.read())
        except (OSError, TimeoutError, ValueError):
            return None

    def _socket(self, number: int) -> str:
        return str(self.directory / f"{number}.sock")
