"""The model server beside MLflow's own and MLServer: the same model and machine, one run, turn and turn about."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.benchmarks.figures import Figure, spread
from tests.benchmarks.footprint import family_mib
from tests.benchmarks.serving_peers import MLFLOW, OURS, Peer, peers, running

CLIENTS, TURNS = (1, 8, 64), 4
TRAIN = """
import json, sys, mlflow, numpy as np, pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
frame = pd.DataFrame(np.random.default_rng(8).normal(size=(500, 10)), columns=[f"f{n}" for n in range(10)])
model = LogisticRegression().fit(frame, frame["f0"] > 0)
signature = infer_signature(frame, model.predict(frame))
mlflow.sklearn.save_model(model, sys.argv[1], signature=signature, input_example=frame[:1])
print(json.dumps({"dataframe_split": json.loads(frame[:1].to_json(orient="split", index=False))}))
"""


@dataclass
class Measured:
    """What one server did with one number of clients."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)

    def values(self) -> dict[str, float]:
        """Return answers per second, and milliseconds."""
        return {"per second": len(self.times) / self.seconds, **spread(self.times, "median", "p99")}


def train(directory: Path) -> bytes:
    """Save a classifier; return one row as a request to /invocations.

    In a process of its own, for pages that this one shared with a server would make the server look smaller.
    """
    command = (sys.executable, "-W", "ignore", "-c", TRAIN, str(directory))
    trained = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return trained.stdout.splitlines()[-1]


async def load(url: str, body: bytes, clients: int, seconds: float) -> Measured:
    """Let `clients` callers ask one request after the other each; return the milliseconds of each answer."""
    measured = Measured()
    headers = {"Content-Type": "application/json"}
    began = time.perf_counter()
    end = began + seconds

    async def call(session: aiohttp.ClientSession) -> None:
        while (sent := time.perf_counter()) < end:
            async with session.post(url, data=body, headers=headers) as answer:
                await answer.read()
                answer.raise_for_status()
            measured.times.append((time.perf_counter() - sent) * 1000)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(call(session) for _ in range(clients)))
    measured.seconds = time.perf_counter() - began
    return measured


async def memory(asked: Sequence[Peer], body: bytes) -> dict[str, float]:
    """Return the MiB that each server holds with all its processes, alone and after some work."""
    held = {}
    for peer in asked:
        async with running(peer) as process:
            await load(peer.url, body, 8, 2.0)
            held[peer.name] = family_mib(process)
    return held


async def speed(asked: Sequence[Peer], body: bytes, seconds: float) -> dict[tuple[str, int], Measured]:
    """Measure by server and number of clients; turns are short, so that a busy moment of the machine hits all."""
    found = {(peer.name, clients): Measured() for peer in asked for clients in CLIENTS}
    async with AsyncExitStack() as stack:
        for peer in asked:
            await stack.enter_async_context(running(peer))
            await load(peer.url, body, 8, 2.0)
        for clients in CLIENTS * TURNS:
            for peer in asked:
                turn = await load(peer.url, body, clients, seconds / TURNS)
                total = found[peer.name, clients]
                total.seconds += turn.seconds
                total.times += turn.times
    return found


async def measure(seconds: float) -> list[Figure]:
    """Measure each server with each number of clients for so many seconds; ours is to beat the best of the others."""
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "model"
        body = await asyncio.to_thread(train, model)
        asked = await asyncio.to_thread(peers, model)
        held = await memory(asked, body)
        found = await speed(asked, body, seconds)
    names = [peer.name for peer in asked]
    figures = [_figure(name, clients, found) for clients in CLIENTS for name in names]
    return figures + [_memory(name, held) for name in names]


def _figure(name: str, clients: int, found: Mapping[tuple[str, int], Measured]) -> Figure:
    times = found[name, clients].times
    others = [each.values() for key, each in found.items() if key[0] != OURS and key[1] == clients]
    is_ours = name == OURS
    beat = {"p99": min(each["p99"] for each in others)} if is_ours else {}
    reach = {"per second": max(each["per second"] for each in others)} if is_ours else {}
    what = f"{name}, {clients} client{'s' if clients > 1 else ''}"
    values = found[name, clients].values()
    return Figure(
        what, "", values, len(times), beat=beat, reach=reach, note="one row of 10 numbers; ms", raw=times[:5000]
    )


def _memory(name: str, held: Mapping[str, float]) -> Figure:
    beat = {"held": held[MLFLOW]} if name == OURS else {}
    return Figure(f"{name}, memory", "MiB", {"held": held[name]}, beat=beat, note="all its processes, PSS")
