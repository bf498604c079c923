"""The policy in force: tried before it is used, exchanged whole, the last good one kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from modelramp_policy.document import FILE, LONGEST_TEXT, Document, Refused, parse
from modelramp_policy.rules import Decision, Fault, Kind, Policy, compile_rules
from modelramp_runtime.columns import Columns
from modelramp_runtime.logs import fields
from modelramp_runtime.refusal import Kind as Refusal
from modelramp_runtime.refusal import RequestError

LOG = logging.getLogger("modelramp.policy")
LOOK_EVERY = 0.25
"""Seconds; the kubelet exchanges the whole directory at once, so a look never sees half an edit."""
Decisions = Mapping[str, Sequence[Decision | None]]
ABSENT = Refused("", (f"there is no {FILE} in the policy's ConfigMap",))


@dataclass(frozen=True, slots=True)
class Example:
    """What a policy is tried on: the first prediction's columns, and what each of them is."""

    columns: Columns
    kinds: Mapping[str, Kind]


def tried(text: str, example: Example) -> Policy | Refused:
    """Return the policy of a text that has decided the example, or every reason why it cannot be used."""
    document = parse(text)
    if not isinstance(document, Document):
        return document
    policy = compile_rules(document, example.kinds)
    if isinstance(policy, Refused):
        return policy
    if not example.columns.rows:
        return Refused(document.hash, ("the model's answer has no columns that a rule could decide on",))
    decided = _decide(policy, example.columns)
    return Refused(document.hash, (f"on the input example: {decided}",)) if isinstance(decided, Fault) else policy


def _decide(policy: Policy, columns: Columns) -> Decisions | Fault:
    known = policy.decide(columns.values(policy.names), columns.rows - len(columns.unknown))
    if isinstance(known, Fault) or not columns.unknown:
        return known
    return {name: _spread(decisions, columns) for name, decisions in known.items()}


def _spread(known: Sequence[Decision], columns: Columns) -> list[Decision | None]:
    following = iter(known)
    return [None if row in columns.unknown else next(following) for row in range(columns.rows)]


def decide(policy: Policy, columns: Columns) -> Decisions:
    """Return each rule's decision by row, null where the output is NaN or infinite: nothing is known of it.

    Raises `RequestError` (500) where a rule fails on a row.
    """
    decided = _decide(policy, columns)
    if isinstance(decided, Fault):
        raise RequestError(Refusal.POLICY, "The policy failed on this answer.") from PolicyFaultError(str(decided))
    return decided


class PolicyFaultError(Exception):
    """A rule's fault, for the log."""


class PolicyFile:
    """The mounted file; `read` returns its text when it is not the one that was read last."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / FILE
        self._seen: object = ""

    def read(self) -> str | None:
        """Return the text of a new file, "" where there is none any more, None where nothing is new."""
        try:
            found = self._file.stat()
            # A ConfigMap's file is a link into a directory that is exchanged: another inode.
            mark: object = (found.st_ino, found.st_mtime_ns, found.st_size)
            if mark == self._seen:
                return None
            with self._file.open(encoding="utf-8", errors="replace") as file:
                text = file.read(LONGEST_TEXT + 1)
        except OSError:
            mark, text = None, ""
        is_new, self._seen = mark != self._seen, mark
        return text if is_new else None


class Listener(Protocol):
    """Who counts edits."""

    def edited(self, *, is_used: bool) -> None:
        """Count an edit."""
        ...

    def ruled(self, policy: str) -> None:
        """Note the hash of the policy in force."""
        ...


class Rules:
    """The policy in force and the edit that was refused since, if any. One thread changes them; any may read."""

    def __init__(self, directory: Path | None, kept: Path | None, listener: Listener) -> None:
        """`kept` has the rules that were in force last, for a server that starts while an edit cannot be used."""
        self._file = PolicyFile(directory) if directory else None
        self._kept = PolicyFile(kept) if kept else None
        self._listener = listener
        self._example: Example | None = None
        self._seen = 0.0
        self.current: Policy | None = None
        self.refused: Refused | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether there is to be a policy at all."""
        return self._file is not None

    @property
    def hash(self) -> str:
        """Return the hash of the policy in force, empty for none."""
        return self.current.hash if self.current else ""

    def state(self) -> dict[str, Any]:
        """Return the hash in force, the newest edit where it is refused, and when that was seen (monotonic s)."""
        refused = self.refused
        said = {"hash": refused.hash, "problems": list(refused.problems)} if refused else None
        return {"hash": self.hash, "refused": said, "seen": self._seen}

    def learn(self, example: Example) -> None:
        """Take what edits are tried on, and try what is there."""
        self._example = example
        self.look()

    def look(self) -> None:
        """Read the file; take an edit that can be used whole, keep the policy in force otherwise."""
        if self._file is None or self._example is None:
            return
        text = self._file.read()
        if text is not None:
            self._take(tried(text, self._example) if text else ABSENT)
        if self.refused and self.current is None and self._kept and (kept := self._kept.read()):
            self._fall_back(tried(kept, self._example))

    def _take(self, found: Policy | Refused) -> None:
        if isinstance(found, Policy):
            self.refused = None
            self._enforce(found, "the newest edit")
        else:
            self.refused = found
            LOG.error("policy refused: %s", found, extra=fields(policy=self.hash, refused=found.hash))
        self._seen = time.monotonic()
        self._listener.edited(is_used=self.refused is None)

    def _fall_back(self, found: Policy | Refused) -> None:
        """Stand on what was in force before this server started; where it cannot be used either, on nothing."""
        if isinstance(found, Policy):
            self._enforce(found, "the last that was in force")
        else:
            LOG.error("the kept policy is refused: %s", found, extra=fields(refused=found.hash))

    def _enforce(self, policy: Policy, which: str) -> None:
        self.current, self._seen = policy, time.monotonic()
        LOG.info("policy in force", extra=fields(policy=policy.hash, which=which))
        self._listener.ruled(policy.hash)

    async def follow(self) -> None:
        """Look again and again."""
        while self.is_wanted:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await asyncio.to_thread(self.look)
            except Exception:
                LOG.exception("the policy could not be looked at")
