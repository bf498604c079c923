"""What is kept and asked for is bounded, in bytes and in time, whatever models answer and other pods say."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from modelramp_runtime import comparer
from modelramp_runtime.capture import (
    BYTES_ASIDE,
    BYTES_KEPT,
    BYTES_TOLD,
    KEPT,
    MOST_OUTPUTS,
    MOST_TEXT,
    Captured,
    Captures,
)
from modelramp_runtime.capture_metrics import CaptureMetrics
from modelramp_runtime.comparer import Comparer, Told, ask
from modelramp_runtime.comparison import Compared, compare
from modelramp_runtime.metrics import Arm, Metrics
from modelramp_runtime.scoring import Predicted, Scored
from modelramp_runtime.settings import read_settings
from tests.runtime.serving import IDENTITY

SETTINGS = read_settings({**IDENTITY, "MODELRAMP_CAPTURE_PERCENT": "100"})
MODEL = ("fraud_detector", "8")


def capturing() -> tuple[Captures, Metrics]:
    """Return what keeps the answers of a version, and its metrics."""
    metrics = Metrics(SETTINGS)
    return Captures(SETTINGS, CaptureMetrics(metrics, MODEL)), metrics


def scored(outputs: dict[str, Any], body: bytes = b"{}") -> Scored:
    return Scored(body, "", Predicted(None, {name: np.asarray(values) for name, values in outputs.items()}))


async def keep(captures: Captures, *answers: Scored) -> list[Captured]:
    """Offer answers to copies, one after the other; return those that are kept, the newest first."""
    keeping = asyncio.create_task(captures.follow())
    for number, each in enumerate(answers):
        captures.offer(f"r{number}", Arm.SHADOW, b"{}", each)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not keeping.done()
    keeping.cancel()
    return list(captures.waiting(KEPT).values())


def dropped(metrics: Metrics, arm: Arm) -> float | None:
    labels = {"model": "fraud_detector", "version": "8", "arm": arm, "result": "dropped"}
    return metrics.registry.get_sample_value("modelramp_capture_answers_total", labels)


async def test_what_is_kept_is_bounded_in_bytes_too() -> None:
    captures, _ = capturing()
    wide = {f"c{number}": ["x" * MOST_TEXT] * 1000 for number in range(30)}
    found = await keep(captures, *[scored(wide)] * 300)
    sizes = [len(each.told) for each in found]
    assert found[0].request_id == "r299"
    assert BYTES_KEPT - max(sizes) < sum(sizes) <= BYTES_KEPT
    told = captures.told(captures.waiting(KEPT))
    assert 0 < sum(map(len, told.values())) <= BYTES_TOLD, "one message does not hold all"


def test_what_is_put_aside_is_bounded_in_bytes_too() -> None:
    captures, metrics = capturing()
    large = scored({}, b"x" * (BYTES_ASIDE // 2 + 1))
    captures.offer("r1", Arm.LIVE, b"{}", large)
    assert dropped(metrics, Arm.LIVE) is None
    captures.offer("r2", Arm.LIVE, b"{}", large)
    assert dropped(metrics, Arm.LIVE) == 1


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("row 7 of the customer")


async def test_an_answer_that_cannot_be_kept_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    captures, metrics = capturing()
    found = await keep(captures, scored({"a": np.array([Unspeakable()], dtype=object)}), scored({"a": [1.0]}))
    assert [each.request_id for each in found] == ["r1"]
    assert dropped(metrics, Arm.SHADOW) == 1
    assert "customer" not in caplog.text


async def test_columns_in_another_order_are_the_same_answer() -> None:
    captures, _ = capturing()
    columns = {f"c{number:02}": [float(number)] for number in range(2 * MOST_OUTPUTS)}
    two, one = await keep(captures, scored(columns), scored(dict(reversed(columns.items()))))
    assert compare(one.answer, two.answer, 0) == Compared(
        1, 0, {name: [0.0] for name in sorted(columns)[:MOST_OUTPUTS]}
    )


async def test_values_are_kept_as_what_they_are() -> None:
    captures, _ = capturing()
    mixed = np.array([np.float32(0.5), np.int64(3), np.bool_(True), None, 2**70, "a"], dtype=object)
    [found] = await keep(captures, scored({"a": mixed}))
    assert found.answer.outputs["a"] == [0.5, 3, True, None, str(2**70), "a"]


async def test_long_texts_are_told_apart_though_only_their_beginning_is_kept() -> None:
    captures, _ = capturing()
    common = "x" * 100_000
    two, one = await keep(captures, scored({"a": [common + "a"] * 2}), scored({"a": [common + "b", common + "a"]}))
    found = compare(one.answer, two.answer, 0)
    assert found is not None
    assert (found.predictions, found.disagreements) == (2, 1)
    assert len(one.told) < 500


def test_labels_are_bounded_whatever_models_and_pods_say() -> None:
    metrics = Metrics(SETTINGS)
    counted = CaptureMetrics(metrics, MODEL)
    for number in range(60):
        counted.compared(f"{number}", Compared(1, 0, {f"output-{number}": [0.5]}))
    names = [sample.labels for family in metrics.registry.collect() for sample in family.samples]
    assert len({labels["against"] for labels in names if "against" in labels}) == 51
    assert len({labels["output"] for labels in names if "against" in labels and "output" in labels}) == 21


async def test_answers_come_between_two_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    comparing = Comparer(SETTINGS, CaptureMetrics(Metrics(SETTINGS), MODEL))
    await keep(comparing.captures, *[scored({"a": [1.0]})] * 50)
    waiting, turns = comparing.captures.waiting(50), 0

    async def told(*_: object) -> list[Told]:
        return [Told("7", {key: each.answer for key, each in waiting.items()})]

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(comparer, "ask_all", told)
    counting = asyncio.create_task(count())
    assert await comparing._compare(waiting) == 50
    counting.cancel()
    assert turns >= 50


def test_a_pod_whose_answer_trickles_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparer, "DEADLINE", 0.3)
    ended = threading.Event()

    def trickle(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not ended.wait(0.05):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as server:
        pod = threading.Thread(target=trickle, args=(server,), daemon=True)
        pod.start()
        asking = threading.Thread(target=ask, args=(*server.getsockname(), "8", []), daemon=True)
        asking.start()
        asking.join(10)
        gave_up = not asking.is_alive()
        ended.set()
        pod.join()
    assert gave_up
