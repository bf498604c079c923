"""Read from one router pod what its Envoy really does: the split in effect, and what it has sent where."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from modelramp.router.admin import Failure, Unreadable, read_runtime, read_statistics
from modelramp.router.render import ROUTES
from modelramp.router.split import KEY, PERCENT

DEADLINE = 1.0
RDS_PREFIX, CDS_PREFIX = f"http.ingress.rds.{ROUTES}.", "cluster_manager.cds."
WANTED = (
    r"^cluster\.[^.]+_[^.]+-v[^.]+\.(membership_healthy|upstream_rq_(total|completed|active|[1-5]xx))$"
    rf"|^(http\.ingress\.rds\.{ROUTES}|cluster_manager\.cds)\.(version_text|update_rejected|update_failure)$"
)
HEALTHY = re.compile(r"cluster\.[^.]+_[^.]+-v(?P<version>[^.]+)\.membership_healthy")
REQUESTS = re.compile(r"cluster\.[^.]+_[^.]+-v(?P<version>[^.]+)\.upstream_rq_(?P<what>total|completed|active|[1-5]xx)")


@dataclass(frozen=True)
class RouterEffect:
    """Hold what one Envoy does.

    weights, mirror: percent by version, from its runtime. rds_version, cds_version: the versions in use.
    rejected: configurations that it refused or could not read, since it started. requests, active, responses
    (by class, `2xx`): counted at the versions, with mirrored copies and retries; counters restart with Envoy.
    unreachable: the versions that take no connection now.
    """

    weights: Mapping[str, int]
    mirror: Mapping[str, int]
    rds_version: str
    cds_version: str
    rejected: int
    requests: Mapping[str, int]
    responses: Mapping[str, Mapping[str, int]]
    active: Mapping[str, int]
    unreachable: frozenset[str] = frozenset()


async def read_effect(
    session: aiohttp.ClientSession, base_url: str, deadline: float = DEADLINE
) -> RouterEffect | Unreadable:
    """Return what the Envoy at `http://IP:PORT` does, within `deadline` seconds in all."""
    runtime, statistics = await asyncio.gather(
        read_runtime(session, base_url, deadline), read_statistics(session, base_url, WANTED, deadline)
    )
    if isinstance(runtime, Unreadable):
        return runtime
    if isinstance(statistics, Unreadable):
        return statistics
    return parse_effect(base_url, runtime, statistics)


def parse_effect(
    base_url: str, runtime: Mapping[str, str], statistics: Mapping[str, int | str]
) -> RouterEffect | Unreadable:
    """Return the effect that a runtime and statistics show."""
    weights, mirror = percents(runtime, "weight"), percents(runtime, "mirror")
    if isinstance(weights, str):
        return Unreadable(Failure.UNEXPECTED, f"{base_url}/runtime: {weights} is not a percentage")
    if isinstance(mirror, str):
        return Unreadable(Failure.UNEXPECTED, f"{base_url}/runtime: {mirror} is not a percentage")
    counted = count_requests(statistics)
    return RouterEffect(
        weights=weights,
        mirror=mirror,
        rds_version=str(statistics.get(f"{RDS_PREFIX}version_text", "")),
        cds_version=str(statistics.get(f"{CDS_PREFIX}version_text", "")),
        rejected=count_rejected(statistics),
        requests={version: count_meant(counts) for version, counts in counted.items()},
        responses={v: {w: n for w, n in c.items() if w.endswith("xx")} for v, c in counted.items()},
        active={version: counts.get("active", 0) for version, counts in counted.items()},
        unreachable=find_unreachable(statistics),
    )


def percents(runtime: Mapping[str, str], kind: str) -> dict[str, int] | str:
    """Return the percents of one kind by version, or the key whose value is none."""
    found: dict[str, int] = {}
    for key, value in runtime.items():
        match = KEY.fullmatch(key)
        if match is None or match[1] != kind:
            continue
        if not PERCENT.fullmatch(value):
            return key
        found[match[2]] = int(value)
    return found


def count_requests(statistics: Mapping[str, int | str]) -> dict[str, dict[str, int]]:
    """Return the request counters by version."""
    counted: dict[str, dict[str, int]] = {}
    for name, value in statistics.items():
        match = REQUESTS.fullmatch(name)
        if match is not None and isinstance(value, int):
            counted.setdefault(match["version"], {})[match["what"]] = value
    return counted


def count_meant(counts: Mapping[str, int]) -> int:
    """Return the requests meant for a version; those that found no pod to take them are completed and never begun."""
    return max(counts.get("total", 0), counts.get("completed", 0))


def find_unreachable(statistics: Mapping[str, int | str]) -> frozenset[str]:
    """Return the versions of which no host passes its check."""
    found = ((HEALTHY.fullmatch(name), value) for name, value in statistics.items())
    return frozenset(match["version"] for match, value in found if match is not None and value == 0)


def count_rejected(statistics: Mapping[str, int | str]) -> int:
    """Return how many configurations Envoy refused or could not read."""
    names = [f"{p}{what}" for p in (RDS_PREFIX, CDS_PREFIX) for what in ("update_rejected", "update_failure")]
    return sum(int(statistics.get(name, 0)) for name in names)
