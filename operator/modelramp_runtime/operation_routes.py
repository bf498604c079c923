"""The paths of probes, scrapes and the operator: what they tell holds for every worker of the pod."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response

from modelramp_runtime import exposition
from modelramp_runtime.mlflow_api import VERSION as MLFLOW_VERSION
from modelramp_runtime.siblings import Question, Siblings

_JSON = "application/json"


class Server(Protocol):
    """What the paths need of the model server."""

    siblings: Siblings

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of every answer."""
        ...

    def tell(self, question: Question) -> Any:
        """Return this worker's own answer to a question of its siblings."""
        ...


def add_operation_routes(app: FastAPI, server: Server) -> None:
    """Serve the paths."""

    async def health(_: Request) -> Response:
        silent = _silent(await server.siblings.ask(Question.STANDING))
        return Response(f"{silent}\n", 503 if silent else 200, server.headers, _JSON)

    async def version(_: Request) -> Response:
        return Response(MLFLOW_VERSION, media_type=_JSON)

    async def ready(_: Request) -> Response:
        said = await standing(server)
        return Response(json.dumps(said), 200 if said["ready"] else 503, server.headers, _JSON)

    async def metrics(request: Request) -> Response:
        others = await server.siblings.ask(Question.METRICS)
        if silent := _silent(others):
            # A sum without its share would look like counters that began again.
            return Response(f"{silent}\n", 503)
        summed = exposition.Summed([server.tell(Question.METRICS), *others.values()])
        body, content_type = exposition.expose(summed, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def policy(_: Request) -> Response:
        told = [server.tell(Question.STANDING), *(await server.siblings.ask(Question.STANDING)).values()]
        # An edit is in force where the last to look has taken it.
        last = min((each["policy"] for each in told if each), key=lambda state: state["seen"])
        said = {name: value for name, value in last.items() if name != "seen"}
        return Response(json.dumps(said), media_type=_JSON, headers=server.headers)

    answers = {"/ping": health, "/health": health, "/version": version, "/ready": ready, "/metrics": metrics}
    for path, answer in (answers | {"/policy": policy}).items():
        app.add_route(path, answer, methods=["GET"])


async def standing(server: Server) -> dict[str, Any]:
    """Return whether requests are to come, the phase and the reason: of the first worker that is not ready."""
    told = {server.siblings.number: server.tell(Question.STANDING)} | await server.siblings.ask(Question.STANDING)
    unready = [number for number, said in told.items() if not (said and said["ready"])]
    number = unready[0] if unready else server.siblings.number
    said = told[number] or {"ready": False, "phase": "Stuck", "reason": "does not answer"}
    where = f"worker {number}: " if server.siblings.others and unready else ""
    return {"ready": said["ready"], "phase": said["phase"], "reason": where + said["reason"]}


def _silent(answers: Mapping[int, Any]) -> str:
    silent = [str(number) for number, answer in answers.items() if answer is None]
    return f"no answer from worker {', '.join(silent)}" if silent else ""
