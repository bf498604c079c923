"""What is said of a Job without pods stays as it is while nothing changes."""

from __future__ import annotations

from modelramp.adapters.refusals import without_ending


def test_tries_that_are_refused_alike_say_the_same() -> None:
    notes = {
        f'Error creating: pods "fraud-stage-8-1f2e3d-{end}" is forbidden: exceeded quota: no-pods'
        for end in ("x7k2p", "9bq4z")
    }
    assert {without_ending(note) for note in notes} == {
        'Error creating: pods "fraud-stage-8-1f2e3d-…" is forbidden: exceeded quota: no-pods'
    }
