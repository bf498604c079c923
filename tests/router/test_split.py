"""What a person may have typed into the ConfigMap, and what is said about it."""

import pytest

from modelramp.router.split import Malformed, Split, read_split, retreat_weights


def test_numbers_that_add_up_are_the_split() -> None:
    data = {"weight.v7": "90", "weight.v8": "10", "mirror.v8": "5", "rds.yaml": "…"}
    assert read_split(data) == ({"7": 90, "8": 10}, {"8": 5})


def test_with_versions_every_one_of_them_is_there() -> None:
    data = {"weight.v7": "100", "weight.v8": "0"}
    assert read_split(data, ["7", "8"]) == Split({"7": 100, "8": 0}, {"7": 0, "8": 0})


def test_a_router_without_versions_has_an_empty_split() -> None:
    assert read_split({}, []) == Split({}, {})
    assert read_split({}) == Split({}, {})


def test_a_zero_that_was_left_behind_by_a_version_without_a_route_says_nothing() -> None:
    data = {"weight.v6": "0", "weight.v7": "100", "mirror.v6": "0"}
    assert read_split(data, ["7"]) == Split({"7": 100}, {"7": 0})


REASONS = {
    " 100": "weight.v8: ' 100' has white space around it; write a whole number from 0 to 100",
    "100\n": "weight.v8: '100\\n' has white space around it; write a whole number from 0 to 100",
    "100%": "weight.v8: '100%' has a percent sign; write a whole number from 0 to 100",
    "abc": "weight.v8: 'abc' is not a percentage; write a whole number from 0 to 100",
    "": "weight.v8: '' is not a percentage; write a whole number from 0 to 100",
    "-5": "weight.v8: '-5' is not a percentage; write a whole number from 0 to 100",
    "101": "weight.v8: '101' is not a percentage; write a whole number from 0 to 100",
    "0x1e": "weight.v8: '0x1e' is not a percentage; write a whole number from 0 to 100",
    "1e1": "weight.v8: '1e1' is not a percentage; write a whole number from 0 to 100",
    "10.5": "weight.v8: '10.5' is not a percentage; write a whole number from 0 to 100",
    "010": "weight.v8: '010' is not a percentage; write a whole number from 0 to 100",
    "١٠": "weight.v8: '١٠' is not a percentage; write a whole number from 0 to 100",
    "x" * 60: f"weight.v8: '{'x' * 37}...' is not a percentage; write a whole number from 0 to 100",
}


@pytest.mark.parametrize("value", REASONS)
def test_a_value_that_is_no_percentage_is_explained(value: str) -> None:
    assert read_split({"weight.v7": "90", "weight.v8": value}) == Malformed(REASONS[value])


@pytest.mark.parametrize("value", [v for v in REASONS if v])
def test_a_mirror_that_is_no_percentage_is_explained_too(value: str) -> None:
    reason = REASONS[value].replace("weight.v8", "mirror.v8")
    assert read_split({"weight.v7": "100", "mirror.v8": value}) == Malformed(reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            {"weight.v7": "90", "weight.v8": "20"},
            "the weights must add up to 100, not 110: weight.v7=90, weight.v8=20",
        ),
        ({"weight.v7": "90"}, "weight.v8 is missing; write a whole number from 0 to 100"),
        (
            {"weight.v7": "90", "weight.v8": "10", "weight.v9": "1"},
            "weight.v9 names a version that has no route; there are: v7, v8",
        ),
        (
            {"weight.7": "90", "weight.v8": "10"},
            "'weight.7' names no version; a key is weight.vN or mirror.vN",
        ),
    ],
)
def test_numbers_that_cannot_be_right_together_are_explained(data: dict[str, str], reason: str) -> None:
    assert read_split(data, ["7", "8"]) == Malformed(reason)


@pytest.mark.parametrize(
    ("data", "weights"),
    [
        ({"weight.v7": "90", "weight.v8": "0"}, {"7": 100, "8": 0, "9": 0}),
        ({"weight.v7": "50", "weight.v8": "10", "weight.v9": "0"}, {"7": 90, "8": 10, "9": 0}),
        ({"weight.v7": "100", "weight.v8": "10", "weight.v9": "50"}, {"7": 100, "8": 0, "9": 0}),
        ({"weight.v8": "10"}, {"7": 100, "8": 0, "9": 0}),
        ({}, {"7": 100, "8": 0, "9": 0}),
    ],
)
def test_what_does_not_add_up_is_a_retreat_where_it_can_mean_nothing_else(
    data: dict[str, str], weights: dict[str, int]
) -> None:
    assert retreat_weights(data, ["7", "8", "9"], "7") == weights


def test_what_does_not_add_up_never_gives_a_candidate_more_than_was_written() -> None:
    for stable in range(101):
        for candidate in range(101):
            data = {"weight.v7": str(stable), "weight.v8": str(candidate)}
            weights = retreat_weights(data, ["7", "8"], "7")
            if not isinstance(weights, Malformed):
                assert weights["8"] <= candidate
                assert sum(weights.values()) == 100


def test_too_much_for_the_candidate_is_no_retreat() -> None:
    data = {"weight.v7": "90", "weight.v8": "100"}
    assert retreat_weights(data, ["7", "8"], "7") == Malformed("the weights must add up to 100, not 190")


def test_a_slip_in_a_key_does_not_keep_the_right_number_beside_it_from_counting() -> None:
    typed = {"weight.v7": "90", "weight.v8": "0", "weight.v77": "100"}
    assert retreat_weights(typed, ["7", "8"], "7") == {"7": 100, "8": 0}
    assert retreat_weights({**typed, "weight.v8": "10"}, ["7", "8"], "7") == {"7": 90, "8": 10}
