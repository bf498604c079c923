"""Files that change all at once."""

import threading
from pathlib import Path

from modelramp.router.directory import read_folder, write_folder


def test_what_was_written_is_read_and_what_is_left_out_is_gone(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "1", "b": "2"})
    write_folder(tmp_path, {"b": "3"})
    assert read_folder(tmp_path) == {"b": "3"}
    assert (tmp_path / "b").read_text() == "3"


def test_an_empty_folder_is_one_too(tmp_path: Path) -> None:
    write_folder(tmp_path, {})
    assert read_folder(tmp_path) == {}


def test_a_folder_that_was_never_written_is_none(tmp_path: Path) -> None:
    assert read_folder(tmp_path) is None


def test_readers_never_see_two_writes_mixed(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "0", "b": "0"})
    seen: set[tuple[str, str]] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            files = read_folder(tmp_path)
            if files is not None:
                seen.add((files["a"], files["b"]))

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(1, 200):
        write_folder(tmp_path, {"a": str(n), "b": str(n)})
    stop.set()
    reader.join()
    assert len(seen) > 1
    assert all(a == b for a, b in seen)


def test_another_user_may_read_and_old_generations_go(tmp_path: Path) -> None:
    for n in range(10):
        write_folder(tmp_path, {"a": str(n)})
    generations = [p for p in tmp_path.glob("..*") if p.is_dir() and not p.is_symlink()]
    assert len(generations) == 2
    assert (tmp_path / "..data").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "1"})
    (tmp_path / "..half").mkdir()
    (tmp_path / "..data_next").symlink_to("..half")
    assert read_folder(tmp_path) == {"a": "1"}
    write_folder(tmp_path, {"a": "2"})
    assert read_folder(tmp_path) == {"a": "2"}
    assert not (tmp_path / "..half").exists()
