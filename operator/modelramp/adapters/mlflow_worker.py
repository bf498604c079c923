"""The process that holds MLflow's client, so that the operator does not: a question, an answer, in lines of JSON.

The client takes 80 MiB and cannot be stopped once a server drips bytes at it. In a process of its own it is
gone when nobody asks, and a kill ends any call. It ends when its standard input does, so it never outlives
the operator.

    {"id": 1, "ask": "snapshot", "name": "fraud_detector", "version": "8", "signature": false}
    {"id": 2, "ask": "tree", "source": "mlflow-artifacts:/1/models/m-.../artifacts"}

    {"id": 3, "ask": "record", ...}, {"id": 4, "ask": "aliases", ...}: see mlflow_records

is answered by `{"id": 1, "value": {...}}`, `{"id": 1, "missing": [reason, message]}` or
`{"id": 1, "failed": [reason, message]}`; a tree also says `{"id": 2, "progress": [done, total]}`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, assert_never

from modelramp.adapters.mlflow_artifacts import Tree, read_tree
from modelramp.adapters.mlflow_records import read_pin, write_aliases, write_record
from modelramp.adapters.mlflow_snapshot import Snapshot, read_snapshot
from modelramp.rollout.observation import Failed, NoData, Reading, Value

Say = Callable[[dict[str, Any]], None]
Question = dict[str, Any]

_UNUSED = ("pandas", "numpy", "scipy", "pyarrow", "sklearn", "matplotlib")
"""MLflow imports these where it finds them, and needs none of them here: 120 MiB and two seconds."""
_MEMORY = 512 << 20
_TREES_AT_ONCE = 2
_PROGRESS_SECONDS = 0.2


def main() -> None:
    """Answer questions from standard input until it ends; the first argument is the number of threads."""
    threads, registry = int(sys.argv[1]), os.environ["MLFLOW_TRACKING_URI"]
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    say = _voice()
    client = _client(registry)
    calls, trees, writes = ThreadPoolExecutor(threads), ThreadPoolExecutor(_TREES_AT_ONCE), ThreadPoolExecutor(1)
    say({"ready": True})
    for line in sys.stdin.buffer:
        question = json.loads(line)
        match question["ask"]:
            case "snapshot":
                calls.submit(_answer, say, question, partial(_snapshot, client, registry))
            case "record":
                writes.submit(_answer, say, question, partial(write_record, client, registry))
            case "pin":
                calls.submit(_answer, say, question, partial(read_pin, client, registry))
            case "aliases":
                writes.submit(_answer, say, question, partial(write_aliases, client, registry))
            case _:
                trees.submit(_answer, say, question, partial(_tree, say, registry))
    os._exit(0)  # a thread that hangs in a call must not keep the process


def _client(registry: str) -> Any:
    for module in _UNUSED:
        sys.modules[module] = None  # type: ignore[assignment]  # the documented way to make an import fail
    from mlflow.store.artifact import artifact_repository_registry  # noqa: F401, PLC0415  threads must not race to it
    from mlflow.tracking.client import MlflowClient  # noqa: PLC0415

    return MlflowClient(tracking_uri=registry, registry_uri=registry)


def _voice() -> Say:
    """Take standard output for the answers alone: what a library prints goes nowhere."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def say(answer: dict[str, Any]) -> None:
        line = json.dumps(answer)
        with lock:
            out.write(line + "\n")

    return say


def _progress(say: Say, call: int) -> Callable[[int, int], None]:
    due = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _PROGRESS_SECONDS
            say({"id": call, "progress": [done, total]})

    return progress


def _snapshot(client: Any, registry: str, asked: Question) -> Reading[Snapshot]:
    return read_snapshot(client, registry, asked["name"], asked["version"], signature=asked["signature"])


def _tree(say: Say, registry: str, asked: Question) -> Reading[Tree]:
    return read_tree(asked["source"], registry, _progress(say, asked["id"]))


def _answer(say: Say, asked: Question, read: Callable[[Question], Reading[Snapshot | Tree]]) -> None:
    say({"id": asked["id"], **_plain(read(asked))})


def _plain(answer: Reading[Snapshot | Tree]) -> dict[str, Any]:
    match answer:
        case Value(value):
            return {"value": value}
        case NoData(reason, message):
            return {"missing": [reason, message]}
        case Failed(reason, message):
            return {"failed": [reason, message]}
        case _:
            assert_never(answer)


if __name__ == "__main__":
    main()
