"""The path by which a pod of another version asks what was answered to requests that both have seen."""

from __future__ import annotations

import json
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response

from modelramp_runtime.comparer import PATH
from modelramp_runtime.siblings import Question, Siblings

_JSON = "application/json"
LONGEST_QUESTION = 65_536


class Server(Protocol):
    """What the path needs of the model server."""

    siblings: Siblings

    def tell(self, question: Question) -> Any:
        """Return this worker's own answer to a question of its siblings."""
        ...


def add_capture_route(app: FastAPI, server: Server, version: str) -> None:
    """Serve the path. Only keys that are asked for are answered: no list of them is given away."""

    async def captured(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > LONGEST_QUESTION:
            return Response(f"The question must be at most {LONGEST_QUESTION} bytes.\n", 413)
        asked = _read_question(await request.body())
        if asked is None:
            return Response('The question must be {"version": ..., "keys": [...]}.\n', 400)
        theirs, keys = asked
        answers = {} if theirs == version else await _kept(server, keys)
        return Response(json.dumps({"version": version, "answers": answers}), media_type=_JSON)

    app.add_route(PATH, captured, methods=["POST"])


async def _kept(server: Server, keys: list[str]) -> dict[str, Any]:
    others = await server.siblings.ask(Question.CAPTURED)
    told = [server.tell(Question.CAPTURED), *(each for each in others.values() if each)]
    return {key: kept[key] for kept in told for key in keys if key in kept}


def _read_question(body: bytes) -> tuple[str, list[str]] | None:
    try:
        said = json.loads(body)
        version, keys = said["version"], said["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(version, str) or not isinstance(keys, list):
        return None
    return version, [key for key in keys if isinstance(key, str)]
