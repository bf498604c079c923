"""Keep one Envoy on its ConfigMap: beside it in the pod, with or without the operator."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp

from modelramp.router.confirm import Confirmation, Outcome, changed_folder, version_in
from modelramp.router.directory import read_folder, write_folder
from modelramp.router.journal import note
from modelramp.router.render import CDS, RDS
from modelramp.router.split import Malformed, read_split
from modelramp.router.structure import read_structure
from modelramp.router.swap import State, next_step, state_files
from modelramp.router.target import judge_config_map
from modelramp.router.watch import Seen, WatchSettings, connect, watch_config_map

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


@dataclass
class Mailbox:
    """Hold the newest ConfigMap only: what came before it does not matter any more."""

    newest: Seen | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, seen: Seen) -> None:
        """Take the ConfigMap as it is now; an event that changes no data wakes nobody."""
        if self.newest is None or self.newest.data != seen.data:
            self.newest = seen
            self.changed.set()


class Follower:
    """Bring the files, and Envoy with them, to what the newest ConfigMap asks for."""

    def __init__(self, session: aiohttp.ClientSession, settings: FollowSettings) -> None:
        """Begin at what the folders hold, whoever wrote it and however that ended."""
        self.settings = settings
        self.envoy = Confirmation(session, settings.admin, settings.answer_within)
        self.current = self.wanted = self.proven = read_state(settings.directory)
        self.refused: set[tuple[str, str]] = set()

    async def bring_about(self, data: Mapping[str, str]) -> bool:
        """Go to the state that the data asks for. Returns whether there is one; may be cancelled."""
        judged = judge_config_map(data, self.wanted, self.refused)
        for fault in judged.faults:
            note("not taken", {"reason": fault}, logging.WARNING)
        if judged.target is None:
            return False
        self.wanted = judged.target
        if await self.go(judged.target):
            self.proven = judged.target
            note("settled", described(judged.target))
            return True
        self.refused.add((judged.target.routes.version, judged.target.clusters.version))
        self.wanted = replace(self.proven or judged.target, scalars=judged.target.scalars)
        return await self.bring_about(data)

    async def go(self, target: State) -> bool:
        """Take the steps to a target. Returns False when Envoy refuses one."""
        if self.current is None or self.settings.once:
            self.write(target)
        while (step := next_step(self.current or target, target)) is not None:
            if not await self.take(step):
                return False
        return True

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
    mailbox = Mailbox()
    async with connect(settings.watch) as core, aiohttp.ClientSession() as session:
        follower = Follower(session, settings)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch_config_map(core, settings.watch, mailbox.put))
            await obey(follower, mailbox)
            watching.cancel()


async def obey(follower: Follower, mailbox: Mailbox) -> None:
    """Bring about what the mailbox holds; what is newer interrupts. Returns only in `once` mode."""
    done = False
    while not (done and follower.settings.once):
        await mailbox.changed.wait()
        mailbox.changed.clear()
        done = await obey_newest(follower, mailbox)


async def obey_newest(follower: Follower, mailbox: Mailbox) -> bool:
    """Bring about the newest ConfigMap until a newer one comes; return whether it was done."""
    seen = mailbox.newest
    if seen is None or seen.data is None:
        note("no ConfigMap", {"kept": follower.current is not None}, logging.WARNING)
        return False
    note("seen", {"resource_version": seen.resource_version})
    work = asyncio.create_task(follower.bring_about(seen.data))
    newer = asyncio.create_task(mailbox.changed.wait())
    try:
        await asyncio.wait({work, newer}, return_when=asyncio.FIRST_COMPLETED)
        return work.done() and await work
    finally:
        work.cancel()
        newer.cancel()
        await asyncio.gather(work, newer, return_exceptions=True)
