"""A watch in a process of its own: it says when something was stored as it sees it, whatever else is busy here.

As a program: `python -m tests.benchmarks.watcher KUBECONFIG NAMESPACE`; one JSON object a line.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelramp.adapters.kinds import CONFIG_MAP, FIELD_MANAGER, MANAGED_BY, MODEL_DEPLOYMENT, Kind, Object
from tests.controlplane import ApiServer

SELECTORS = {MODEL_DEPLOYMENT: "", CONFIG_MAP: f"{MANAGED_BY}%3D{FIELD_MANAGER}"}
_LONGEST_LINE = 1 << 20


@dataclass
class Seen:
    """What the watch has brought about one object; times are monotonic seconds."""

    created: float = 0.0
    first_status: float = 0.0
    phase: str = ""
    generation: int = 0
    at_rest: bool = False
    weights: dict[str, int] = field(default_factory=dict)
    emptied: dict[str, float] = field(default_factory=dict)
    """When each version's weight became 0."""

    def take(self, fact: dict[str, Any]) -> None:
        """Take in one line."""
        if "weights" in fact:
            for version in self.weights.keys() - fact["weights"].keys():
                self.emptied[version] = fact["at"]
            self.weights = fact["weights"]
            return
        self.created = self.created or fact["at"]
        if fact["phase"] and not self.first_status:
            self.first_status = fact["at"]
        self.phase, self.at_rest, self.generation = fact["phase"], fact["at_rest"], fact["generation"]


@dataclass
class Board:
    """Every object of one namespace, by name."""

    seen: dict[str, Seen] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, name: str) -> Seen:
        """Return what is known of an object."""
        return self.seen.setdefault(name, Seen())

    def count(self, holds: Callable[[Seen], object]) -> int:
        """Return of how many objects something holds."""
        return sum(bool(holds(seen)) for seen in self.seen.values())

    async def until(self, reached: Callable[[], object], what: str, within: float) -> None:
        """Wait for something. Raises AssertionError when it takes too long."""
        try:
            async with asyncio.timeout(within):
                while not reached():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {within:g} s: {what}") from None


@asynccontextmanager
async def watching(server: ApiServer, namespace: str) -> AsyncIterator[Board]:
    """Watch a namespace until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.watcher", str(server.kubeconfig), namespace,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LONGEST_LINE,
    )  # fmt: skip
    board = Board()
    reading = asyncio.create_task(_read(process, board))
    try:
        yield board
    finally:
        process.kill()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await process.wait()


async def _read(process: asyncio.subprocess.Process, board: Board) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        fact = json.loads(line)
        board.of(fact["name"]).take(fact)
        board.news.set()


# ---------------------------------------------------------------------- the program
def main(kubeconfig: str, namespace: str) -> None:
    """Watch both kinds until standard input is closed."""
    lock = threading.Lock()
    for kind in SELECTORS:
        threading.Thread(target=_watch, args=(kubeconfig, namespace, kind, lock), daemon=True).start()
    sys.stdin.buffer.read()


def _watch(kubeconfig: str, namespace: str, kind: Kind, lock: threading.Lock) -> None:
    """Go on where a watch broke off: the API server ends one that cannot keep up."""
    config, version = json.loads(Path(kubeconfig).read_text()), ""
    while True:
        for line in _stream(config, namespace, kind, version):
            at = time.monotonic()
            event = json.loads(line)
            version = "" if event["type"] == "ERROR" else event["object"]["metadata"]["resourceVersion"]
            if event["type"] in ("ADDED", "MODIFIED"):
                fact = json.dumps({"at": at, **_fact(kind, event["object"])})
                with lock:
                    print(fact, flush=True)


def _stream(config: Any, namespace: str, kind: Kind, version: str) -> http.client.HTTPResponse:
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trusting = ssl.create_default_context(cafile=cluster["certificate-authority"])
    connection = http.client.HTTPSConnection(urlsplit(cluster["server"]).netloc, context=trusting)
    asked = f"watch=1&timeoutSeconds=3600&resourceVersion={version}&labelSelector={SELECTORS[kind]}"
    connection.request("GET", f"{kind.path(namespace)}?{asked}", headers={"Authorization": f"Bearer {user['token']}"})
    return connection.getresponse()


def _fact(kind: Kind, obj: Object) -> dict[str, Any]:
    name = obj["metadata"]["name"]
    if kind == CONFIG_MAP:
        data = obj.get("data") or {}
        weights = {key.partition(".v")[2]: int(value) for key, value in data.items() if key.startswith("weight.v")}
        stored = {version: percent for version, percent in weights.items() if percent}
        return {"name": name.removesuffix("-traffic"), "weights": stored}
    status = obj.get("status") or {}
    held = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    at_rest = held.get("Reconciling") == "False" and held.get("TrafficConverged") == "True"
    generation = status.get("observedGeneration", -1)
    known = at_rest and generation == obj["metadata"]["generation"]
    return {"name": name, "phase": status.get("phase", ""), "at_rest": known, "generation": generation}


if __name__ == "__main__":
    main(*sys.argv[1:])
