"""The demo's picture: what the clients saw, drawn."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from cluster.demo.observed import Answer
from cluster.demo.picture import draw, seconds
from cluster.demo.summary import Act

ANSWERS = [
    Answer(1, 100.1, "1", 200),
    Answer(2, 100.9, "1", 200),
    Answer(3, 101.2, "2", 500, milliseconds=400),
    Answer(4, 103.5, "2", 200),
]
ACTS = [Act("v1, the first version", 99.0, 101.0), Act("v2 <fails>", 101.0, 104.0)]


def test_an_answer_belongs_to_the_second_in_which_it_was_sent() -> None:
    found = seconds(ANSWERS, began=100.0)
    assert {second: [answer.number for answer in inside] for second, inside in found.items()} == {0: [1, 2, 3], 3: [4]}


def test_the_picture_names_the_acts_and_the_versions(tmp_path: Path) -> None:
    file = tmp_path / "new" / "demo.svg"
    assert draw(ACTS, ANSWERS, file)
    words = {text.strip() for text in ET.parse(file).getroot().itertext()}
    assert {"v1, the first version", "v2 <fails>", "v1", "v2", "failed"} <= words


def test_the_same_answers_make_the_same_file(tmp_path: Path) -> None:
    for name in ("one.svg", "other.svg"):
        draw(ACTS, ANSWERS, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_where_nobody_answered_there_is_no_picture(tmp_path: Path) -> None:
    assert not draw(ACTS, [], tmp_path / "demo.svg")
    assert not list(tmp_path.iterdir())
