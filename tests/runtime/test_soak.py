"""Many requests, good and bad, to the server's own process: none is answered wrongly, and its memory stays flat.

`make soak` sends 100,000; the suite sends few.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import linear_regression

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.runtime.conftest import Fraud
from tests.runtime.requests import REQUESTS, SECRET, SECRET_NUMBER, Request
from tests.runtime.serving import Answer, Caller, Served, awaited, is_ready, start

pytestmark = [pytest.mark.server, pytest.mark.slow]
COUNT = int(os.environ.get("MODELRAMP_SOAK_REQUESTS", "2000"))
BATCH, CALLERS = 20, 4
ALLOWED = 16 * 2**20
"""Bytes: after the first fifth, in which allocators and caches fill, the resident memory may rise by less, both as the
regression over all samples says for 100,000 requests (160 bytes each) and from its beginning to its end."""


class Tally:
    """What came back, and how much memory the server held."""

    def __init__(self, fraud: Fraud, served: Served) -> None:
        self.fraud, self.served = fraud, served
        self.kinds: Counter[str] = Counter()
        self.memory: list[tuple[int, float]] = []
        self._callers = [Caller(served.port) for _ in range(CALLERS)]
        self._pool = ThreadPoolExecutor(CALLERS)

    def send(self, requests: list[Request]) -> None:
        """Send a batch over all connections and judge every answer."""
        shares = [requests[n::CALLERS] for n in range(CALLERS)]
        answers = list(self._pool.map(self._ask, self._callers, shares))
        pairs = [pair for share, got in zip(shares, answers, strict=True) for pair in zip(share, got, strict=True)]
        self._judge_good([(request, answer) for request, answer in pairs if request.rows])
        for request, answer in pairs:
            if not request.rows:
                self._judge_bad(request, answer)
        if self.kinds.total() % 500 == 0:
            self.memory.append((self.kinds.total(), self.served.metric("process_resident_memory_bytes")))

    def _ask(self, caller: Caller, requests: list[Request]) -> list[Answer]:
        return [caller.ask("POST", "/invocations", r.body, content_type=r.media_type) for r in requests]

    def _judge_good(self, pairs: list[tuple[Request, Answer]]) -> None:
        if not pairs:
            return
        frame = pd.concat([request.frame for request, _ in pairs], ignore_index=True)
        got = [row for _, answer in pairs for row in answer.predictions]
        np.testing.assert_allclose(got, self.fraud.expected(frame), rtol=1e-12)
        self.kinds["good"] += len(pairs)

    def _judge_bad(self, request: Request, answer: Answer) -> None:
        said = answer.body.decode()
        assert 400 <= answer.status < 500, f"{answer.status} {said[:200]} for {request.body[:600]!r}"
        assert answer.json["message"].strip(), request
        assert SECRET not in said, request
        assert str(SECRET_NUMBER) not in said, request
        if request.column:
            assert [each["column"] for each in answer.json["violations"]] == [request.column], (
                f"{said[:200]} for {request.body[:600]!r}"
            )
        self.kinds[answer.json["kind"]] += 1


@pytest.fixture
def tally(fraud: Fraud, tmp_path: Path) -> Iterator[Tally]:
    served = start(fraud.directory, tmp_path / "log", MODELRAMP_LOG_LEVEL="warning")
    assert served.process is not None
    try:
        awaited(lambda: is_ready(served), "ready", 180)
        yield Tally(fraud, served)
    finally:
        served.process.kill()
        served.process.wait()


@pytest.mark.timeout(7200)
def test_every_good_request_is_answered_rightly_every_bad_one_with_its_reason_and_memory_is_flat(
    tally: Tally, tmp_path: Path
) -> None:
    @given(st.lists(REQUESTS, min_size=BATCH, max_size=BATCH))
    @settings(
        max_examples=COUNT // BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(requests: list[Request]) -> None:
        tally.send(requests)

    send()
    settled = [sample for sample in tally.memory if sample[0] > tally.kinds.total() / 5]
    slope = linear_regression(*zip(*settled, strict=True)).slope
    grown = settled[-1][1] - settled[0][1]
    figures = {"answers": dict(tally.kinds), "grown": round(grown), "per 100,000": round(slope * 100_000)}
    print(json.dumps(figures | {"resident": settled[-1][1]}))
    assert tally.kinds.total() >= COUNT * 0.95
    assert tally.kinds["good"] > COUNT / 4
    assert {"malformed", "schema", "media_type"} <= tally.kinds.keys()
    assert SECRET not in (tmp_path / "log").read_text()
    assert grown < ALLOWED
    if tally.kinds.total() >= 20_000:  # fewer say nothing about a slope
        assert slope * 100_000 < ALLOWED
