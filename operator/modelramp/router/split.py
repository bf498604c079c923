"""The split of a router: the one that is to be rendered, and what the scalar keys say, typed by anybody at 2 AM."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

PERCENT = re.compile(r"0|[1-9][0-9]?|100")
KEY = re.compile(r"(weight|mirror)\.v([A-Za-z0-9][A-Za-z0-9-]*)")
WEIGHT, MIRROR = "weight", "mirror"


@dataclass(frozen=True)
class Malformed:
    """Say in one sentence why a ConfigMap's content is not taken: the key, the value, what would be right."""

    reason: str


class Split(NamedTuple):
    """Hold percent of live traffic and percent mirrored, by version."""

    weights: dict[str, int]
    mirror: dict[str, int]


def read_split(data: Mapping[str, str], versions: Sequence[str] | None = None) -> Split | Malformed:
    """Return what the scalar keys say, or why they cannot be taken as they are.

    With `versions` each of them must have its weight and no other version may have one.
    """
    weights = read_weights(data, versions)
    if isinstance(weights, Malformed):
        return weights
    mirror = read_mirror(data, versions)
    return mirror if isinstance(mirror, Malformed) else Split(weights, mirror)


def read_weights(data: Mapping[str, str], versions: Sequence[str] | None = None) -> dict[str, int] | Malformed:
    """Return percent by version: whole numbers that add up to 100, one for each version."""
    weights = read_percents(data, WEIGHT, versions)
    if isinstance(weights, Malformed):
        return weights
    if missing := [v for v in versions or () if v not in weights]:
        return Malformed(f"weight.v{missing[0]} is missing; write a whole number from 0 to 100")
    total = sum(weights.values())
    if total == 100 or not (weights or versions):
        return weights
    said = ", ".join(f"weight.v{version}={n}" for version, n in weights.items())
    return Malformed(f"the weights must add up to 100, not {total}: {said}")


def read_mirror(data: Mapping[str, str], versions: Sequence[str] | None = None) -> dict[str, int] | Malformed:
    """Return percent mirrored by version; a version without a key has 0."""
    mirror = read_percents(data, MIRROR, versions)
    return mirror if isinstance(mirror, Malformed) else dict.fromkeys(versions or (), 0) | mirror


def retreat_weights(data: Mapping[str, str], versions: Sequence[str], stable: str) -> dict[str, int] | Malformed:
    """Return weights that do not add up as a move towards `stable`, where they can mean nothing else.

    The rest of 100 is stable's; a stable of 100 leaves nothing for the others; a key that was deleted is 100
    for stable and 0 for the others. No other version gets more than was written for it. A key that names no
    version of the route is passed over: a slip must not keep the right number beside it from counting.
    """
    known = {key: data[key] for key in (f"{WEIGHT}.v{version}" for version in versions) if key in data}
    weights = read_percents(known, WEIGHT, versions)
    if isinstance(weights, Malformed):
        return weights
    if weights.get(stable, 100) == 100:
        return dict.fromkeys(versions, 0) | {stable: 100}
    if (total := sum(weights.values())) > 100:
        return Malformed(f"the weights must add up to 100, not {total}")
    return dict.fromkeys(versions, 0) | weights | {stable: weights[stable] + 100 - total}


def read_percents(data: Mapping[str, str], kind: str, versions: Sequence[str] | None) -> dict[str, int] | Malformed:
    """Return the percents of one kind of key; a 0 for a version that has no route says nothing."""
    percents: dict[str, int] = {}
    for key in sorted(k for k in data if k.startswith(f"{kind}.")):
        version = read_version(key, versions)
        if isinstance(version, Malformed):
            if data[key] == "0":
                continue
            return version
        if not PERCENT.fullmatch(data[key]):
            return Malformed(explain_percent(key, data[key]))
        percents[version] = int(data[key])
    return percents


def read_version(key: str, versions: Sequence[str] | None) -> str | Malformed:
    """Return the version that a key names."""
    match = KEY.fullmatch(key)
    if match is None:
        return Malformed(f"{key!r} names no version; a key is weight.vN or mirror.vN")
    if versions is not None and match[2] not in versions:
        served = ", ".join(f"v{v}" for v in versions) or "none"
        return Malformed(f"{key} names a version that has no route; there are: {served}")
    return match[2]


def explain_percent(key: str, value: str) -> str:
    """Return why a value is no percent; at most 40 characters of it are repeated."""
    shown = value if len(value) <= 40 else value[:37] + "..."
    right = "write a whole number from 0 to 100"
    if PERCENT.fullmatch(value.strip()):
        return f"{key}: {shown!r} has white space around it; {right}"
    if PERCENT.fullmatch(value.removesuffix("%").strip()):
        return f"{key}: {shown!r} has a percent sign; {right}"
    return f"{key}: {shown!r} is not a percentage; {right}"


def judge_split(
    versions: Sequence[str], stable: str | None, split: Mapping[str, int], mirror: Mapping[str, int]
) -> None:
    """Raise ValueError when the split and the backends contradict each other."""
    if len(set(versions)) != len(versions):
        raise ValueError(f"backends: {versions} names a version twice")
    if versions and stable not in versions:
        raise ValueError(f"stable: {stable!r} has no backend; there are {versions}")
    for what, values in (("split", split), ("mirror", mirror)):
        if unknown := sorted(set(values) - set(versions)):
            raise ValueError(f"{what}: {unknown} have no backend; there are {versions}")
        if wrong := {v: n for v, n in values.items() if not 0 <= n <= 100}:
            raise ValueError(f"{what}: {wrong} must be from 0 to 100")
    if versions and sum(split.values()) != 100:
        raise ValueError(f"split: {dict(split)} must add up to 100, not {sum(split.values())}")
