"""Judge what a ConfigMap asks for: what is good is taken, what is not keeps the last good part."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from modelramp.router.split import Malformed, Split, read_mirror, read_weights, retreat_weights
from modelramp.router.structure import Structure, read_structure
from modelramp.router.swap import State, target_state


@dataclass(frozen=True)
class Judged:
    """Hold the state to bring about (None: there was never a good one) and what was not taken, and why."""

    target: State | None
    faults: tuple[str, ...]


def judge_config_map(
    data: Mapping[str, str], last: State | None, refused: Set[tuple[str, str]] = frozenset()
) -> Judged:
    """Return the state that a ConfigMap's data asks for.

    Structure, weights and mirror are judged each for itself: a broken `rds.yaml` must not hold up a retreat.
    `refused` are the versions of routes and clusters that Envoy did not take.
    """
    structure = judge_structure(data, refused)
    faults: tuple[str, ...] = ()
    if isinstance(structure, Malformed):
        faults = (structure.reason,)
        if last is None:
            return Judged(None, faults)
        structure = Structure(last.routes, last.clusters)
    split, more = judge_split(data, structure, last)
    return Judged(target_state(structure, split), faults + more)


def judge_structure(data: Mapping[str, str], refused: Set[tuple[str, str]]) -> Structure | Malformed:
    """Return the structure, unless it cannot be used or Envoy did not take it."""
    structure = read_structure(data)
    if isinstance(structure, Structure) and versions_of(structure) in refused:
        return Malformed(f"Envoy refused the structure with the versions {versions_of(structure)}")
    return structure


def versions_of(structure: Structure | State) -> tuple[str, str]:
    """Return what names a structure: the versions of its routes and its clusters."""
    return structure.routes.version, structure.clusters.version


def judge_split(data: Mapping[str, str], structure: Structure, last: State | None) -> tuple[Split, tuple[str, ...]]:
    """Return the split to use and why it is not what the ConfigMap says, if it is not."""
    versions = structure.routes.versions
    weights, mirror = read_weights(data, versions), read_mirror(data, versions)
    faults: list[str] = []
    if isinstance(weights, Malformed):
        faults.append(weights.reason)
        weights = retreat_weights(data, versions, structure.routes.stable or "")
    if isinstance(weights, Malformed):
        weights = carried_weights(structure, last)
    if isinstance(mirror, Malformed):
        faults.append(mirror.reason)
        mirror = carried(last, "mirror", versions)
    return Split(weights, mirror), tuple(faults)


def carried_weights(structure: Structure, last: State | None) -> dict[str, int]:
    """Return the last good weights; where they do not fit these routes, all to stable."""
    weights = carried(last, "weight", structure.routes.versions)
    if sum(weights.values()) == 100 or structure.routes.stable is None:
        return weights
    return dict.fromkeys(weights, 0) | {structure.routes.stable: 100}


def carried(last: State | None, kind: str, versions: tuple[str, ...]) -> dict[str, int]:
    """Return the last good percents of one kind, 0 where there are none."""
    scalars = last.scalars if last else {}
    return {v: int(scalars.get(f"{kind}.v{v}", "0")) for v in versions}
