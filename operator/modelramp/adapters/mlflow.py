"""The MLflow registry, as the gates ask it: a version, its metrics and tags, and the digest of its files.

MLflow's client runs in a process of its own (`mlflow_worker`), in a small thread pool there; this module
keeps the deadlines, and what was hashed. Credentials are MLflow's own environment variables.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from modelramp.adapters.mlflow_failures import address
from modelramp.adapters.mlflow_process import Answer, Call, Worker
from modelramp.adapters.mlflow_version import model_version
from modelramp.rollout.observation import Busy, Failed, ModelVersion, NoData, Reading, Value

_KEPT_TREES = 64
_PATIENCE = 0.5  # seconds that one question may hold up a turn, which guards traffic too
_DOWN = {"RegistryTimeout", "RegistryUnreachable", "RegistryError"}

Wanted = tuple[str, str, bool]
"""Name, version, whether with the signature."""
TreeKey = tuple[str, str, str, str]
"""Name, version, source, creation time: registered anew under the same number is another tree."""


class MlflowRegistry:
    """A registry that is given up after `deadline` seconds, and never holds up a turn for more than one."""

    def __init__(
        self,
        uri: str,
        *,
        threads: int = 4,
        deadline: float = 5.0,
        tree_deadline: float = 1800.0,
        cooldown: float = 2.0,
        idle: float = 60.0,
    ) -> None:
        """Prepare; nothing is started or asked before the first `resolve`.

        `threads` calls run at a time. `tree_deadline` seconds bound the hashing of one version's files.
        For `cooldown` seconds after a failure the registry is not asked again. `idle` seconds without a
        question end the worker. Raises ValueError where `uri` is no http(s) address.
        """
        _check(uri)
        self._where, self._deadline, self._tree_deadline = address(uri), deadline, tree_deadline
        self._worker = Worker(threads, environment(uri, deadline), idle)
        self._threads, self._slots, self._overdue = threads, asyncio.Semaphore(threads), 0
        self._asking: dict[Wanted, asyncio.Task[Answer]] = {}
        self._trees: OrderedDict[TreeKey, Mapping[str, Any]] = OrderedDict()
        self._hashing: dict[TreeKey, tuple[Call, asyncio.Task[Answer]]] = {}
        self._cooldown, self._quiet_until, self._trouble = cooldown, 0.0, Failed("", "")

    @property
    def worker(self) -> Worker:
        """Return the process that holds MLflow's client."""
        return self._worker

    @property
    def pid(self) -> int | None:
        """Return the worker's process id, None while none runs."""
        return self._worker.pid

    async def inspect(self, name: str, version: str) -> Reading[ModelVersion] | Busy:
        """Read a version without its files, the signature apart; comes back within a second, as `resolve` does."""
        match await self._settled(name, version, signature=True):
            case Value(found):
                return Value(model_version(found, None))
            case other:
                return other

    async def resolve(self, name: str, version: str) -> Reading[ModelVersion] | Busy:
        """Resolve a version; `source` is the artifact store's own address, which no alias can move.

        Comes back within a second: what takes longer goes on, and whoever asks again is told of it.
        """
        match await self._settled(name, version, signature=False):
            case Value(found):
                return await self._with_tree(found)
            case other:
                return other

    async def _settled(self, name: str, version: str, *, signature: bool) -> Answer | Busy:
        if asyncio.get_running_loop().time() < self._quiet_until:
            return self._trouble
        wanted = name, version, signature
        asking = self._asking.get(wanted) or self._ask(wanted)
        await asyncio.wait({asking}, timeout=_PATIENCE)
        if not asking.done():
            return Busy(f"asking the registry for version {version}")
        self._forget(wanted, asking)
        self._note(asking.result())
        return asking.result()

    async def close(self) -> None:
        """End the worker."""
        for task in (*self._asking.values(), *(job for _, job in self._hashing.values())):
            task.cancel()
        await self._worker.close()

    def _note(self, answer: Answer) -> None:
        """Leave a registry that is down alone for a moment: a hundred objects must not queue for it."""
        if isinstance(answer, Failed) and answer.reason in _DOWN:
            self._quiet_until = asyncio.get_running_loop().time() + self._cooldown
            self._trouble = answer

    def _ask(self, wanted: Wanted) -> asyncio.Task[Answer]:
        """Ask once for all who want the same; what nobody comes back for is forgotten, so that no answer is old."""
        loop = asyncio.get_running_loop()
        asking = self._asking[wanted] = asyncio.create_task(self._snapshot(*wanted))
        asking.add_done_callback(lambda _: loop.call_later(self._deadline, self._forget, wanted, asking))
        return asking

    def _forget(self, wanted: Wanted, asking: asyncio.Task[Answer]) -> None:
        if self._asking.get(wanted) is asking:
            del self._asking[wanted]

    async def _snapshot(self, name: str, version: str, signature: bool) -> Answer:
        await self._worker.ready()
        call: Call | None = None
        try:
            async with asyncio.timeout(self._deadline):
                await self._slots.acquire()
                call = self._worker.ask({"ask": "snapshot", "name": name, "version": version, "signature": signature})
                call.answer.add_done_callback(lambda _: self._slots.release())
                return await asyncio.shield(call.answer)
        except TimeoutError:
            if call:
                self._give_up(call)
            return self._late(self._deadline)

    def _give_up(self, call: Call) -> None:
        """Count a call that hangs; when all threads do, the worker is of no more use."""
        self._overdue += 1
        call.answer.add_done_callback(self._came_back)
        if self._overdue >= self._threads:
            self._worker.kill(self._late(self._deadline))

    def _came_back(self, _: asyncio.Future[Answer]) -> None:
        self._overdue -= 1

    def _late(self, seconds: float) -> Failed:
        return Failed("RegistryTimeout", f"the registry at {self._where} did not answer within {seconds:g} s")

    async def _with_tree(self, found: Mapping[str, Any]) -> Reading[ModelVersion] | Busy:
        key = (found["name"], found["version"], found["source"], found["created"])
        if key in self._trees:
            self._trees.move_to_end(key)
            return Value(model_version(found, self._trees[key]))
        call, job = self._hashing.get(key) or self._hash(key)
        await asyncio.wait({job}, timeout=_PATIENCE)
        if not job.done():
            return Busy(_progress(found, call))
        self._hashing.pop(key, None)
        match job.result():
            case Value(tree):
                self._keep(key, tree)
                return Value(model_version(found, tree))
            case NoData() | Failed() as answer:
                self._note(answer)
                return answer

    def _hash(self, key: TreeKey) -> tuple[Call, asyncio.Task[Answer]]:
        call = self._worker.ask({"ask": "tree", "source": key[2]})
        self._hashing[key] = call, asyncio.create_task(self._tree(call))
        return self._hashing[key]

    async def _tree(self, call: Call) -> Answer:
        try:
            async with asyncio.timeout(self._tree_deadline):
                return await asyncio.shield(call.answer)
        except TimeoutError:
            late = Failed("RegistryTimeout", f"the files were not read within {self._tree_deadline:g} s")
            self._worker.kill(late)
            return late

    def _keep(self, key: TreeKey, tree: Mapping[str, Any]) -> None:
        self._trees[key] = tree
        while len(self._trees) > _KEPT_TREES:
            self._trees.popitem(last=False)


def _check(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(
            f"the registry's address begins with {parts.scheme or 'no scheme'}; "
            "it must be an MLflow server's http:// or https:// address"
        )


def environment(uri: str, deadline: float) -> dict[str, str]:
    """Return MLflow's settings: one repeat, seconds for its minutes, no calls to anyone but the registry."""
    return {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_REGISTRY_URI": uri,
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, int((deadline - 1) / 2))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
        "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
        "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _progress(found: Mapping[str, Any], call: Call) -> str:
    if call.progress is None:
        return f"waiting to hash the files of version {found['version']}"
    done, total = (f"{part / 1e6:.0f} MB" for part in call.progress)
    return f"hashing the files of version {found['version']}: {done} of {total}"
