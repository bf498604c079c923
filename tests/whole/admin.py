"""An administrator's way to the API server: for stand-ins, observers and the hands of people; past every proxy."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import aiohttp

from modelramp.adapters.kinds import MODEL_DEPLOYMENT, Kind, Object, kind_of
from modelramp.ports import Ref
from tests.controlplane import ApiServer

MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"


class RefusedError(Exception):
    """The API server's answer was no; holds the status code and what it said."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said[:300]}")
        self.status = status


class Admin:
    """A cluster administrator; use it as a context manager."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server

    async def __aenter__(self) -> Self:
        trusting = ssl.create_default_context(cafile=str(self.server.ca))
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusting, limit=0),
            headers={"Authorization": f"Bearer {self.server.token}"},
            timeout=aiohttp.ClientTimeout(total=30),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """Send one request and return the decoded answer. Raises RefusedError, aiohttp.ClientError."""
        data = None if body is None else json.dumps(body)
        url = self.server.url + path
        async with self.session.request(method, url, data=data, headers={"Content-Type": kind}) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise RefusedError(answer.status, text)
            return json.loads(text) if answer.content_type == "application/json" else text

    async def get(self, kind: Kind, namespace: str, name: str) -> Any:
        """Read an object; None when there is none."""
        try:
            return await self.request("GET", kind.path(namespace, name))
        except RefusedError as refused:
            if refused.status != 404:
                raise
            return None

    async def list(self, kind: Kind, namespace: str | None = None, selector: str = "") -> tuple[list[Any], str]:
        """Read all objects of a kind, and the resource version of the answer."""
        answer = await self.request("GET", f"{kind.path(namespace)}?labelSelector={selector}")
        return answer["items"], answer["metadata"]["resourceVersion"]

    async def create(self, obj: Object, manager: str = "kubectl-create") -> Any:
        """Create an object."""
        path = kind_of(obj).path(obj["metadata"]["namespace"])
        return await self.request("POST", f"{path}?fieldManager={manager}", obj)

    async def merge(self, kind: Kind, ref: Ref, patch: Mapping[str, Any], *, sub: str = "") -> Any:
        """Patch an object as `kubectl patch --type merge` does."""
        path = f"{kind.path(ref.namespace, ref.name, sub)}?fieldManager=kubectl-patch"
        return await self.request("PATCH", path, patch, MERGE)

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete an object without grace; one that is gone is deleted."""
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        try:
            await self.request("DELETE", kind.path(namespace, name), options)
        except RefusedError as refused:
            if refused.status != 404:
                raise

    async def edit(self, ref: Ref, **spec: Any) -> Any:
        """Change fields of a ModelDeployment's spec."""
        return await self.merge(MODEL_DEPLOYMENT, ref, {"spec": spec})

    async def watch(
        self, kind: Kind, namespace: str | None, version: str, selector: str = ""
    ) -> AsyncIterator[tuple[str, Any]]:
        """Yield a watch's events until it ends, which it does when the API server goes away or says 410."""
        path = f"{kind.path(namespace)}?watch=1&resourceVersion={version}&labelSelector={selector}"
        no_limit = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with self.session.get(self.server.url + path, timeout=no_limit) as answer:
            if answer.status != 200:
                raise RefusedError(answer.status, await answer.text())
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for event in (json.loads(line) for line in lines if line):
                    if event["type"] == "ERROR":
                        raise RefusedError(event["object"].get("code", 0), event["object"].get("message", ""))
                    yield event["type"], event["object"]

    async def follow(self, kind: Kind, selector: str = "") -> AsyncIterator[tuple[str, Any]]:
        """Yield every object as it is, then every change, for ever; what is away is waited for."""
        known: dict[tuple[str, str], Any] = {}
        while True:
            try:
                items, version = await self.list(kind, None, selector)
                listed = {_key(item): item for item in items}
                for gone in known.keys() - listed.keys():
                    yield "DELETED", known.pop(gone)
                for key, item in listed.items():
                    known[key] = item
                    yield "ADDED", item
                async for change, obj in self.watch(kind, None, version, selector):
                    if change == "DELETED":
                        known.pop(_key(obj), None)
                    else:
                        known[_key(obj)] = obj
                    yield change, obj
            except (RefusedError, aiohttp.ClientError, OSError, TimeoutError, ValueError):
                await asyncio.sleep(0.05)


def _key(obj: Any) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]
