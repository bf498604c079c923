"""Keep one Envoy on its ConfigMap: beside it in the pod, with or without the operator."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from modelramp.router.confirm import Confirmation, Outcome, changed_folder, version_in
from modelramp.router.directory import read_folder, write_folder
from modelramp.router.journal import note
from modelramp.router.render import CDS, RDS
from modelramp.router.split import Malformed, read_split
from modelramp.router.structure import read_structure
from modelramp.router.swap import State, next_step, state_files
from modelramp.router.target import judge_config_map, versions_of
from modelramp.router.watch import Seen, WatchSettings, watch_config_map

LONGEST_PATIENCE = 60.0


@dataclass(frozen=True)
class FollowSettings:
    """Say what to follow, where to write, and which Envoy must confirm; seconds.

    `once`: write all files at once and end (the init container, before there is an Envoy to confirm).
    """

    watch: WatchSettings
    directory: Path
    admin: str = "http://127.0.0.1:9900"
    once: bool = False
    answer_within: float = 1.0
    first_poll: float = 0.005
    last_poll: float = 0.25
    patience: float = 2.0


class Follower:
    """Bring the files, and Envoy with them, to the last valid of what the ConfigMap said."""

    def __init__(self, session: aiohttp.ClientSession, settings: FollowSettings) -> None:
        """Begin at what the folders hold, whoever wrote it and however that ended."""
        self.settings = settings
        self.envoy = Confirmation(session, settings.admin, settings.answer_within)
        self.current = self.wanted = self.proven = read_state(settings.directory)
        self.seen: Mapping[str, str] | None = None
        self.refused: set[tuple[str, str]] = set()
        self.confirmed = False
        self.changed = asyncio.Event()

    def put(self, seen: Seen) -> None:
        """Take the ConfigMap as it is now, and judge it at once: what is valid counts, however short it was."""
        if seen.data is None:
            note("no ConfigMap", {"kept": self.wanted is not None}, logging.WARNING)
        elif seen.data != self.seen:
            note("seen", {"resource_version": seen.resource_version})
            self.seen = seen.data
            self.judge(self.wanted)

    def judge(self, last: State | None) -> None:
        """Want what the ConfigMap asks for, as far as it is good."""
        judged = judge_config_map(self.seen or {}, last, self.refused)
        for fault in judged.faults:
            note("not taken", {"reason": fault}, logging.WARNING)
        if judged.target is not None:
            self.wanted = judged.target
            self.changed.set()

    async def bring_about(self) -> None:
        """Go to the state that is wanted; may be cancelled between any two writes."""
        target = self.wanted
        if target is None:
            return
        if await self.go(target):
            self.proven = target
            note("settled", described(target))
            return
        self.refused.add(versions_of(target))
        if self.proven is not None and versions_of(self.proven) not in self.refused:
            self.judge(replace(self.proven, scalars=target.scalars))

    async def go(self, target: State) -> bool:
        """Take the steps to a target. Returns False when Envoy refuses one."""
        if self.current is None or self.settings.once:
            self.write(target)
        while (step := next_step(self.current or target, target)) is not None:
            if not await self.take(step):
                return False
        return self.settings.once or self.confirmed or await self.confirm_all(target)

    async def confirm_all(self, state: State) -> bool:
        """Ask once after the start whether Envoy has what the folders hold: an earlier follower may have died."""
        outcomes = [await self.wait(f, state, await self.envoy.count_refusals(f)) for f in state_files(state)]
        self.confirmed = Outcome.REFUSED not in outcomes
        return self.confirmed

    async def take(self, step: State) -> bool:
        """Write one step and wait until Envoy has it; take it back when Envoy refuses it."""
        before, folder = self.current or step, changed_folder(self.current, step)
        # Twice: what is counted after the first try may be the refusal of an earlier, interrupted step.
        for _ in range(2):
            refusals = await self.envoy.count_refusals(folder)
            self.write(step)
            if await self.wait(folder, step, refusals) is Outcome.IN_EFFECT:
                return True
            self.write(before)
        note("refused", {"folder": folder, "version": version_in(folder, step)}, logging.ERROR)
        return False

    def write(self, state: State) -> None:
        """Write the folders that differ from what is there, each atomically."""
        old = state_files(self.current) if self.current else {}
        for folder, files in state_files(state).items():
            if files != old.get(folder):
                write_folder(self.settings.directory / folder, files)
        self.current = state
        note("written", described(state))

    async def wait(self, folder: str, step: State, refusals: int) -> Outcome:
        """Poll Envoy until the step is in effect or refused; a swap that it missed is repeated."""
        loop = asyncio.get_running_loop()
        pause, patience = self.settings.first_poll, self.settings.patience
        repeat_at = loop.time() + patience
        while (outcome := await self.envoy.read_outcome(folder, step, refusals)) is Outcome.PENDING:
            await asyncio.sleep(pause)
            pause = min(pause * 2, self.settings.last_poll)
            if loop.time() >= repeat_at:
                note("unconfirmed", {"folder": folder} | described(step), logging.WARNING)
                write_folder(self.settings.directory / folder, state_files(step)[folder])
                patience = min(patience * 2, LONGEST_PATIENCE)
                repeat_at = loop.time() + patience
        return outcome


def described(state: State) -> dict[str, object]:
    """Return a state as fields of a log line."""
    return {"rds": state.routes.version, "cds": state.clusters.version, "scalars": dict(state.scalars)}


def read_state(directory: Path) -> State | None:
    """Return the state that the folders hold, or None when they do not hold a good one."""
    files = {name: read_folder(directory / name) for name in ("runtime", "cds", "rds")}
    runtime, texts = files["runtime"], {**(files["rds"] or {}), **(files["cds"] or {})}
    structure = read_structure(texts)
    if runtime is None or isinstance(structure, Malformed) or not {RDS, CDS} <= set(texts):
        return None
    if isinstance(read_split(runtime), Malformed):
        return None
    return State(structure.routes, structure.clusters, runtime)


async def follow(settings: FollowSettings) -> None:
    """Follow the ConfigMap for ever; with `once` until good files are there for Envoy to start with."""
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        follower = Follower(session, settings)
        watching = tasks.create_task(watch_config_map(settings.watch, follower.put))
        await obey(follower)
        watching.cancel()


async def obey(follower: Follower) -> None:
    """Bring about what is wanted, again whenever that changes. Returns only in `once` mode, when done."""
    done = False
    while not (done and follower.settings.once):
        await follower.changed.wait()
        follower.changed.clear()
        done = await obey_until_changed(follower)


async def obey_until_changed(follower: Follower) -> bool:
    """Bring about what is wanted; stop when that changes. Returns whether it was done."""
    work = asyncio.create_task(follower.bring_about())
    newer = asyncio.create_task(follower.changed.wait())
    try:
        await asyncio.wait({work, newer}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
        return work.done()
    finally:
        work.cancel()
        newer.cancel()
        await asyncio.gather(work, newer, return_exceptions=True)
