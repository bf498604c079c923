"""What must always hold, checked over everything that was stored, not at the end alone.

Each check returns one sentence for each time it was broken; `violations` asks all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from modelramp.adapters.kinds import CONFIG_MAP, EPOCH, EVENT, LEASE, MODEL_DEPLOYMENT, WRITTEN
from modelramp.adapters.route import read_written
from modelramp.ports import Ref
from modelramp.rollout.observation import Split
from tests.whole.observer import Revision, Trace, weights_of
from tests.whole.prometheus import GOOD, ScriptedPrometheus


@dataclass(frozen=True)
class Move:
    """One change of the split that the operator wrote, and the object as it was remembered at that moment."""

    revision: Revision
    before: Split
    after: Split
    model: Mapping[str, Any]

    @property
    def status(self) -> Mapping[str, Any]:
        """Return the status that stood."""
        return self.model.get("status") or {}

    def version(self, field: str) -> str:
        """Return the version of the stable or the candidate pin, "" where there is none."""
        return str((self.status.get(field) or {}).get("version", ""))

    def __str__(self) -> str:
        status = self.status
        stands = f"{status.get('phase')}, stable {self.version('stable')}, candidate {self.version('candidate')}"
        return f"{self.revision.version}: {dict(self.before.weights)} -> {dict(self.after.weights)} while {stands}"


def moves(trace: Trace, ref: Ref) -> list[Move]:
    """Return every change of what the operator says it wrote, in order."""
    found: list[Move] = []
    model: Mapping[str, Any] = {}
    before = Split({})
    for revision in trace.revisions():
        if revision.kind == MODEL_DEPLOYMENT and revision.name == ref.name:
            model = revision.object
        elif revision.kind == CONFIG_MAP and revision.name == f"{ref.name}-traffic" and revision.change != "DELETED":
            after = read_written((revision.object["metadata"].get("annotations") or {}).get(WRITTEN, ""))
            if after is not None and not after.same(before):
                found.append(Move(revision, before, after, model))
                before = after
    return found


def violations(
    trace: Trace,
    ref: Ref,
    prometheus: ScriptedPrometheus | None = None,
    *,
    hands: bool = False,
    retried: bool = False,
) -> list[str]:
    """Return everything that did not hold.

    With `hands`, people edited the numbers themselves; `retried`, the same story was begun twice on purpose.
    """
    found = moves(trace, ref)
    said = [
        *sums(trace, ref),
        *([] if hands else strangers(trace, ref)),
        *one_step_at_a_time(found),
        *gates_first(found),
        *rejections(trace, ref),
        *epochs(trace, ref),
        *([] if retried else doubled_events(trace, ref)),
        *truth(trace, ref),
    ]
    return said + (list(passes_first(found, prometheus, ref)) if prometheus else [])


def sums(trace: Trace, ref: Ref) -> Iterator[str]:
    """Weights sum to 100 in everything that the operator wrote."""
    for move in moves(trace, ref):
        if sum(move.after.weights.values()) != 100:
            yield f"{move}: the weights do not sum to 100"


def strangers(trace: Trace, ref: Ref) -> Iterator[str]:
    """Every stored split is the one that the operator says it wrote."""
    for revision in trace.revisions(CONFIG_MAP, f"{ref.name}-traffic"):
        written = read_written((revision.object["metadata"].get("annotations") or {}).get(WRITTEN, ""))
        if written is None or not written.same(Split(weights_of(revision.object), written.mirror)):
            yield f"{revision}: the numbers are not those that are said to be written"


def one_step_at_a_time(found: list[Move]) -> Iterator[str]:
    """Up by one declared step, down only to 0; a version that was stable gets everything at once."""
    for move in found:
        stable, candidate = move.version("stable"), move.version("candidate")
        previous = {pin["version"] for pin in move.status.get("previous") or ()}
        for version in {**move.before.weights, **move.after.weights}:
            before, after = move.before.weight(version), move.after.weight(version)
            if after > before and version not in {stable, *previous} and not _next_step(move, version, before, after):
                yield f"{move}: version {version} went up from {before} to {after}"
            if 0 < after < before and not (version == stable and move.after.weight(candidate) == 100 - after):
                yield f"{move}: version {version} went down from {before} to {after}, not to 0"


def _next_step(move: Move, version: str, before: int, after: int) -> bool:
    attempt = move.status.get("attempt") or {}
    if attempt.get("version") != version or move.status.get("phase") != "Ramping":
        return False
    weights = [0, *(step["weight"] for step in attempt["plan"]["steps"])]
    return (before, after) in pairwise(weights) and after == weights[int(attempt.get("step") or 0) + 1]


def gates_first(found: list[Move]) -> Iterator[str]:
    """No traffic, not even a copy, to a version whose gates did not all pass, unless it was stable before."""
    for move in found:
        candidate, attempt = move.version("candidate"), move.status.get("attempt") or {}
        share = move.after.weight(candidate) + move.after.mirror.get(candidate, 0) if candidate else 0
        gates = attempt.get("gates") or []
        asked = ((attempt.get("plan") or {}).get("gates") or {}).get("staging")
        if (
            share
            and asked
            and attempt.get("kind") != "Return"
            and not any("staging:" in each["gate"] for each in gates)
        ):
            yield f"{move}: version {candidate} has traffic before it was staged"
        if share and attempt.get("kind") != "Return" and not (gates and all(gate["passed"] for gate in gates)):
            yield f"{move}: version {candidate} has traffic and its gates are {gates}"


def passes_first(found: list[Move], prometheus: ScriptedPrometheus, ref: Ref) -> Iterator[str]:
    """Every further step was preceded by enough passing answers since the step before was stored."""
    for earlier, later in pairwise(found):
        version = later.version("candidate")
        share = earlier.after.weight(version) if version else 0
        if not 0 < share < later.after.weight(version) or earlier.version("candidate") != version:
            continue
        rails = (later.status.get("attempt") or {})["plan"].get("guardrails") or ()
        needed = max((rail["minPasses"] for rail in rails), default=0)
        asked = prometheus.answers(ref, version)
        passed = [each for each in asked if earlier.revision.at - 0.5 < each.at < later.revision.at]
        if len([each for each in passed if each.reply == GOOD]) < needed:
            yield f"{later}: went up after {len(passed)} answers about version {version}, {needed} passes needed"


def rejections(trace: Trace, ref: Ref) -> Iterator[str]:
    """A version that was rejected gets nothing until the spec changes."""
    rejected: dict[str, int] = {}
    generation = 0
    for revision in trace.revisions():
        if revision.kind == MODEL_DEPLOYMENT and revision.name == ref.name:
            generation = revision.object["metadata"]["generation"]
            known = (revision.object.get("status") or {}).get("rejected") or ()
            names = {each["version"] for each in known}
            rejected = {name: rejected.get(name, generation) for name in names}
        elif revision.kind == CONFIG_MAP and revision.name == f"{ref.name}-traffic" and revision.change != "DELETED":
            written = read_written((revision.object["metadata"].get("annotations") or {}).get(WRITTEN, ""))
            for version, since in rejected.items():
                if since == generation and written and written.weight(version) + written.mirror.get(version, 0):
                    yield f"{revision}: version {version} was rejected and has traffic: {written.weights}"


def epochs(trace: Trace, ref: Ref) -> Iterator[str]:
    """The route's epoch never falls, and is one that the Lease had: only leaders write."""
    led, last = {0}, 0
    for revision in trace.revisions():
        if revision.kind == LEASE:
            led.add(int(revision.object["spec"].get("leaseTransitions") or 0))
        elif revision.kind == CONFIG_MAP and revision.name == f"{ref.name}-traffic":
            epoch = int((revision.object["metadata"].get("annotations") or {}).get(EPOCH, "0"))
            if epoch < last or epoch not in led:
                yield f"{revision}: epoch {epoch} after {last}; the Lease had {sorted(led)}"
            last = epoch


def doubled_events(trace: Trace, ref: Ref) -> Iterator[str]:
    """No Event is said twice. Its name is what it says, so a second one is counted in its series."""
    for revision in trace.revisions(EVENT):
        event = revision.object
        if event["regarding"]["name"] == ref.name and (event.get("series") or {}).get("count", 1) > 1:
            yield f"{revision}: {event['reason']}: {event['note']}: {event['series']['count']} times"


def truth(trace: Trace, ref: Ref) -> Iterator[str]:
    """Ready is never said while the stored split is not the one that it stands for."""
    stored: dict[str, int] = {}
    for revision in trace.revisions():
        if revision.kind == CONFIG_MAP and revision.name == f"{ref.name}-traffic":
            stored = weights_of(revision.object)
        elif revision.kind == MODEL_DEPLOYMENT and revision.name == ref.name:
            status = revision.object.get("status") or {}
            changed = revision.object["metadata"]["generation"] != status.get("observedGeneration")
            ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ())
            stable = (status.get("stable") or {}).get("version", "")
            if ready and not changed and stored != {stable: 100}:
                yield f"{revision}: Ready is True for version {stable} and {stored} is stored"
