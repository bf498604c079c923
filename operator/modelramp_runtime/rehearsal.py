"""`python -m modelramp_runtime.rehearsal`: replay requests to a version's Service, and say how it answered.

The result is one line of JSON, in the container's termination message: at most 4096 bytes, and of what servers
answered only their statuses. A bad result is a result, and the exit status then is 0; it is 1 where there is none.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from modelramp_runtime.farewell import say_last
from modelramp_runtime.logs import write_logs_as_json
from modelramp_runtime.replay import Answer, Target, replay, wait_until_up
from modelramp_runtime.settings import Environment, LogLevel, SettingsError, one_of, seconds, text, whole

EXAMPLE = "serving_input_example.json"
MOST_COMPLAINTS, LONGEST_COMPLAINT = 3, 300
TRIES, PAUSE = 3, 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """Which requests are replayed to whom."""

    target: Target
    payloads: Path


@dataclass(frozen=True, slots=True)
class Script:
    """The whole rehearsal; who has no part in it is None."""

    candidate: Part | None
    fallback: Part | None
    requests: int
    concurrency: int
    deadline_seconds: float
    log_level: LogLevel


@dataclass(frozen=True, slots=True)
class Report:
    """How one version answered; percentiles in seconds, memory in bytes, None where there is no figure."""

    asked: int
    answered: int
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    memory: int | None = None
    complaint: str = ""


class PayloadError(Exception):
    """There is nothing to replay."""


def read_script(variables: Mapping[str, str]) -> Script:
    """Return what the environment asks for; raise `SettingsError` that names every bad variable."""
    env = Environment(variables, [])
    script = Script(
        candidate=_part(env, "CANDIDATE"),
        fallback=_part(env, "FALLBACK"),
        requests=env.read("REHEARSAL_REQUESTS", 200, whole(1, 1_000_000)),
        concurrency=env.read("REHEARSAL_CONCURRENCY", 4, whole(1, 256)),
        deadline_seconds=env.read("REHEARSAL_DEADLINE_SECONDS", 300.0, seconds(1, 86_400)),
        log_level=env.read("MODELRAMP_LOG_LEVEL", LogLevel.INFO, one_of(LogLevel)),
    )
    env.complain()
    return script


def _part(env: Environment, who: str) -> Part | None:
    if not env.variables.get(f"{who}_URL"):
        return None
    url = env.read(f"{who}_URL", None, text("http://HOST or http://HOST:PORT", _is_address))
    payloads = env.read(f"{who}_PAYLOADS", None, text("a file of requests, or a model's directory"))
    parts = urlsplit(url or "")
    return Part(Target(parts.hostname or "", parts.port or 80), Path(payloads or ""))


def _is_address(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and bool(parts.hostname) and not parts.path.strip("/")


def read_payloads(path: Path) -> list[bytes]:
    """Return the requests of a file, or a model's logged input example; raise `PayloadError` where there are none."""
    if path.is_dir():
        example = path / EXAMPLE
        if not example.is_file():
            raise PayloadError(
                "no input example was logged with the model: log it with `input_example=`, or name a dataset"
            )
        return [example.read_bytes()]
    if not path.is_file():
        raise PayloadError(f"the dataset's ConfigMap, or its key {path.name!r}, is not there")
    return _bodies(path.read_text())


def _bodies(content: str) -> list[bytes]:
    """Return the bodies in a JSON list, in one object, or one a line."""
    try:
        found = json.loads(content)
    except ValueError:
        found = [_line(number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
    bodies = found if isinstance(found, list) else [found]
    if not bodies or not all(isinstance(body, dict) for body in bodies):
        raise PayloadError("the dataset must hold JSON objects, a list of them or one a line, each a request's body")
    return [json.dumps(body).encode() for body in bodies]


def _line(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        raise PayloadError(f"line {number} of the dataset is not JSON") from None


def report(asked: int, answers: Sequence[Answer], memory: int | None, complaint: str = "") -> Report:
    """Return what the answers come to: percentiles by nearest rank over the predictions."""
    times = sorted(answer.seconds for answer in answers if not answer.fault)
    faults = Counter(answer.fault for answer in answers if answer.fault)
    faults["not sent by the deadline"] += asked - len(answers)
    said = [f"{count} × {fault}" for fault, count in faults.most_common(MOST_COMPLAINTS) if count > 0]
    words = ", ".join([*said, *([complaint] if complaint else [])])[:LONGEST_COMPLAINT]
    p50, p95, p99 = (nearest_rank(times, percent) for percent in (50, 95, 99))
    return Report(asked, len(times), p50, p95, p99, memory, words)


def nearest_rank(ordered: Sequence[float], percent: int) -> float | None:
    """Return the smallest value that at least `percent` of the values do not exceed, rounded to microseconds."""
    return round(ordered[-(-len(ordered) * percent // 100) - 1], 6) if ordered else None


def rehearse(part: Part, script: Script, end: float) -> Report:
    """Replay the requests to the candidate; `end` is a monotonic time."""
    payloads = read_payloads(part.payloads)
    if fault := wait_until_up(part.target, end):
        return report(script.requests, [], None, f"{part.target} was not reached: {fault}")
    played = replay(part.target, payloads, script.requests, script.concurrency, end)
    missing = "" if played.memory is not None else "no process_resident_memory_bytes at /metrics"
    return report(script.requests, played.answers, played.memory, missing)


def ask_once(part: Part, end: float) -> Report:
    """Ask for one prediction, again where none comes: a single lost connection is no verdict."""
    payloads = read_payloads(part.payloads)[:1]
    if fault := wait_until_up(part.target, end):
        return report(1, [], None, f"{part.target} was not reached: {fault}")
    for _ in range(TRIES - 1):
        found = report(1, replay(part.target, payloads, 1, 1, end).answers, None)
        if found.answered:
            return found
        time.sleep(PAUSE)
    return report(1, replay(part.target, payloads, 1, 1, end).answers, None)


def perform(script: Script) -> dict[str, Any]:
    """Return the result as it is told: a report for each who was asked, and a problem where there was no request."""
    began = time.monotonic()
    told: dict[str, Any] = {}
    problems = []
    # What the fallback does not answer soon must leave time for the candidate.
    asking: tuple[tuple[str, Part | None, Callable[[Part], Report]], ...] = (
        ("fallback", script.fallback, lambda part: ask_once(part, began + script.deadline_seconds / 4)),
        ("candidate", script.candidate, lambda part: rehearse(part, script, began + script.deadline_seconds)),
    )
    for who, part, ask in asking:
        try:
            told |= {who: _plain(ask(part))} if part else {}
        except PayloadError as error:
            problems.append(f"{who}: {error}"[:LONGEST_COMPLAINT])
    return told | ({"problem": "; ".join(problems)} if problems else {})


def _plain(found: Report) -> dict[str, Any]:
    return {key: value for key, value in asdict(found).items() if value not in (None, "")}


def tell(told: Mapping[str, Any]) -> None:
    """Write the result to standard output, and to the termination log, if there is one."""
    line = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
    print(line, flush=True)
    log = Path(os.environ.get("TERMINATION_LOG", "/dev/termination-log"))
    if log.exists():
        log.write_text(line)


def _leave(signum: int, _: object) -> NoReturn:
    raise SystemExit(128 + signum)


def main() -> int:
    """Rehearse what the environment asks for; return the exit status."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        script = read_script(os.environ)
    except SettingsError as error:
        return say_last(str(error))
    write_logs_as_json(script.log_level)
    try:
        tell(perform(script))
    except OSError as error:
        return say_last(f"{type(error).__name__}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
