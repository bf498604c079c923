"""Whether a split is in effect, judged from counted requests."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelramp.rollout.observation import Split
from modelramp.rollout.shares import QUIET, Counted, Standing, judge_shares

ALL_ON_7 = Split({"7": 100})
SOON = timedelta(seconds=1)


def split(weight: int) -> Split:
    return Split({"7": 100 - weight, "8": weight})


def drawn(requests: int, weight: int, seed: int = 1) -> Counted:
    """Return what a proxy does that draws each request by its weight."""
    chance = random.Random(seed)
    hits = sum(chance.random() * 100 < weight for _ in range(requests))
    return Counted({"7": requests - hits, "8": hits})


@pytest.mark.parametrize(
    ("before", "after", "enough"), [(0, 1, 700), (1, 10, 150), (10, 50, 60), (50, 100, 12), (0, 100, 1)]
)
def test_requests_by_the_new_split_show_it_and_by_the_old_one_speak_against_it(
    before: int, after: int, enough: int
) -> None:
    shown = judge_shares(split(after), split(before), drawn(enough, after), SOON)
    assert shown.standing is Standing.EFFECTIVE
    refuted = judge_shares(split(after), split(before), drawn(20 * enough, before), SOON)
    assert refuted.standing is Standing.CONTRADICTED
    assert f"where {100 - after} % was asked for" in refuted.detail


@settings(max_examples=100, deadline=None)
@given(
    weights=st.sampled_from([(0, 1), (1, 10), (10, 50), (50, 100)]), requests=st.integers(0, 3000), seed=st.integers()
)
def test_a_proxy_that_does_as_it_is_told_is_hardly_ever_contradicted(
    weights: tuple[int, int], requests: int, seed: int
) -> None:
    before, after = weights
    said = [
        judge_shares(split(after), split(before), drawn(requests, after, seed + lot), SOON).standing for lot in range(5)
    ]
    assert said.count(Standing.CONTRADICTED) <= 1


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 10), (10, 50), (50, 100)])
def test_too_few_requests_are_no_evidence_either_way(before: int, after: int) -> None:
    for few in (Counted({}), Counted({"7": 0, "8": 0}), Counted({"7": 1})):
        said = judge_shares(split(after), split(before), few, timedelta(hours=1)).standing
        assert said is (Standing.CONTRADICTED if few.live.get("7") and after == 100 else Standing.SCARCE)


def test_everything_goes_to_one_version_once_nothing_has_gone_elsewhere_for_a_while() -> None:
    for counted in (Counted({}), Counted({"7": 5000, "8": 0})):
        assert judge_shares(ALL_ON_7, None, counted, SOON).standing is Standing.SCARCE
        assert judge_shares(ALL_ON_7, None, counted, QUIET).standing is Standing.EFFECTIVE
    late = judge_shares(ALL_ON_7, None, Counted({"7": 5000, "8": 1}), QUIET)
    assert late.standing is Standing.CONTRADICTED


@pytest.mark.parametrize(
    ("copies", "says"),
    [
        (0, Standing.CONTRADICTED),
        (200, Standing.CONTRADICTED),
        (480, Standing.EFFECTIVE),
        (500, Standing.EFFECTIVE),
        (530, Standing.EFFECTIVE),
    ],
)
def test_copies_are_counted_against_the_live_requests(copies: int, says: Standing) -> None:
    shadow = Split({"7": 100}, {"8": 50})
    assert judge_shares(shadow, ALL_ON_7, Counted({"7": 1000}, {"8": copies}), SOON).standing is says


def test_a_shadow_without_requests_is_not_in_effect_yet() -> None:
    shadow = Split({"7": 100}, {"8": 100})
    assert judge_shares(shadow, ALL_ON_7, Counted({"7": 0}, {"8": 0}), QUIET).standing is Standing.SCARCE
