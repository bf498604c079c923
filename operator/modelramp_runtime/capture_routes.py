"""The path by which a pod of another version asks what was answered to requests that both have seen."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from modelramp_runtime.capture import fitting
from modelramp_runtime.comparer import DEADLINE, MOST_KEYS, PATH
from modelramp_runtime.siblings import Question, Siblings

_JSON = "application/json"
LONGEST_QUESTION = 65_536
_KEY = re.compile("[0-9a-f]{32}")


class Server(Protocol):
    """What the path needs of the model server."""

    siblings: Siblings

    def tell(self, question: Question, about: Iterable[str] = ()) -> Any:
        """Return this worker's own answer to a question of its siblings."""
        ...


def add_capture_route(app: FastAPI, server: Server, version: str) -> None:
    """Serve the path. Only keys that are asked for are answered: no list of them is given away."""

    async def captured(request: Request) -> Response:
        if request.scope["raw_path"] != PATH.encode():
            # Written otherwise, a proxy that keeps the path to itself would have let it pass.
            return Response("There is nothing at this path.\n", 404)
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > LONGEST_QUESTION:
            return Response(f"The question must be at most {LONGEST_QUESTION} bytes.\n", 413)
        asked = _read_question(await _body_of(request))
        if asked is None:
            return Response('The question must be {"version": ..., "keys": [...]}.\n', 400)
        theirs, keys = asked
        answers = {} if theirs == version else await _kept(server, keys)
        told = ", ".join(f"{json.dumps(key)}: {each}" for key, each in answers.items())
        return Response(f'{{"version": {json.dumps(version)}, "answers": {{{told}}}}}', media_type=_JSON)

    app.add_route(PATH, captured, methods=["POST"])


async def _body_of(request: Request) -> bytes:
    try:
        async with asyncio.timeout(DEADLINE):
            return await request.body()
    except (TimeoutError, ClientDisconnect):
        return b""


async def _kept(server: Server, keys: list[str]) -> dict[str, str]:
    others = await server.siblings.ask(Question.CAPTURED, keys)
    told = [server.tell(Question.CAPTURED, keys), *(each for each in others.values() if each)]
    return fitting((key, each) for kept in told for key, each in kept.items())


def _read_question(body: bytes) -> tuple[str, list[str]] | None:
    try:
        said = json.loads(body)
        version, keys = said["version"], said["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(version, str) or not isinstance(keys, list):
        return None
    return version, [key for key in keys if isinstance(key, str) and _KEY.fullmatch(key)][:MOST_KEYS]
