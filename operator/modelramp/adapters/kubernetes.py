"""Talk to the API server: every call has a deadline, every fault is a value, no body or token leaves in a message.

Goes below the client's typed models, straight to its transport with plain JSON: a typed call costs twice the CPU
and hides fields that the models do not know.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from aiohttp import ClientError, ClientTimeout, ServerDisconnectedError
from kubernetes.aio import config
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.rest import RESTClientObject

from modelramp.adapters.kinds import FIELD_MANAGER, Kind, Object, kind_of
from modelramp.ports import Conflict
from modelramp.rollout.observation import Failed

LONGEST_MESSAGE = 300
PAGE = 100  # a list's pages: small enough that reading thousands of pods leaves no mountain in memory
SILENCE = 90.0  # seconds; bookmarks come each minute
_VALUE = re.compile(r'Invalid value: (?:"(?P<text>(?:\\.|[^"\\])*)(?:"|$)|[{\[].*)', re.DOTALL)
APPLY, JSON, JSON_PATCH, MERGE_PATCH = (
    "application/apply-patch+yaml",
    "application/json",
    "application/json-patch+json",
    "application/merge-patch+json",
)


@dataclass(frozen=True, slots=True)
class Reply:
    """The API server did it; `object` is what it holds now, a Status after a delete."""

    object: Object


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such object, or no such namespace or kind."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind, as of `resource_version`."""

    items: tuple[Object, ...]
    resource_version: str


Answer = Reply | Missing | Conflict | Failed
"""What comes of a call. Conflict: somebody wrote in between, it exists already, or a JSON patch's `test` failed."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    kind: Kind
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Object | Sequence[Object] | None = None
    content_type: str = JSON

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def target(self) -> str:
        asked = {key: value for key, value in self.query.items() if value}
        return f"{self.path}?{urlencode(asked)}" if asked else self.path


_OURS = {"fieldManager": FIELD_MANAGER}

OnCall = Callable[[str, str, int, float], None]
"""Called after each answer: method, plural, HTTP status (0: none came), seconds."""


def _ignore(_method: str, _plural: str, _status: int, _seconds: float) -> None:
    return


Keep = Callable[[Object], Object]


def _whole(obj: Object) -> Object:
    return obj


class Cluster:
    """An API server. `deadline` is seconds for one call, connect to last byte, a retry included."""

    def __init__(self, configuration: Configuration, *, deadline: float = 5.0, on_call: OnCall = _ignore) -> None:
        configuration.connection_pool_maxsize = 32
        # Otherwise each request looks for proxies and a netrc file, in a thread of its own: a third of its CPU.
        configuration.client_session_kwargs = {"trust_env": False}
        self._configuration = configuration
        self._deadline = deadline
        self._on_call = on_call
        self._rest = RESTClientObject(configuration)

    @classmethod
    async def connect(
        cls, kubeconfig: Path | None = None, *, deadline: float = 5.0, on_call: OnCall = _ignore
    ) -> Cluster:
        """Read the pod's service account, or the kubeconfig that is named. Raises ConfigException for a bad one."""
        configuration = Configuration()
        if kubeconfig is None:
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        else:
            loading = config.load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
            await loading
        return cls(configuration, deadline=deadline, on_call=on_call)

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Answer:
        """Read one object."""
        return await self._call(_Request("GET", kind, kind.path(namespace, name)))

    async def list(
        self, kind: Kind, namespace: str | None = None, selector: str = "", keep: Keep = _whole, fields: str = ""
    ) -> Listing | Failed:
        """Read all objects of a kind, PAGE at a time; of each only what `keep` returns stays in memory."""
        items: list[Object] = []
        following: str | None = ""
        version = ""
        while following is not None:
            query = {"labelSelector": selector, "fieldSelector": fields, "limit": str(PAGE), "continue": following}
            match await self._call(_Request("GET", kind, kind.path(namespace), query)):
                case Reply(page):
                    items += [keep(obj) for obj in page.get("items") or ()]
                    version = page["metadata"]["resourceVersion"]
                    following = page["metadata"].get("continue") or None
                case Missing(message) | Conflict(message):
                    return Failed("NotListed", message)
                case Failed() as failed:
                    return failed
        return Listing(tuple(items), version)

    async def watch(self, kind: Kind, namespace: str | None, query: Mapping[str, str]) -> AsyncIterator[Object]:
        """Yield the events of a watch until the API server ends it. Raises ClientError, OSError or TimeoutError."""
        request = _Request("GET", kind, kind.path(namespace), {"watch": "true", "allowWatchBookmarks": "true", **query})
        answer = await self._rest.request(  # type: ignore[no-untyped-call]
            "GET",
            f"{self._configuration.host}{request.target}",
            await self._headers(JSON),
            _request_timeout=ClientTimeout(sock_connect=self._deadline, sock_read=SILENCE),
        )
        async with answer.response as events:
            self._on_call("WATCH", kind.plural, events.status, 0.0)
            events.raise_for_status()
            rest = b""
            async for chunk in events.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)

    async def create(self, obj: Object) -> Answer:
        """Create an object; Conflict when it exists already."""
        kind = kind_of(obj)
        return await self._call(_Request("POST", kind, kind.path(obj["metadata"]["namespace"]), _OURS, obj))

    async def apply(self, obj: Object, manager: str = FIELD_MANAGER) -> Answer:
        """Apply an object server-side, taking the fields that it names for `manager`."""
        query = {"fieldManager": manager, "force": "true"}
        return await self._call(_Request("PATCH", kind_of(obj), _path(obj), query, obj, APPLY))

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: Object | Sequence[Object], manager: str = FIELD_MANAGER
    ) -> Answer:
        """Patch an object: a mapping is a merge patch, a list a JSON patch."""
        content_type, query = MERGE_PATCH if isinstance(body, Mapping) else JSON_PATCH, {"fieldManager": manager}
        return await self._call(_Request("PATCH", kind, kind.path(namespace, name), query, body, content_type))

    async def replace(self, obj: Object, subresource: str = "") -> Answer:
        """Replace an object or its subresource; Conflict when `metadata.resourceVersion` is not the newest."""
        return await self._call(_Request("PUT", kind_of(obj), _path(obj, subresource), _OURS, obj))

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str = "", foreground: bool = False) -> Answer:
        """Delete an object; with `uid`, only the one that has it."""
        policy = "Foreground" if foreground else "Background"
        body = {"propagationPolicy": policy} | ({"preconditions": {"uid": uid}} if uid else {})
        return await self._call(_Request("DELETE", kind, kind.path(namespace, name), {}, body))

    async def _call(self, request: _Request) -> Answer:
        try:
            async with asyncio.timeout(self._deadline):
                status, content, wait = await self._send(request)
                if status == 429 and wait is not None:
                    await asyncio.sleep(wait)
                    status, content, _ = await self._send(request)
        except TimeoutError:
            return Failed("Timeout", f"{request}: no answer within {self._deadline:g} s")
        except (ClientError, OSError, ApiException) as error:
            return Failed("Unreachable", f"{request}: {type(error).__name__}")
        return judge(str(request), status, content)

    async def _send(self, request: _Request) -> tuple[int, bytes, float | None]:
        try:
            return await self._send_once(request)
        except ServerDisconnectedError:
            # An idle connection that the server closed, as all are when it restarts. Every write is a goal or is
            # fenced by a version, so that sending it twice is harmless.
            return await self._send_once(request)

    async def _send_once(self, request: _Request) -> tuple[int, bytes, float | None]:
        started = asyncio.get_running_loop().time()
        status = 0
        try:
            answer = await self._rest.request(  # type: ignore[no-untyped-call]
                request.method,
                f"{self._configuration.host}{request.target}",
                await self._headers(request.content_type),
                request.body,
                _request_timeout=ClientTimeout(self._deadline),
            )
            content: bytes = await answer.read()
            status = answer.status
            return status, content, _seconds(answer.headers.get("Retry-After"))
        finally:
            self._on_call(request.method, request.kind.plural, status, asyncio.get_running_loop().time() - started)

    async def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"Content-Type": content_type, "Accept": JSON, "User-Agent": FIELD_MANAGER}
        token: str | None = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        elif self._configuration.username:
            headers["Authorization"] = str(self._configuration.get_basic_auth_token())
        return headers


def judge(what: str, status: int, content: bytes) -> Answer:
    """Return what an HTTP answer to `what` means."""
    document = _parsed(content)
    if 200 <= status < 300:
        return Reply(document) if document is not None else Failed("Malformed", f"{what}: {status} without JSON")
    said = document or {}
    message = f"{what}: {status} {said.get('reason') or 'Error'}: {_without_values(str(said.get('message', '')))}"
    if status == 404:
        return Missing(message)
    if status == 409 or (status == 422 and _test_failed(said)):
        return Conflict(message)
    return Failed(str(said.get("reason") or f"Http{status}"), message)


def _test_failed(status: Object) -> bool:
    """Tell a JSON patch that did not apply from an object that is not valid: only the latter names fields."""
    causes = (status.get("details") or {}).get("causes") or ()
    return not any(cause.get("field") for cause in causes)


def _without_values(message: str) -> str:
    """Cut out rejected values but short plain ones: the API server repeats whole objects."""
    return _VALUE.sub(_shown, message)[:LONGEST_MESSAGE]


def _shown(value: re.Match[str]) -> str:
    text = value["text"]
    return value[0] if text is not None and len(text) <= 40 and "{" not in text else "Invalid value: (not shown)"


def _parsed(content: bytes) -> Object | None:
    try:
        document = json.loads(content)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


def _path(obj: Object, subresource: str = "") -> str:
    return kind_of(obj).path(obj["metadata"]["namespace"], obj["metadata"]["name"], subresource)
