"""Judge from counted requests whether a split is in effect.

k of n requests speak against a share p where n·KL(k/n ‖ p) is over SURPRISE: by Chernoff's bound a proxy that draws
each request with p strays so far to this side less than once in 2000 times.
https://en.wikipedia.org/wiki/Chernoff_bound#Additive_form_(absolute_error)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from modelramp.rollout.observation import Split

SURPRISE = math.log(2000)
MIRROR_SLACK = 0.2
"""Copies are counted where they arrive and requests where they leave, at different moments."""
QUIET = timedelta(seconds=15)
"""For how long no request may have gone elsewhere before everything is believed to go to one version."""


class Standing(Enum):
    """What the requests say about a split."""

    EFFECTIVE = "Effective"
    CONTRADICTED = "Contradicted"
    SCARCE = "Scarce"
    """Too few to tell it from the split before; nothing speaks against it."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Requests by version over some time."""

    live: Mapping[str, int] = field(hash=False)
    mirrored: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def total(self) -> int:
        """Return all live requests."""
        return sum(self.live.values())


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the requests say, in numbers too."""

    standing: Standing
    detail: str = ""


def judge_shares(wanted: Split, before: Split | None, counted: Counted, elapsed: timedelta) -> Opinion:
    """Judge whether `wanted` is in effect, from what was counted in the `elapsed` time.

    `before` is the split that it must be told from; None at rest, where everything goes to one version: then it is
    enough that nothing went elsewhere for QUIET.
    """
    if said := _contradiction(wanted, counted):
        return Opinion(Standing.CONTRADICTED, said)
    shown = elapsed >= QUIET if before is None else _is_told_apart(wanted, before, counted)
    if shown:
        return Opinion(Standing.EFFECTIVE)
    seen = f"{counted.total} requests and {sum(counted.mirrored.values())} copies"
    return Opinion(Standing.SCARCE, f"{seen} are too few to tell whether the split is in effect")


def _contradiction(wanted: Split, counted: Counted) -> str:
    total = counted.total
    for version in sorted({*wanted.weights, *counted.live}):
        asked, got = wanted.weight(version), counted.live.get(version, 0)
        if surprise(got, total, asked / 100) > SURPRISE:
            return f"version {version} got {got} of {total} requests where {asked} % was asked for"
    for version, percent in wanted.mirror.items():
        got = counted.mirrored.get(version, 0)
        if _mirror_surprise(got, total, percent / 100) > SURPRISE:
            return f"version {version} got {got} copies of {total} requests where {percent} % was asked for"
    return ""


def _is_told_apart(wanted: Split, before: Split, counted: Counted) -> bool:
    if any(percent > 0 and not before.mirror.get(version, 0) for version, percent in wanted.mirror.items()):
        return all(counted.mirrored.get(version, 0) > 0 for version, percent in wanted.mirror.items() if percent > 0)
    versions = {*wanted.weights, *before.weights}
    return any(
        surprise(counted.live.get(version, 0), counted.total, before.weight(version) / 100) > SURPRISE
        for version in versions
        if wanted.weight(version) != before.weight(version)
    )


def _mirror_surprise(copies: int, requests: int, share: float) -> float:
    if copies >= requests * share * (1 - MIRROR_SLACK):
        return 0.0
    return surprise(copies, requests, share * (1 - MIRROR_SLACK))


def surprise(hits: int, total: int, share: float) -> float:
    """Return total·KL(hits/total ‖ share): 0 where the hits are as expected, infinite where they cannot be."""
    if total == 0:
        return 0.0
    seen = hits / total
    return total * (_divergence(seen, share) + _divergence(1 - seen, 1 - share))


def _divergence(seen: float, share: float) -> float:
    if seen <= 0:
        return 0.0
    return math.inf if share <= 0 else seen * math.log(seen / share)
