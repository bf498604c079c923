"""Which rules decide: the last that could be used, whole answers at a time, over restarts too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelramp_policy.document import hash_of
from modelramp_policy.rules import Kind
from modelramp_runtime.columns import columns_of
from modelramp_runtime.metrics import Arm, Metrics
from modelramp_runtime.model import Input
from modelramp_runtime.policy import Example, Rules
from modelramp_runtime.scoring import Invocation, Scorer
from modelramp_runtime.settings import NonFinite, read_settings
from tests.runtime.mounted import Mounted

GOOD = [f"thresholds:\n  mark: {n}\nrules:\n  a: policy.mark\n  b: policy.mark\n" for n in range(4)]
BAD = {
    "not YAML": "rules: [",
    "unknown column": "rules:\n  a: inputs.nothing > 1.0\n",
    "wrong type": "rules:\n  a: score == 'x'\n",
    "fails on the example": "rules:\n  a: 1 / int(score - score)\n",
    "no decision": "rules:\n  a: score / 0.0\n",
    "gone": None,
}
EXAMPLE = Example(
    columns_of(pd.DataFrame({"x": [1.0]}), {"prediction": np.array([0.5])}),
    {"score": Kind.NUMBER, "outputs.prediction": Kind.NUMBER, "inputs.x": Kind.NUMBER},
)


@dataclass
class Counts:
    edits: list[bool] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)

    def edited(self, *, is_used: bool) -> None:
        self.edits.append(is_used)

    def ruled(self, policy: str) -> None:
        self.policies.append(policy)


def started(rules: Mounted, kept: Mounted | None = None) -> tuple[Rules, Counts]:
    counts = Counts()
    found = Rules(rules.directory, kept.directory if kept else None, counts)
    found.learn(EXAMPLE)
    return found, counts


@pytest.fixture
def homes(tmp_path: Path) -> Callable[[], tuple[Mounted, Mounted]]:
    numbers = iter(range(1_000_000))
    return lambda: (Mounted(tmp_path / f"rules{next(numbers)}"), Mounted(tmp_path / f"kept{next(numbers)}"))


EDITS = st.lists(st.sampled_from([*GOOD, *BAD.values()]), min_size=1, max_size=8)


@given(EDITS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_force_is_the_last_edit_that_can_be_used(homes, edits: list[str | None]) -> None:
    mounted, kept = homes()
    kept.write(GOOD[0])
    last = hash_of(mounted.write(GOOD[1]) and GOOD[1])
    rules, _ = started(mounted, kept)
    for text in edits:
        digest = mounted.write(text)
        rules.look()
        last = digest if text in GOOD else last
        assert rules.hash == last
        assert (rules.refused is None) == (text in GOOD)
        if rules.refused and text is not None:
            assert rules.refused.hash == digest


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_no_bad_edit_is_accepted(homes, bad: str | None) -> None:
    mounted, _ = homes()
    good = mounted.write(GOOD[0])
    rules, counts = started(mounted)
    mounted.write(bad)
    rules.look()
    assert rules.hash == good, "the last good one stays in force"
    assert rules.refused
    assert counts == Counts([True, False], [good])


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_restart_under_a_bad_edit_goes_back_to_what_was_in_force_and_to_nothing_else(homes, bad: str | None) -> None:
    mounted, kept = homes()
    mounted.write(bad)
    last = kept.write(GOOD[0])
    rules, counts = started(mounted, kept)
    assert rules.hash == last
    assert rules.refused
    assert counts == Counts([False], [last])
    kept.write(GOOD[1])
    rules.look()
    assert rules.hash == last, "what is kept is no edit"
    edited = mounted.write(GOOD[2])
    rules.look()
    assert (rules.hash, rules.refused) == (edited, None)


def test_what_is_kept_never_comes_before_an_edit_that_can_be_used(homes) -> None:
    mounted, kept = homes()
    edited = mounted.write(GOOD[0])
    kept.write(GOOD[1])
    rules, counts = started(mounted, kept)
    assert (rules.hash, counts) == (edited, Counts([True], [edited]))


class EditedMeanwhile:
    """A model that predicts while somebody edits the rules."""

    inputs: Sequence[dict[str, Any]] = ()

    def __init__(self, edit: Callable[[], None]) -> None:
        self._edit = edit

    def read(self, _media_type: str, _body: bytes) -> Input:
        return Input(pd.DataFrame({"x": [1.0, 2.0]}), None)

    def predict(self, _given: Input) -> Any:
        self._edit()
        return np.array([0.5, 0.6])


def test_no_answer_is_mixed_when_the_rules_change_while_it_is_made(homes) -> None:
    mounted, _ = homes()
    first = mounted.write(GOOD[0])
    rules, _ = started(mounted)

    def edit() -> None:
        mounted.write(GOOD[1])
        rules.look()

    metrics = Metrics(read_settings({"MODEL_NAME": "m", "MODEL_VERSION": "1"}))
    scorer = Scorer(EditedMeanwhile(edit), metrics, rules, NonFinite.ERROR)  # type: ignore[arg-type]
    scored = scorer.score(Invocation("application/json", b""), Arm.LIVE)
    assert (scored.policy, scored.predicted.decisions) == (first, {"a": [0.0, 0.0], "b": [0.0, 0.0]})
    assert rules.hash == hash_of(GOOD[1])
