"""Ask one Envoy: JSON within a deadline and a size, every failure a value with a name."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import aiohttp

MAX_BODY = 1024 * 1024


class Failure(Enum):
    """Name why an answer could not be used."""

    TIMEOUT = "Timeout"
    UNREACHABLE = "Unreachable"
    STATUS = "Status"
    TOO_LARGE = "TooLarge"
    NOT_JSON = "NotJSON"
    UNEXPECTED = "Unexpected"


@dataclass(frozen=True)
class Unreadable:
    """Say why one router pod could not be read; `detail` holds nothing that the pod sent."""

    failure: Failure
    detail: str


async def read_json(
    session: aiohttp.ClientSession, url: str, query: Mapping[str, str], deadline: float
) -> dict[str, Any] | Unreadable:
    """Return the JSON object at an address. `deadline` in seconds for all of it, 1 MiB at most."""
    try:
        async with (
            asyncio.timeout(deadline),
            session.get(url, params=query, allow_redirects=False) as response,
        ):
            if response.status != 200:
                return Unreadable(Failure.STATUS, f"{url} answered {response.status}, not 200")
            body = await read_body(response)
    except TimeoutError:
        return Unreadable(Failure.TIMEOUT, f"{url} did not answer whole within {deadline:g} s")
    except (aiohttp.ClientError, OSError) as error:
        return Unreadable(Failure.UNREACHABLE, f"{url}: {type(error).__name__}")
    return parse_object(url, body)


async def read_body(response: aiohttp.ClientResponse) -> bytes | None:
    """Return the body, or None when it is over the limit."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def parse_object(url: str, body: bytes | None) -> dict[str, Any] | Unreadable:
    """Return the JSON object that a body holds."""
    if body is None:
        return Unreadable(Failure.TOO_LARGE, f"{url} sent more than {MAX_BODY} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Unreadable(Failure.NOT_JSON, f"{url} did not send JSON")
    if not isinstance(document, dict):
        return Unreadable(Failure.UNEXPECTED, f"{url} sent JSON that is not an object")
    return document


async def read_statistics(
    session: aiohttp.ClientSession, base: str, pattern: str, deadline: float
) -> dict[str, int | str] | Unreadable:
    """Return Envoy's statistics whose name a pattern finds: numbers, and texts like `version_text`."""
    document = await read_json(session, f"{base}/stats", {"format": "json", "filter": pattern}, deadline)
    if isinstance(document, Unreadable):
        return document
    entries = document.get("stats")
    if not isinstance(entries, list):
        return Unreadable(Failure.UNEXPECTED, f"{base}/stats has no list `stats`")
    pairs = ((e.get("name"), e.get("value")) for e in entries if isinstance(e, dict))
    return {name: value for name, value in pairs if isinstance(name, str) and isinstance(value, int | str)}


async def read_runtime(session: aiohttp.ClientSession, base: str, deadline: float) -> dict[str, str] | Unreadable:
    """Return Envoy's runtime: the final value of each key."""
    document = await read_json(session, f"{base}/runtime", {"format": "json"}, deadline)
    if isinstance(document, Unreadable):
        return document
    entries = document.get("entries")
    if not isinstance(entries, dict):
        return Unreadable(Failure.UNEXPECTED, f"{base}/runtime has no mapping `entries`")
    values = ((key, e.get("final_value")) for key, e in entries.items() if isinstance(e, dict))
    return {key: value for key, value in values if isinstance(value, str)}


async def post(session: aiohttp.ClientSession, url: str, deadline: float) -> Unreadable | None:
    """Post to Envoy's admin; return what went wrong."""
    try:
        async with asyncio.timeout(deadline), session.post(url) as response:
            if response.status != 200:
                return Unreadable(Failure.STATUS, f"{url} answered {response.status}, not 200")
    except TimeoutError:
        return Unreadable(Failure.TIMEOUT, f"{url} did not answer within {deadline:g} s")
    except (aiohttp.ClientError, OSError) as error:
        return Unreadable(Failure.UNREACHABLE, f"{url}: {type(error).__name__}")
    return None
