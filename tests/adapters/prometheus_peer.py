"""Servers on the loopback that answer as a test wants, byte by byte, and the adapter that asks them."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.prometheus import Limits, PrometheusMetrics
from modelramp.rollout.observation import Reading

SECRET = "s3cret"
QUICK = Limits(timeout=timedelta(seconds=0.5))
MIB = 1 << 20


def document(number: str = "0.25") -> bytes:
    sample = {"metric": {}, "value": [datetime.now(UTC).timestamp(), number]}
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": [sample]}}).encode()


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Peer:
    """A server that says what a test wants it to, byte by byte."""

    url: str = ""
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def serving(talk: Talk, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Peer]:
    """Let `talk` answer every request of every connection."""
    peer = Peer()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                peer.requests.append(await read_request(reader))
                peer.asked.set()
                await talk(reader, writer)
        writer.close()
        peer.ended.set()

    async with await asyncio.start_server(connected, host, 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        peer.url = f"{'https' if context else 'http'}://127.0.0.1:{port}"
        yield peer
        server.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length")), 0
    )
    return head + await reader.readexactly(length)


def saying(*parts: bytes) -> Talk:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return talk


def saying_and_closing(*parts: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await saying(*parts)(reader, writer)
        writer.close()

    return talk


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@asynccontextmanager
async def asking(url: str, **options: object) -> AsyncIterator[PrometheusMetrics]:
    metrics = PrometheusMetrics(url, SystemClock(), **options)  # type: ignore[arg-type]
    try:
        yield metrics
    finally:
        await metrics.close()


async def answer(peer: Peer, **options: object) -> Reading[float]:
    async with asking(peer.url, **{"limits": QUICK} | options) as metrics:
        return await metrics.query("up")
