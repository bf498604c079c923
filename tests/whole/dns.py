"""A stand-in for the cluster's DNS: a Service's name leads to the address that a test gave it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

_A, _IN, _ANSWERED, _NO_SUCH_NAME = 1, 1, 0x8580, 0x8583
_POINTER_TO_QUESTION = 0xC00C
_TTL = 1  # seconds


class ClusterDns(asyncio.DatagramProtocol):
    """Answers for `addresses`, by full name in lower case; any other name does not exist."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ClusterDns]:
        """Listen on a free port of the loopback until the end of the block."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = transport.get_extra_info("sockname")[1]
        try:
            yield self
        finally:
            transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to answer."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question; only A records exist."""
        if self._transport is not None:
            self._transport.sendto(self.answer(data), addr)

    def answer(self, query: bytes) -> bytes:
        """Return the answer to a query of one question."""
        name, end = _name(query)
        kind = struct.unpack("!H", query[end : end + 2])[0]
        address = self.addresses.get(name)
        records = b""
        if address is not None and kind == _A:
            head = struct.pack("!HHHIH", _POINTER_TO_QUESTION, _A, _IN, _TTL, 4)
            records = head + socket.inet_aton(address)
        flags = _ANSWERED if address is not None else _NO_SUCH_NAME
        return query[:2] + struct.pack("!HHHHH", flags, 1, 1 if records else 0, 0, 0) + query[12 : end + 4] + records


def _name(query: bytes) -> tuple[str, int]:
    """Return the name that is asked about, and where it ends."""
    labels, at = [], 12
    while (length := query[at]) != 0:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += length + 1
    return ".".join(labels).lower(), at + 1
