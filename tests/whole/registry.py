"""A scripted MLflow server, as far as the operator's client asks one: versions, runs, files, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

_MANIFEST = "signature:\n  inputs: '[]'\n  outputs: '[]'\nflavors: {python_function: {loader_module: none}}\n"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


class Ailment(Enum):
    """How a registry fails its users."""

    AWAY = "stopped"
    SLOW = "30 s an answer"
    ERROR = "HTTP 500"
    HTML = "HTML"


@dataclass
class ScriptedRegistry:
    """Has every version of every model that is asked for, with the metrics that were set; 0.95 where none were."""

    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """By version."""
    asked: list[str] = field(default_factory=list)
    records: dict[str, str] = field(default_factory=dict)
    """What was written below the runs, by path."""
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    """By model."""
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    """By model."""
    ailment: Ailment | None = None
    """What it answers instead, whatever it is asked."""
    port: int = 0

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedRegistry]:
        """Listen on a free port until the end of the block."""
        await self._open(0)
        try:
            yield self
        finally:
            await self._runner.cleanup()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Refuse every connection meanwhile."""
        await self._runner.cleanup()
        try:
            yield
        finally:
            await self._open(self.port)

    @asynccontextmanager
    async def ailing(self, ailment: Ailment) -> AsyncIterator[None]:
        """Answer everything like this meanwhile; Ailment.AWAY takes no connection."""
        if ailment is Ailment.AWAY:
            async with self.away():
                yield
            return
        self.ailment = ailment
        try:
            yield
        finally:
            self.ailment = None

    @web.middleware
    async def _ails(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        match self.ailment:
            case Ailment.SLOW:
                await asyncio.sleep(30)
            case Ailment.ERROR:
                return web.Response(status=500, text="Traceback: password=hunter2")
            case Ailment.HTML:
                return web.Response(text="<html>sign in, hunter2</html>", content_type="text/html")
            case _:
                pass
        return await handler(request)

    async def _open(self, port: int) -> None:
        app = web.Application(middlewares=[self._ails])
        app.add_routes(
            [
                web.get("/api/2.0/mlflow/registered-models/get", self._model),
                web.get("/api/2.0/mlflow/model-versions/get", self._version),
                web.get("/api/2.0/mlflow/model-versions/get-download-uri", self._place),
                web.get("/api/2.0/mlflow/runs/get", self._run),
                web.get(_ARTIFACTS, self._files),
                web.get(_ARTIFACTS + "/{path:.*}", self._file),
                web.put(_ARTIFACTS + "/{path:.*}", self._put),
                web.post("/api/2.0/mlflow/model-versions/set-tag", self._accept),
                web.post("/api/2.0/mlflow/registered-models/set-tag", self._tag),
                web.post("/api/2.0/mlflow/registered-models/alias", self._alias),
                web.delete("/api/2.0/mlflow/registered-models/alias", self._drop_alias),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def _model(self, request: web.Request) -> web.Response:
        name = request.query["name"]
        tags = [{"key": key, "value": value} for key, value in self.tags.get(name, {}).items()]
        aliases = [{"alias": alias, "version": version} for alias, version in self.aliases.get(name, {}).items()]
        return web.json_response({"registered_model": {"name": name, "tags": tags, "aliases": aliases}})

    async def _put(self, request: web.Request) -> web.Response:
        self.records[request.match_info["path"]] = await request.text()
        return web.json_response({})

    async def _accept(self, _request: web.Request) -> web.Response:
        return web.json_response({})

    async def _tag(self, request: web.Request) -> web.Response:
        said = await request.json()
        self.tags.setdefault(said["name"], {})[said["key"]] = said["value"]
        return web.json_response({})

    async def _alias(self, request: web.Request) -> web.Response:
        said = await request.json()
        self.aliases.setdefault(said["name"], {})[said["alias"]] = said["version"]
        return web.json_response({})

    async def _drop_alias(self, request: web.Request) -> web.Response:
        said = await request.json()
        self.aliases.get(said["name"], {}).pop(said["alias"], None)
        return web.json_response({})

    async def _version(self, request: web.Request) -> web.Response:
        name, version = request.query["name"], request.query["version"]
        self.asked.append(f"{name}/{version}")
        found = {
            "name": name,
            "version": version,
            "creation_timestamp": 1_700_000_000_000 + int(version),
            "status": "READY",
            "run_id": f"{int(version):032x}",
            "source": _source(name, version),
        }
        return web.json_response({"model_version": found})

    async def _place(self, request: web.Request) -> web.Response:
        return web.json_response({"artifact_uri": _source(request.query["name"], request.query["version"])})

    async def _run(self, request: web.Request) -> web.Response:
        run = request.query["run_id"]
        values = self.metrics.get(str(int(run, 16)), {"auc": 0.95})
        metrics = [{"key": key, "value": value, "timestamp": 1, "step": 0} for key, value in values.items()]
        info = {"run_id": run, "run_uuid": run, "experiment_id": "1", "status": "FINISHED", "lifecycle_stage": "active"}
        info["artifact_uri"] = f"mlflow-artifacts:/1/{run}/artifacts"
        return web.json_response({"run": {"info": info, "data": {"metrics": metrics, "params": [], "tags": []}}})

    async def _files(self, _request: web.Request) -> web.Response:
        files: list[dict[str, Any]] = [{"path": "MLmodel", "is_dir": False, "file_size": len(_MANIFEST)}]
        return web.json_response({"files": files})

    async def _file(self, _request: web.Request) -> web.Response:
        return web.Response(text=_MANIFEST)


def _source(name: str, version: str) -> str:
    return f"mlflow-artifacts:/1/{name}-{version}/artifacts"
