"""Golden scenarios that a person can read; `--rewrite` writes what happens now: read every line of the difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.player import perform

SCENARIOS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_story_is_as_it_was_told(path: Path, request: pytest.FixtureRequest) -> None:
    script = path.read_text()
    told = perform(script)
    if request.config.getoption("--rewrite"):
        path.write_text(told)
    assert told == path.read_text()
