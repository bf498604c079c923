"""Follow one ConfigMap through the API: list, watch, and begin again for ever.

Plain HTTP on purpose: the official client's typed API costs 170 MiB and two CPU seconds in every router pod,
for two requests.
"""

import asyncio
import json
import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from modelramp.router.journal import note

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
Put = Callable[["Seen"], None]


class ApiError(Exception):
    """The API server answered, and not with what was asked for."""

    def __init__(self, status: int) -> None:
        """Hold the status code; the body is nobody's business here."""
        super().__init__(f"HTTP {status}")


TRANSIENT = (ApiError, aiohttp.ClientError, OSError, ValueError, KeyError)


@dataclass(frozen=True)
class WatchSettings:
    """Say which ConfigMap, from where, and how long to wait; seconds.

    A watch ends after `watch_seconds`, by the server or else by the client: so a connection that died without
    a word costs that long at most. Then token and certificate are read anew and the object is listed again.
    """

    namespace: str
    config_map: str
    server: str = "https://kubernetes.default.svc"
    token: Path = ACCOUNT / "token"
    certificate: Path = ACCOUNT / "ca.crt"
    watch_seconds: int = 30
    request_seconds: float = 5.0
    first_backoff: float = 0.1
    last_backoff: float = 3.0


@dataclass(frozen=True)
class Seen:
    """Hold the ConfigMap as it was last seen; `data` is None when it does not exist."""

    data: Mapping[str, str] | None
    resource_version: str


async def watch_config_map(settings: WatchSettings, put: Put) -> None:
    """Hand over the ConfigMap whenever it changes. Returns never; an API that is away is tried again."""
    failures = 0
    while True:
        try:
            async with connect(settings) as session:
                put(seen := await list_config_map(session, settings))
                failures = 0
                await stream_config_map(session, settings, seen.resource_version, put)
        except TRANSIENT as error:
            failures += 1
            pause = backoff(failures, settings)
            away = {"error": explain(error), "failures": failures, "retry_in": round(pause, 3)}
            note("API away", away, logging.WARNING)
            await asyncio.sleep(pause)


def backoff(failures: int, settings: WatchSettings) -> float:
    """Return the pause before the next try: doubling, bounded, and not the same for all routers."""
    ceiling = min(settings.last_backoff, settings.first_backoff * 2.0 ** min(failures - 1, 16))
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load, guards nothing)


def explain(error: Exception) -> str:
    """Return what went wrong, without anything that the server sent."""
    return str(error) if isinstance(error, ApiError) else type(error).__name__


@asynccontextmanager
async def connect(settings: WatchSettings) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session with the account's token, which trusts the cluster's certificate only."""
    trusting = ssl.create_default_context(cafile=str(settings.certificate))
    # Python 3.13 asks for extensions that certificates of many clusters do not have.
    trusting.verify_flags &= ~ssl.VERIFY_X509_STRICT
    token = settings.token.read_text(encoding="utf-8").strip()
    async with aiohttp.ClientSession(
        base_url=settings.server,
        connector=aiohttp.TCPConnector(ssl=trusting),
        headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
    ) as session:
        yield session


def collection(settings: WatchSettings) -> str:
    """Return the path of the namespace's ConfigMaps."""
    return f"/api/v1/namespaces/{quote(settings.namespace, safe='')}/configmaps"


def selection(settings: WatchSettings) -> dict[str, str]:
    """Return the query that selects the one ConfigMap; without it the Role does not hold."""
    return {"fieldSelector": f"metadata.name={settings.config_map}"}


async def list_config_map(session: aiohttp.ClientSession, settings: WatchSettings) -> Seen:
    """Return the ConfigMap as the API server has it now."""
    timeout = aiohttp.ClientTimeout(total=settings.request_seconds)
    async with session.get(collection(settings), params=selection(settings), timeout=timeout) as response:
        raise_for_status(response)
        document = json.loads(await response.read())
    # The list's own version: the object's may be so old that no watch can begin at it.
    version = document["metadata"]["resourceVersion"]
    return Seen(document["items"][0].get("data") or {} if document["items"] else None, version)


async def stream_config_map(session: aiohttp.ClientSession, settings: WatchSettings, version: str, put: Put) -> None:
    """Hand over every change after a resource version, until the watch ends."""
    watching = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(settings.watch_seconds)}
    timeout = aiohttp.ClientTimeout(total=settings.watch_seconds + settings.request_seconds)
    query = selection(settings) | watching
    async with session.get(collection(settings), params=query, timeout=timeout) as response:
        raise_for_status(response)
        async for line in read_lines(response):
            if (seen := seen_event(json.loads(line))) is not None:
                put(seen)


async def read_lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a stream, of any length."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


def seen_event(event: Mapping[str, Any]) -> Seen | None:
    """Return what a watch event shows. Raises ApiError for an error event (410: begin again)."""
    match event["type"]:
        case "ADDED" | "MODIFIED":
            return Seen(event["object"].get("data") or {}, event["object"]["metadata"]["resourceVersion"])
        case "DELETED":
            return Seen(None, event["object"]["metadata"]["resourceVersion"])
        case "ERROR":
            raise ApiError(event["object"].get("code", 0))
        case _:
            return None


def raise_for_status(response: aiohttp.ClientResponse) -> None:
    """Raise ApiError unless the server said 200."""
    if response.status != 200:
        raise ApiError(response.status)
