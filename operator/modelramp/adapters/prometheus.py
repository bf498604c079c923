"""Instant queries over HTTP: one deadline, a cap on the body, no redirect, no proxy, no cookie.

Why not prometheus-api-client: docs/decisions/20261123-instant-queries-over-aiohttp.md.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import zlib
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from modelramp.adapters.prometheus_access import Access
from modelramp.adapters.prometheus_answer import JUDGED_BY_BODY, Answer, judge
from modelramp.ports import Clock
from modelramp.rollout.observation import Failed, Reading

_CONNECTIONS = 20  # as many queries as Prometheus runs at once by default
_KEEP_ALIVE = 30.0  # seconds; shorter than the usual gateways' 60
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Cache-Control": "no-cache",
    "Content-Type": "application/x-www-form-urlencoded",
    "User-Agent": "modelramp",
}
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Limits:
    """What an answer may take.

    `timeout` is for all of it: name, connection, headers, body. `body_cap` is in bytes, unpacked. `freshness`
    is how far the answer's time may be from ours. `lookback` is how old a raw sample may be that a query
    without a range sees: twice the longest scrape interval.
    """

    timeout: timedelta = timedelta(seconds=3)
    body_cap: int = 1 << 20
    freshness: timedelta = timedelta(seconds=30)
    lookback: timedelta = timedelta(minutes=2)


class PrometheusMetrics:
    """The `Metrics` port: one for the process, closed at its end."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Take the server's address; raises ValueError when it cannot be used, see `Access`."""
        self._access = Access(url, token_file, ca_file)
        self._url = self._access.api("query")
        self._clock = clock
        self._limits = limits or Limits()
        self._method = "POST"
        self._session: aiohttp.ClientSession | None = None

    async def query(self, promql: str) -> Reading[float]:
        """Answer with one finite, fresh number, or say why not; never raises but for cancellation.

        NoData: EmptyResult, NotANumber. Failed: SeveralSeries, Infinite, WrongType, Warnings, Stale,
        ClocksDiffer, QueryRefused, Unauthorized, Throttled, Redirected, ServerError, NotPrometheus,
        Truncated, TooLarge, Timeout, Unreachable, TokenUnreadable, CertificatesUnreadable.
        """
        asked_at = self._clock.now()
        answer = await self._answer(promql)
        return answer if isinstance(answer, Failed) else judge(answer, asked_at, self._limits.freshness)

    async def close(self) -> None:
        """Close the connections; a later query opens new ones."""
        session, self._session = self._session, None
        if session:
            await session.close()

    async def _answer(self, promql: str) -> Answer | Failed:
        seconds = self._limits.timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(_form(promql, self._limits))
        except TimeoutError:
            return Failed("Timeout", f"no whole answer within {seconds:g} s")
        except UnicodeEncodeError:
            return Failed("QueryRefused", "the query holds half of a surrogate pair, which is no text")
        except (aiohttp.ClientError, OSError) as fault:
            return _explained(fault)

    async def _ask(self, form: bytes) -> Answer | Failed:
        answer = await self._ask_again_if_closed(form)
        if isinstance(answer, Answer) and answer.status == 405 and self._method == "POST":
            self._method = "GET"
            answer = await self._ask_again_if_closed(form)
        return answer

    async def _ask_again_if_closed(self, form: bytes) -> Answer | Failed:
        """Send once more when the connection that was kept had been closed at the other end."""
        try:
            return await self._send(form)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return await self._send(form)

    async def _send(self, form: bytes) -> Answer | Failed:
        credentials, trust = self._access.authorization(), self._access.trust()
        if isinstance(credentials, Failed):
            return credentials
        if isinstance(trust, Failed):
            return trust
        response = await self._request(form, credentials, trust)
        try:
            return await self._receive(response)
        finally:
            response.close()  # keeps the connection where the body was read to its end

    async def _request(
        self, form: bytes, credentials: dict[str, str], trust: ssl.SSLContext | bool
    ) -> aiohttp.ClientResponse:
        posted = self._method == "POST"
        url = self._url if posted else URL(f"{self._url}?{form.decode()}", encoded=True)
        return await self._open_session().request(
            self._method,
            url,
            data=form if posted else None,
            headers=_HEADERS | credentials,
            ssl=trust,
            allow_redirects=False,
        )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def _receive(self, response: aiohttp.ClientResponse) -> Answer | Failed:
        if response.status not in JUDGED_BY_BODY:
            return Answer(response.status)
        body = await _read(response, self._limits.body_cap)
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity" and isinstance(body, bytes):
            body = _unpacked(body, encoding, self._limits.body_cap)
        return Answer(response.status, body) if isinstance(body, bytes) else body


@lru_cache(maxsize=1024)  # the same few queries again and again; encoding is a fifth of their cost
def _form(promql: str, limits: Limits) -> bytes:
    # `limit`: two series are as wrong as a million.
    fields = {
        "query": promql,
        "timeout": _duration(limits.timeout),
        "lookback_delta": _duration(limits.lookback),
        "limit": "2",
    }
    return urlencode(fields).encode()


def _duration(length: timedelta) -> str:
    return f"{round(length.total_seconds() * 1000)}ms"


async def _read(response: aiohttp.ClientResponse, cap: int) -> bytes | Failed:
    body = bytearray()
    while chunk := await response.content.readany():
        body += chunk
        if len(body) > cap:
            return _too_large(cap)
    return bytes(body)


def _unpacked(body: bytes, encoding: str, cap: int) -> bytes | Failed:
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return Failed("NotPrometheus", "the answer is encoded in a way that was not asked for")
    unpacking = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = unpacking.decompress(body, cap + 1)
    except zlib.error:
        return Failed("NotPrometheus", f"the answer claims to be {encoding} and is not")
    if len(plain) > cap:
        return _too_large(cap)
    return plain if unpacking.eof else Failed("Truncated", "the answer broke off")


def _too_large(cap: int) -> Failed:
    return Failed("TooLarge", f"the answer is over {cap} bytes")


def _explained(fault: aiohttp.ClientError | OSError) -> Failed:
    match fault:
        case aiohttp.ClientPayloadError():
            return Failed("Truncated", "the answer broke off")
        case aiohttp.ClientResponseError():
            return Failed("NotPrometheus", "the answer is not HTTP")
        case _:
            return Failed("Unreachable", _obstacle(fault))


def _obstacle(fault: aiohttp.ClientError | OSError) -> str:
    match fault:
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as wrong):
            return f"TLS: {wrong.verify_message}"
        case aiohttp.ClientSSLError():
            return "TLS: the handshake failed; is the port one for https?"
        case aiohttp.ClientConnectorDNSError():
            return "the host's name is not known"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=int(number))) if number:
            return os.strerror(number)
        case _:
            return "the connection was closed before there was an answer"
