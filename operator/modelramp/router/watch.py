"""Follow one ConfigMap through the API: list, watch, and begin again for ever."""

import asyncio
import json
import logging
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from modelramp.router.journal import note

Put = Callable[["Seen"], None]
TRANSIENT = (client.ApiException, aiohttp.ClientError, OSError, ValueError, KeyError, TimeoutError)


@dataclass(frozen=True)
class WatchSettings:
    """Say which ConfigMap, from where, and how long to wait; seconds.

    A watch ends after `watch_seconds`, by the server or else by the client: so a connection that died without
    a word costs that long at most. Then the object is listed again, which costs one small request.
    """

    namespace: str
    config_map: str
    kubeconfig: str | None = None
    context: str | None = None
    watch_seconds: int = 30
    request_seconds: float = 5.0
    first_backoff: float = 0.1
    last_backoff: float = 3.0


@dataclass(frozen=True)
class Seen:
    """Hold the ConfigMap as it was last seen; `data` is None when it does not exist."""

    data: Mapping[str, str] | None
    resource_version: str


@asynccontextmanager
async def connect(settings: WatchSettings) -> AsyncIterator[Any]:
    """Yield a CoreV1Api: by the named kubeconfig, else by the pod's service account."""
    configuration = client.Configuration()
    if settings.kubeconfig or "KUBERNETES_SERVICE_HOST" not in os.environ:
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=settings.kubeconfig, context=settings.context, client_configuration=configuration
        )
    else:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with client.ApiClient(configuration) as api:
        yield client.CoreV1Api(api)


async def watch_config_map(core: Any, settings: WatchSettings, put: Put) -> None:
    """Hand over the ConfigMap whenever it changes. Returns never; an API that is away is tried again."""
    failures = 0
    while True:
        try:
            put(seen := await list_config_map(core, settings))
            failures = 0
            await stream_config_map(core, settings, seen.resource_version, put)
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
    """Return what went wrong without what the server sent."""
    if isinstance(error, client.ApiException):
        return f"HTTP {error.status}"
    return type(error).__name__


def selection(settings: WatchSettings) -> dict[str, Any]:
    """Return the arguments that select the one ConfigMap, which its Role names."""
    return {"namespace": settings.namespace, "field_selector": f"metadata.name={settings.config_map}"}


async def list_config_map(core: Any, settings: WatchSettings) -> Seen:
    """Return the ConfigMap as the API server has it now."""
    async with asyncio.timeout(settings.request_seconds):
        response = await core.list_namespaced_config_map_without_preload_content(
            **selection(settings), _request_timeout=float(settings.request_seconds)
        )
        try:
            raise_for_status(response)
            document = json.loads(await response.read())
        finally:
            response.release()
    # The list's own version: the object's may be so old that no watch can begin at it.
    version = document["metadata"]["resourceVersion"]
    return Seen(document["items"][0].get("data") or {} if document["items"] else None, version)


async def stream_config_map(core: Any, settings: WatchSettings, version: str, put: Put) -> None:
    """Hand over every change after a resource version, until the watch ends."""
    seconds = settings.watch_seconds
    response = await core.list_namespaced_config_map_without_preload_content(
        **selection(settings),
        watch=True,
        resource_version=version,
        timeout_seconds=seconds,
        _request_timeout=float(seconds + settings.request_seconds),
    )
    try:
        raise_for_status(response)
        async for line in read_lines(response):
            if (seen := seen_event(json.loads(line))) is not None:
                put(seen)
    finally:
        response.close()


async def read_lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a stream, of any length."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


def seen_event(event: Mapping[str, Any]) -> Seen | None:
    """Return what a watch event shows. Raises ApiException for an error event (410: begin again)."""
    match event["type"]:
        case "ADDED" | "MODIFIED":
            return Seen(event["object"].get("data") or {}, event["object"]["metadata"]["resourceVersion"])
        case "DELETED":
            return Seen(None, event["object"]["metadata"]["resourceVersion"])
        case "ERROR":
            raise client.ApiException(status=event["object"].get("code", 0))
        case _:
            return None


def raise_for_status(response: aiohttp.ClientResponse) -> None:
    """Raise ApiException unless the server said 200."""
    if response.status != 200:
        raise client.ApiException(status=response.status)
