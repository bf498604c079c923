"""What the demo counts: shares, failures, departures, from the clients' answers alone."""

from __future__ import annotations

import random

import pytest

from cluster.demo.observed import Answer, between, departure, fits, parse, percents, rollback


def answers(*rows: tuple[float, str, int]) -> list[Answer]:
    return [Answer(number, at, version, status) for number, (at, version, status) in enumerate(rows, start=1)]


def test_rows_of_the_load_generator_are_answers() -> None:
    answered, unanswered = parse([[7, 12.5, "2", 503, 8.1, ""], [8, 12.6, "", 0, 0.2, "TimeoutError: timed out"]])
    assert answered == Answer(7, 12.5, "2", 503, 8.1)
    assert unanswered == Answer(8, 12.6, "", 0, 0.2, "TimeoutError: timed out")
    assert answered.failed
    assert unanswered.failed


@pytest.mark.parametrize(("status", "failed"), [(200, False), (400, True), (500, True), (503, True), (0, True)])
def test_anything_but_the_answer_that_was_asked_for_is_a_failure(status: int, failed: bool) -> None:
    assert Answer(1, 0.0, "1", status).failed == failed


def test_shares_are_of_the_answers_that_a_model_gave() -> None:
    seen = answers((1, "10", 200), (2, "9", 200), (3, "9", 500), (4, "9", 200), (5, "", 503))
    assert percents(seen) == {"9": 75.0, "10": 25.0}
    assert list(percents(seen)) == ["9", "10"]


def test_no_answer_has_no_share() -> None:
    assert percents(answers((1, "", 0))) == {}


def test_a_span_has_its_beginning_and_not_its_end() -> None:
    seen = answers((1, "1", 200), (2, "1", 200), (3, "1", 200))
    assert [answer.at for answer in between(seen, 1, 3)] == [1, 2]


class TestDepartures:
    def test_a_version_that_answers_on_has_not_left(self) -> None:
        gone = departure(answers((1, "2", 200), (2, "2", 200), (9, "2", 200)), "2", began=1.5)
        assert (gone.seconds, gone.served) == (7.5, 2)

    def test_a_version_that_answers_no_more_left_at_once(self) -> None:
        gone = departure(answers((1, "2", 200), (2, "1", 200)), "2", began=1.5)
        assert (gone.seconds, gone.served) == (0.0, 0)

    def test_a_rollback_is_measured_from_the_first_bad_answer_to_the_last_of_any_kind(self) -> None:
        seen = answers((1, "3", 200), (2, "3", 500), (3, "2", 200), (4, "3", 200), (5, "2", 200))
        gone = rollback(seen, "3")
        assert gone is not None
        assert (gone.began, gone.last_served, gone.seconds, gone.served) == (2, 4, 2, 2)

    def test_another_versions_bad_answer_is_not_this_ones(self) -> None:
        assert rollback(answers((1, "2", 500), (2, "3", 200)), "3") is None


class TestChance:
    @pytest.mark.parametrize("percent", [1, 10, 50])
    def test_a_fair_share_fits_and_another_does_not(self, percent: int) -> None:
        dice = random.Random(percent)
        hits = sum(dice.random() * 100 < percent for _ in range(1000))
        assert fits(hits, 1000, percent)
        assert not fits(hits + 100, 1000, percent)

    def test_all_and_nothing_leave_no_room(self) -> None:
        assert fits(150, 150, 100)
        assert not fits(149, 150, 100)
        assert fits(0, 150, 0)
        assert not fits(1, 150, 0)
