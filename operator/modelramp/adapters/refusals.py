"""Why a Job has no pods, in the API server's words: the Job's controller says so in Events and nowhere else."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from modelramp.adapters.kinds import EVENT, Object
from modelramp.adapters.kubernetes import Cluster, Listing
from modelramp.adapters.trouble import presentable

FAILED_CREATE = "FailedCreate"
_ENDING = re.compile(r'(?<=-)[a-z0-9]{5}(?=" is forbidden)')
PATIENCE = 0.5
"""Seconds that the question may hold up a turn, which guards traffic too."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: how long pods may take to appear before anybody asks, and how often it is asked then."""

    first: float = 3.0
    again: float = 15.0


PACE = Pace()


@dataclass(eq=False)
class _Inquiry:
    due: float
    said: str = ""


class PodRefusals:
    """Asks seldom, and only about Jobs that have had no pod for a while."""

    def __init__(self, cluster: Cluster, pace: Pace) -> None:
        self._cluster, self._pace = cluster, pace
        self._inquiries: dict[str, _Inquiry] = {}

    async def read(self, job: Object) -> str:
        """Return why this Job's pods are refused, as last heard; empty while nobody has said so."""
        now = asyncio.get_running_loop().time()
        inquiry = self._inquiries.setdefault(job["metadata"]["uid"], _Inquiry(now + self._pace.first))
        if now >= inquiry.due:
            inquiry.due = now + self._pace.again
            inquiry.said = await self._ask(job) or inquiry.said
        return inquiry.said

    def forget(self, job: Object) -> None:
        """Forget a Job that has pods, or is gone."""
        self._inquiries.pop(job["metadata"]["uid"], None)

    async def _ask(self, job: Object) -> str:
        about = f"regarding.uid={job['metadata']['uid']},reason={FAILED_CREATE}"
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._cluster.list(EVENT, job["metadata"]["namespace"], fields=about)
        except TimeoutError:
            return ""
        events = found.items if isinstance(found, Listing) else ()
        newest = max(events, key=lambda event: int(event["metadata"]["resourceVersion"]), default=None)
        return presentable(f"{FAILED_CREATE}: {without_ending(newest.get('note', ''))}") if newest else ""


def without_ending(note: str) -> str:
    """Return a note without the random end of the pod's name: each try has another, and says the same."""
    return _ENDING.sub("…", note)
