"""Lineage: the commit, the data, the features, the parameters and the run that a version came from."""

from __future__ import annotations

from collections.abc import Iterator

from modelramp.rollout.gates.case import Case, fails, passes
from modelramp.rollout.gates.spec import Lineage
from modelramp.rollout.observation import TrainingRun
from modelramp.rollout.status import GateResult

COMMIT_TAGS = ("mlflow.source.git.commit", "git_commit")


def judge_lineage(case: Case) -> Iterator[GateResult]:
    """Judge each part of the lineage that is asked for."""
    gate, run = case.gates.lineage, case.candidate.run
    for part in Lineage if gate else ():
        if gate and part in gate.require:
            yield _absent(case, part) if run is None else _part(case, run, part, gate.feature_table_tag)


def _absent(case: Case, part: Lineage) -> GateResult:
    run = case.candidate.run_id
    said = f"run {run} is not in the registry" if run else f"version {case.candidate.version} names no run"
    return fails(f"lineage:{part.value}", "RunNotFound", said, source=f"run {run}" if run else "")


def _part(case: Case, run: TrainingRun, part: Lineage, table_tag: str) -> GateResult:
    source = f"run {run.id}"
    match part:
        case Lineage.GIT_COMMIT:
            return _commit(case, run, source)
        case Lineage.DATASETS:
            return _datasets(run, source)
        case Lineage.FEATURE_TABLES:
            return _tables(case, run, table_tag)
        case Lineage.PARAMETERS if run.parameters:
            said = f"{run.parameters} parameters"
            return passes("lineage:Parameters", "ParametersLogged", said, str(run.parameters), "at least 1", source)
        case Lineage.PARAMETERS:
            said = f"{source} has no parameters; log them with mlflow.log_params(...)"
            return fails("lineage:Parameters", "ParametersMissing", said, "0", "at least 1", source)
        case Lineage.RUN:
            return passes("lineage:Run", "RunReachable", f"{source} is in the registry", run.id, source=source)


def _commit(case: Case, run: TrainingRun, source: str) -> GateResult:
    gate, tags = "lineage:GitCommit", " nor ".join(COMMIT_TAGS)
    commit = run.commit or next((case.candidate.tags[tag] for tag in COMMIT_TAGS if case.candidate.tags.get(tag)), "")
    if not commit:
        return fails(gate, "GitCommitMissing", f"no commit: neither the tag {tags} is set", source=source)
    if run.dirty:
        said = f"commit {commit} had changes that were not committed (mlflow.source.git.dirty)"
        return fails(gate, "GitTreeDirty", said, commit, "a clean tree", source)
    return passes(gate, "GitCommitLogged", f"commit {commit}", commit, "a clean tree", source)


def _datasets(run: TrainingRun, source: str) -> GateResult:
    gate, bound = "lineage:Datasets", "each with its digest"
    bare = [dataset.name for dataset in run.datasets if not dataset.digest]
    if not run.datasets or bare:
        said = f"the dataset {bare[0]!r} of {source} has no digest" if bare else f"{source} has no dataset as an input"
        return fails(gate, "DatasetsMissing", f"{said}; log it with mlflow.log_input(...)", "", bound, source)
    listed = ", ".join(f"{dataset.name}@{dataset.digest}" for dataset in run.datasets)
    return passes(gate, "DatasetsLogged", listed, listed, bound, source)


def _tables(case: Case, run: TrainingRun, tag: str) -> GateResult:
    gate, source = "lineage:FeatureTables", f"tag {tag}"
    found = {f"{dataset.name} {dataset.tags[tag]}" for dataset in run.datasets if dataset.tags.get(tag)}
    found |= {case.candidate.tags[tag]} if case.candidate.tags.get(tag) else set()
    if found:
        listed = ", ".join(sorted(found))
        return passes(gate, "FeatureTablesLogged", listed, listed, source=source)
    said = f"the tag {tag} is on no dataset of run {run.id}, nor on the run, the logged model or the version"
    return fails(gate, "FeatureTablesMissing", said, source=source)
