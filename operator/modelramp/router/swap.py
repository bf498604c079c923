"""Plan how Envoy gets from one configuration to the next without a request lost: make before break.

Every state on the way is whole: each route has its cluster, and the weights of what is routed add up to 100.
So the way can be left after any step, by a crash or by a newer target.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from modelramp.router.render import CDS, RDS
from modelramp.router.split import Malformed, Split
from modelramp.router.structure import (
    Clusters,
    Routes,
    Structure,
    join_clusters,
    join_routes,
    parse_clusters,
    parse_routes,
)

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class State:
    """Hold what is in Envoy's three folders: routes, clusters, scalars."""

    routes: Routes
    clusters: Clusters
    scalars: Mapping[str, str]


def target_state(structure: Structure, split: Split) -> State:
    """Return the state that a structure and a split ask for."""
    return State(structure.routes, structure.clusters, scalars_of(split, structure.routes.versions))


def scalars_of(split: Split, versions: Iterable[str]) -> dict[str, str]:
    """Return the scalar keys of these versions; what the split leaves out is 0."""
    versions = list(versions)
    weights = {f"weight.v{v}": str(split.weights.get(v, 0)) for v in versions}
    return weights | {f"mirror.v{v}": str(split.mirror.get(v, 0)) for v in versions}


def next_step(current: State, target: State) -> State | None:
    """Return the next state on the way to the target, one folder changed; None when it is reached.

    Numbers go first wherever they can, so a retreat never waits for a change of structure.
    """
    zeros = silent(current.routes, target.routes)
    moved = zeros | dict(target.scalars)
    if is_whole(current.routes, moved) and reduced(current.scalars, moved) != moved:
        return replace(current, scalars=moved)
    if is_whole(current.routes, moved):
        return next_structure(current, target) or settle(current, target)
    padded = zeros | dict(current.scalars)
    if padded != dict(current.scalars):
        return replace(current, scalars=padded)
    return next_structure(current, target) or settle(current, target)


def next_structure(current: State, target: State) -> State | None:
    """Return the next change of clusters or routes: new clusters, routes, and only then old clusters out."""
    if (joined := joined_clusters(current, target)).text != current.clusters.text and (
        current.routes.text != target.routes.text
    ):
        return replace(current, clusters=joined)
    if current.routes.text == target.routes.text:
        return None
    if is_whole(target.routes, current.scalars):
        return replace(current, routes=target.routes)
    joint = must(parse_routes(join_routes(current.routes.text, target.routes.text)))
    return replace(current, routes=joint)


def settle(current: State, target: State) -> State | None:
    """Return the last changes: clusters and scalars that nothing uses any more go."""
    if current.clusters.text != target.clusters.text:
        return replace(current, clusters=target.clusters)
    if dict(current.scalars) != dict(target.scalars):
        return replace(current, scalars=target.scalars)
    return None


def joined_clusters(current: State, target: State) -> Clusters:
    """Return the clusters of both states, or the target's own where they are all that is needed."""
    if current.routes.clusters <= target.clusters.names:
        return target.clusters
    return must(parse_clusters(join_clusters(current.clusters.text, target.clusters.text)))


def silent(*routes: Routes) -> dict[str, str]:
    """Return a scalar 0 for every version that these routes weigh."""
    return scalars_of(Split({}, {}), dict.fromkeys(v for r in routes for v in r.versions))


def reduced(scalars: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    """Return the scalars that are among these keys."""
    return {key: scalars[key] for key in keys if key in scalars}


def is_whole(routes: Routes, scalars: Mapping[str, str]) -> bool:
    """Return whether the weights of what is routed add up to 100; at 0 Envoy answers 404."""
    return not routes.versions or sum(int(scalars.get(f"weight.v{v}", "0")) for v in routes.versions) == 100


def must(parsed: Parsed | Malformed) -> Parsed:
    """Return a document that was made from good ones."""
    if isinstance(parsed, Malformed):
        raise ValueError(parsed.reason)  # noqa: TRY004 (a value, not a type, is at fault)
    return parsed


def state_files(state: State) -> dict[str, dict[str, str]]:
    """Return the files of a state by folder, in the order in which they are first written."""
    return {
        "runtime": dict(state.scalars),
        "cds": {CDS: state.clusters.text},
        "rds": {RDS: state.routes.text},
    }
