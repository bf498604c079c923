"""The machine's clock is aware, in UTC, and goes on."""

from __future__ import annotations

import time
from datetime import timedelta

from modelramp.adapters.clock import SystemClock


def test_now_is_the_machines_present_in_utc() -> None:
    before, now, after = time.time(), SystemClock().now(), time.time()
    assert now.utcoffset() == timedelta(0)
    assert before <= now.timestamp() <= after
