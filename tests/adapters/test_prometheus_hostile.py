"""Servers that misbehave: each its own named reason, never a number, never a secret in the message."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Mapping
from datetime import timedelta

import pytest

from modelramp.adapters.prometheus import Limits
from modelramp.rollout.observation import Failed
from tests.adapters.prometheus_peer import (
    MIB,
    SECRET,
    Talk,
    answer,
    asking,
    document,
    hang,
    http,
    reset,
    saying,
    saying_and_closing,
    serving,
)


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in http(document()):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def process_for_ever(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0)


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send 200 MiB, chunk by chunk, and not say so before."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(200):
        writer.write(b"100000\r\n" + b" " * MIB + b"\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n")


def bomb(mebibytes: int) -> bytes:
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packing.compress(b" " * MIB) for _ in range(mebibytes)), packing.flush()])


ENDLESS_HEADERS = [b"HTTP/1.1 200 OK\r\n", *(f"X-{number}: {SECRET}\r\n".encode() for number in range(100_000))]

HOSTILE: Mapping[str, tuple[str, Talk]] = {
    "login page": ("NotPrometheus", saying(http(b"<html>" + SECRET.encode()))),
    "empty body": ("NotPrometheus", saying(http(b""))),
    "no content": ("NotPrometheus", saying(b"HTTP/1.1 204 No Content\r\n\r\n")),
    "another API": ("NotPrometheus", saying(http(b'{"message": "s3cret"}'))),
    "not HTTP": ("NotPrometheus", saying_and_closing(b"SSH-2.0-s3cret\r\n")),
    "endless headers": ("NotPrometheus", saying(*ENDLESS_HEADERS)),
    "endless header": ("NotPrometheus", saying(b"HTTP/1.1 200 OK\r\nX: " + b"s" * MIB)),
    "unasked encoding": ("NotPrometheus", saying(http(b"\x1b", "Content-Encoding: br"))),
    "gzip that is none": ("NotPrometheus", saying(http(document(), "Content-Encoding: gzip"))),
    "to the login page": ("Redirected", saying(http(b"", f"Location: https://sso.test/?{SECRET}", status="302 Found"))),
    "without location": ("Redirected", saying(http(b"", status="302 Found"))),
    "refused": ("QueryRefused", saying(http(
        b'{"status":"error","errorType":"bad_data","error":"s3cret"}', status="400 Bad Request"))),
    "refused by a gateway": ("NotPrometheus", saying(http(SECRET.encode(), status="400 Bad Request"))),
    "unauthorized": ("Unauthorized", saying(http(SECRET.encode(), status="401 Unauthorized"))),
    "unavailable": ("ServerError", saying(http(SECRET.encode(), status="503 Service Unavailable"))),
    "unavailable, and dripping": ("ServerError", saying(b"HTTP/1.1 503 X\r\nContent-Length: 99999\r\n\r\n")),
    "throttled": ("Throttled", saying(http(b"", "Retry-After: 3600", status="429 Too Many Requests"))),
    "broken off": ("Truncated", saying_and_closing(http(document())[:-10])),
    "broken off in a chunk": ("Truncated", saying_and_closing(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n{\"status\"")),
    "broken off without a length": ("Truncated", saying_and_closing(b"HTTP/1.1 200 OK\r\n\r\n" + document()[:-10])),
    "half a gzip": ("Truncated", saying(http(gzip.compress(document())[:-9], "Content-Encoding: gzip"))),
    "bad chunk": ("NotPrometheus", saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n")),
    "flood": ("TooLarge", flood),
    "announced flood": ("TooLarge", saying(b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n", b" " * 2 * MIB)),
    "gzip bomb": ("TooLarge", saying(http(bomb(200), "Content-Encoding: gzip"))),
    "hang": ("Timeout", hang),
    "hang after the headers": ("Timeout", saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")),
    "one byte at a time": ("Timeout", drip),
    "endless informational answers": ("Timeout", process_for_ever),
    "reset": ("Unreachable", reset),
    "closed at once": ("Unreachable", saying_and_closing()),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_server_that_misbehaves_is_named_and_never_believed(case: str) -> None:
    reason, talk = HOSTILE[case]
    async with serving(talk) as peer:
        found = await answer(peer, limits=Limits(timeout=timedelta(seconds=1 if reason == "Timeout" else 10)))
    assert isinstance(found, Failed)
    assert found.reason == reason
    assert SECRET not in found.message
    assert 0 < len(found.message) < 100
    assert "\n" not in found.message


@pytest.mark.parametrize("case", ["flood", "gzip bomb", "announced flood"])
async def test_a_huge_answer_does_not_fill_the_memory(case: str) -> None:
    async with serving(HOSTILE[case][1]) as peer:
        tracemalloc.start()
        await answer(peer)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 12 * MIB


async def test_the_deadline_is_for_the_whole_answer() -> None:
    async with serving(drip) as peer:
        began = asyncio.get_running_loop().time()
        found = await answer(peer)
        took = asyncio.get_running_loop().time() - began
    assert found == Failed("Timeout", "no whole answer within 0.5 s")
    assert took == pytest.approx(0.5, abs=0.4)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid:9090", "https://127.0.0.1:1"])
async def test_a_server_that_is_not_there_is_unreachable(url: str) -> None:
    async with asking(url, limits=Limits(timeout=timedelta(seconds=20))) as metrics:
        found = await metrics.query("up")
    assert isinstance(found, Failed)
    assert found.reason == "Unreachable"
    assert found.message in ("Connection refused", "the host's name is not known")
