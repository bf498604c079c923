"""A follower that dies, and an Envoy that does not answer."""

import signal
from collections.abc import Mapping
from pathlib import Path

from modelramp.router.directory import read_folder, write_folder
from modelramp.router.follow import read_state
from modelramp.router.swap import next_step
from modelramp.router.target import judge_config_map
from tests.router.rig import Rig, eventually, following, load, rigged, running_envoy, write_first


async def test_no_step_is_taken_before_envoy_has_the_one_before(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100})) as rig:
        assert rig.envoy is not None
        before = [read_folder(tmp_path / folder) for folder in ("rds", "cds")]
        generations = {(tmp_path / "runtime" / "..data").readlink()}
        rig.envoy.process.send_signal(signal.SIGSTOP)
        try:
            rig.put(rig.data({"9": 100}))

            async def repeated() -> bool:
                generations.add((tmp_path / "runtime" / "..data").readlink())
                return len(generations) >= 3

            await eventually(repeated, "the first step is written, and once more when Envoy is silent")
            assert [read_folder(tmp_path / folder) for folder in ("rds", "cds")] == before
        finally:
            rig.envoy.process.send_signal(signal.SIGCONT)
        await rig.settled(rig.data({"9": 100}))


async def test_what_envoy_missed_before_the_follower_started_is_made_up_for(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0})) as rig:
        data = rig.data({"7": 0, "8": 100}, stable="7")
        for key in ("weight.v7", "weight.v8"):
            (tmp_path / "runtime" / "..data" / key).write_text(data[key])  # in place: Envoy sees no event
        assert await rig.ask() == "7"
        async with following(rig):
            rig.put(data)
            await rig.settled(data)
            assert await rig.ask() == "8"


async def test_a_follower_killed_after_any_write_leaves_a_whole_state_and_the_next_one_goes_on(
    tmp_path: Path,
) -> None:
    async with rigged(tmp_path / "first", lambda rig: rig.data({"7": 100, "8": 0}, {"8": 100})) as rig:
        begin, end = (
            rig.data({"7": 100, "8": 0}, {"8": 100}),
            rig.data({"8": 30, "9": 70}, stable="9"),
        )
        written = await crash_points(rig, tmp_path, begin, end)
        assert written >= 6


async def crash_points(rig: Rig, root: Path, begin: Mapping[str, str], end: Mapping[str, str]) -> int:
    """Crash after each write on the way from one ConfigMap to another, start again, and look at all of it."""
    for count in range(20):
        directory = root / f"crash-{count}"
        if not await write_some(rig, directory, begin, end, count):
            return count
        leave_rubbish(directory)
        async with running_envoy(rig.session, directory) as rig.envoy:
            rig.directory = directory
            assert set(await rig.shares(80)) <= {"7", "8", "9"}
            async with following(rig):
                rig.put(dict(end) | {"crash": str(count)})
                async with load(rig) as answers:
                    await rig.settled(end)
                assert set(answers) <= {"7", "8", "9"}, answers
    raise AssertionError("the way never ends")


async def write_some(rig: Rig, directory: Path, begin: Mapping[str, str], end: Mapping[str, str], count: int) -> bool:
    """Write the first so many steps; return False when there are not that many."""
    follower = await write_first(rig, directory, begin)
    target = judge_config_map(end, follower.current).target
    assert target is not None
    for _ in range(count):
        assert follower.current is not None
        step = next_step(follower.current, target)
        if step is None:
            return False
        follower.write(step)
    return True


def leave_rubbish(directory: Path) -> None:
    """Leave what a process killed in the middle of a write leaves."""
    for folder in ("rds", "cds", "runtime"):
        half = directory / folder / "..half"
        half.mkdir()
        (half / "rds.yaml").write_text("version_in")
        (directory / folder / "..data_next").symlink_to("..half")


def test_a_folder_that_was_never_written_whole_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    write_folder(tmp_path / "runtime", {"weight.v7": "100"})
    assert read_state(tmp_path) is None
