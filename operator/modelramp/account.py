"""Tell the story of a ModelDeployment from its records: all of it, why a version serves, or one version's life."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from modelramp.adapters.mlflow_story import Kept, Origin, why_not
from modelramp.explain import Subject
from modelramp.rollout.observation import Failed, NoData, Reading, Value
from modelramp.rollout.status import Finding, Record, Status, VerdictKind

MARKS = {VerdictKind.PASS: "✓", VerdictKind.FAIL: "✗"}
_SERVING = ("Promoted", "Returned", "RolledBack", "ManualRollback", "Aborted", "Restored")
"""The events after which another version may serve than before."""


@dataclass(frozen=True, slots=True)
class Story:
    """An object's records, oldest first; `missing` says why the registry's are not among them, "" where they are.

    `lost` has a line for each run whose records nobody can read any more.
    """

    subject: Subject
    records: tuple[Record, ...]
    missing: str = ""
    lost: tuple[str, ...] = ()


def runs(status: Status) -> dict[str, str]:
    """Return the versions that the status still knows, by the run that each came from."""
    told = (record.pin for record in (*status.history, *status.outbox))
    pins = (status.stable, status.candidate, *status.previous, *told)
    return {pin.run_id: pin.version for pin in pins if pin and pin.run_id}


def gather(subject: Subject, kept: Reading[Kept]) -> Story:
    """Join what the registry keeps with what the status holds; of one record the richer telling is taken."""
    status = subject.status
    found, lost = (kept.value.records, kept.value.lost) if isinstance(kept, Value) else ((), ())
    by_id: dict[str, Record] = {}
    for record in (*status.history, *status.outbox, *found):
        before = by_id.get(record.id)
        by_id[record.id] = before if before and len(before.evidence) > len(record.evidence) else record
    missing = why_not(kept) if isinstance(kept, NoData | Failed) else ""
    return Story(subject, tuple(sorted(by_id.values(), key=lambda record: record.at)), missing, lost)


def tell_history(story: Story) -> str:
    """Return every record, one a line."""
    lines = [f"ModelDeployment {story.subject.ref}", "", *map(_line, story.records)]
    return "\n".join([*lines, *_caveat(story)]) + "\n"


@dataclass(frozen=True, slots=True)
class Grounds:
    """Why a version serves: the record since which it does, an older one of its promotion, and one of its gates."""

    since: Record | None
    proof: Record | None
    gates: Record | None


def grounds(records: Sequence[Record], serves: str) -> Grounds:
    """Return the newest records that say why a version serves, None for what is older than what is kept."""
    newest = {record.event: record for record in records if record.version == serves}
    since, proof = _since(records, serves), newest.get("Promoted")
    return Grounds(since, proof if proof != since else None, newest.get("GatesPassed"))


def tell_why(story: Story) -> str:
    """Return why the version that serves does."""
    status = story.subject.status
    if status.stable is None:
        return f"ModelDeployment {story.subject.ref}\n\nno version serves: {status.reason}: {status.message}\n"
    serves = status.stable.version
    lines = [f"ModelDeployment {story.subject.ref}", "", f"version {serves} serves"]
    found = grounds(story.records, serves)
    since, proof = found.since, found.proof
    if since is None:
        lines.append("no record says since when or why: they are older than what is kept")
    else:
        lines += [f"since {_at(since.at)}, because {since.event}: {since.message}{_by(since)}", *_evidence(since)]
    if proof:
        lines += ["", f"it had proved itself {_at(proof.at)}: {proof.message}{_by(proof)}", *_evidence(proof)]
    lines += ["", f"its gates, {_at(found.gates.at)}:", *_evidence(found.gates)] if found.gates else []
    lines += _way_back(status)
    lines += _not_serving(status)
    return "\n".join([*lines, *_caveat(story)]) + "\n"


def _since(records: Sequence[Record], serves: str) -> Record | None:
    """Return the oldest record of the newest stretch of them after which this version was stable."""
    moves = [record for record in records if record.event in _SERVING]
    first = None
    for record in reversed(moves):
        if record.stable != serves:
            break
        first = record
    return first


def _way_back(status: Status) -> list[str]:
    known = status.rehearsed
    return ["", f"a rollback was rehearsed {_at(known.ended_at)}: {known.message}"] if known and known.ended_at else []


def _not_serving(status: Status) -> list[str]:
    said = [f"version {no.version} does not serve: {no.message or no.reason} ({_at(no.at)})" for no in status.rejected]
    return ["", *said] if said else []


def tell_story(story: Story, version: str, origin: Reading[Origin]) -> str:
    """Return one version's whole life, from the data's commit to today."""
    mine = concerning(story.records, version)
    lines = [f"ModelDeployment {story.subject.ref}, version {version}", "", *_from(origin), "", "What was decided"]
    for record in mine:
        lines += [_line(record), *_evidence(record)]
    lines += [] if mine else ["nothing is known of any decision about it"]
    lines += ["", "Today", f"  {today(story.subject, version)}", "", "To run its training again", *reproduce(origin)]
    return "\n".join([*lines, *_caveat(story)]) + "\n"


def concerning(records: Iterable[Record], version: str) -> list[Record]:
    """Return the records about a version, and those after which it served."""
    return [
        record
        for record in records
        if record.version == version or (record.event in _SERVING and record.stable == version)
    ]


def _from(origin: Reading[Origin]) -> Iterator[str]:
    if not isinstance(origin, Value):
        yield f"Where it comes from is not known: {why_not(origin)}"
        return
    found = origin.value
    dirty = f" with changes that were not committed ({found.dirty})" if found.dirty.lower() == "true" else ""
    yield "Where it comes from"
    yield _fact("code", f"{found.repository} {found.commit or 'no git commit was logged'}{dirty}".strip())
    yield from (_fact("data", dataset) for dataset in found.datasets or ("no dataset was logged",))
    yield _fact("run", f"{found.run_id} ({found.run_status})" if found.run_id else "none")
    yield from (_fact("parameter", f"{key} = {value}") for key, value in sorted(found.parameters.items()))
    yield from (_fact("metric", f"{key} = {value:.6g}") for key, value in sorted(found.metrics.items()))
    yield _fact(
        "registered", _at(datetime.fromtimestamp(int(found.created) / 1000, UTC)) if found.created.isdecimal() else ""
    )
    yield from (_fact("tag", f"{key} = {value}") for key, value in sorted(found.tags.items()))
    yield _fact("note", found.description or "none")


def _fact(word: str, text: str) -> str:
    return f"  {word:<11}{plain(text)}"


def plain(text: str) -> str:
    """Return what others wrote as one line that a terminal shows and nothing in it commands."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def today(subject: Subject, version: str) -> str:
    """Return what a version's part is now."""
    status = subject.status
    if status.stable and status.stable.version == version:
        return f"it serves ({status.phase.value})"
    if status.candidate and status.candidate.version == version:
        return f"it is tried ({status.phase.value}, {status.weight} %)"
    if (no := next((each for each in status.rejected if each.version == version), None)) is not None:
        return f"it is not tried again: {no.message or no.reason}"
    return "it was stable before" if status.was_stable(version) else "it has no part in what runs"


def reproduce(origin: Reading[Origin]) -> Iterator[str]:
    """Yield the commands that run a version's training again, or what is missing for them."""
    if not isinstance(origin, Value) or not origin.value.commit:
        yield "  not possible: no git commit is known (tag mlflow.source.git.commit of its run)"
        return
    found = origin.value
    values = [f"{key}={value}" for key, value in sorted(found.parameters.items())]
    if found.source_type == "PROJECT":
        entry = ["-e", found.entry_point] if found.entry_point else []
        given = [word for value in values for word in ("-P", value)]
        yield "  " + shlex.join(
            ["mlflow", "run", found.repository or found.source_name, "-v", found.commit, *entry, *given]
        )
        return
    if found.repository:
        yield "  " + shlex.join(["git", "clone", found.repository, "source"]) + " && cd source"
    yield "  " + shlex.join(["git", "checkout", found.commit])
    yield "  " + shlex.join(["python", found.source_name or "TRAINING_SCRIPT"])
    yield from (f"  # with {plain(value)}" for value in values)


def _line(record: Record) -> str:
    times = f" ({record.times} times)" if record.times else ""
    said = f": {record.message}" if record.message else ""
    return f"{_at(record.at)}  version {record.version:<4} {plain(f'{record.event}{times}{said}{_by(record)}')}"


def _by(record: Record) -> str:
    return f" (by {record.by})" if record.by else ""


def _evidence(record: Record) -> Iterator[str]:
    for finding in record.evidence:
        yield f"    {MARKS.get(finding.verdict, '–')} {plain(finding.check + _said(finding))}"


def _said(finding: Finding) -> str:
    numbers = (("", finding.value), ("min ", finding.min), ("max ", finding.max), ("stable's ", finding.baseline))
    parts = [f"{word}{number:.6g}" for word, number in numbers if number is not None]
    parts += [f"override: {finding.override}"] if finding.override else []
    said = finding.message or ("" if parts else finding.reason)
    return ": " + "; ".join([part for part in (said, ", ".join(parts)) if part]) if said or parts else ""


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _caveat(story: Story) -> list[str]:
    if not story.missing:
        return ["", *story.lost] if story.lost else []
    return ["", f"MLflow has more: it could not be asked ({story.missing}). This is what the status holds."]
