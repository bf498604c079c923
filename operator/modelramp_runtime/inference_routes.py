"""The paths of the Open Inference Protocol: health, metadata, inference, with and without a version."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Protocol

from fastapi import FastAPI, Request, Response

from modelramp_runtime.inference import metadata_of
from modelramp_runtime.model import Model
from modelramp_runtime.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]
_MODEL = "/v2/models/{model}"
_VERSION = "/v2/models/{model}/versions/{version}"
_JSON = "application/json"


class Server(Protocol):
    """What the paths need of the model server."""

    settings: Settings
    model: Model

    async def is_ready(self) -> bool:
        """Tell whether requests are to come."""
        ...

    async def invoke(self, request: Request) -> Response:
        """Answer a request to infer."""
        ...


def add_inference_routes(app: FastAPI, server: Server) -> None:
    """Serve the protocol's paths."""
    settings = server.settings

    async def live(_: Request) -> Response:
        return _answer({"live": True})

    async def ready(_: Request) -> Response:
        is_ready = await server.is_ready()
        return _answer({"ready": is_ready}, 200 if is_ready else 503)

    async def about(_: Request) -> Response:
        return _answer({"name": "modelramp", "version": "2", "extensions": []})

    async def metadata(_: Request) -> Response:
        return _answer(metadata_of(server.model, settings.model_name, settings.model_version))

    def of_this_model(answer: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            asked = request.path_params
            version = asked.get("version", settings.model_version)
            if (asked["model"], version) != (settings.model_name, settings.model_version):
                said = f"Served here is version {settings.model_version} of {settings.model_name}."
                return _answer({"error": said}, 404)
            return await answer(request)

        return handle

    for path, handler in (("/v2", about), ("/v2/health/live", live), ("/v2/health/ready", ready)):
        app.add_route(path, handler, methods=["GET"])
    for prefix in (_MODEL, _VERSION):
        app.add_route(prefix, of_this_model(metadata), methods=["GET"])
        app.add_route(f"{prefix}/ready", of_this_model(ready), methods=["GET"])
        app.add_route(f"{prefix}/infer", of_this_model(server.invoke), methods=["POST"])


def _answer(said: object, status: int = 200) -> Response:
    return Response(json.dumps(said), status, media_type=_JSON)
