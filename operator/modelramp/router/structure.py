"""Read `rds.yaml` and `cds.yaml` back, and refuse what Envoy would refuse or, worse, would accept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from modelramp.router.render import CDS, RDS, ROUTES, Document, dump, versioned
from modelramp.router.split import Malformed

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEEPEST = 64


@dataclass(frozen=True)
class Routes:
    """Hold a route document: its text, its version, the versions it weighs, where traffic goes by default."""

    text: str
    version: str
    versions: tuple[str, ...]
    stable: str | None
    clusters: frozenset[str]


@dataclass(frozen=True)
class Clusters:
    """Hold a cluster document: its text, its version, the names in it."""

    text: str
    version: str
    names: frozenset[str]


@dataclass(frozen=True)
class Structure:
    """Hold routes and clusters that fit together."""

    routes: Routes
    clusters: Clusters


def read_structure(data: Mapping[str, str]) -> Structure | Malformed:
    """Return the routes and clusters of a ConfigMap's data, or why they cannot be used."""
    routes, clusters = parse_routes(data.get(RDS, "")), parse_clusters(data.get(CDS, ""))
    if isinstance(routes, Malformed):
        return routes
    if isinstance(clusters, Malformed):
        return clusters
    if unknown := sorted(routes.clusters - clusters.names):
        return Malformed(f"{RDS}: routes to {unknown[0]!r}, which {CDS} does not have")
    return Structure(routes, clusters)


@lru_cache(maxsize=16)
def parse_routes(text: str) -> Routes | Malformed:
    """Return the route document that a text holds, stamped with the version of its content."""
    document = parse_document(text, RDS)
    if isinstance(document, Malformed):
        return document
    if len(document["resources"]) != 1 or document["resources"][0].get("name") != ROUTES:
        return Malformed(f"{RDS}: must hold exactly one resource, the route configuration {ROUTES!r}")
    if document["resources"][0].get("validate_clusters") is not True:
        return Malformed(f"{RDS}: validate_clusters must be true, or a wrong route answers 503 to everybody")
    entries = list(weighted_entries(document))
    versions = tuple(dict.fromkeys(str(e.get("name", "")).removeprefix("v") for e in entries))
    if len(entries) % max(1, len(versions)):
        return Malformed(f"{RDS}: every weighted route must name the same versions, each once")
    stable = next((str(e["name"]).removeprefix("v") for e in entries if e.get("weight") == 100), None)
    if versions and stable is None:
        return Malformed(f"{RDS}: one version must have the weight 100, which holds when its key is missing")
    stamped = versioned(document["resources"])
    names = frozenset(cluster_names(document))
    return Routes(stamp(text, document, stamped), stamped["version_info"], versions, stable, names)


@lru_cache(maxsize=16)
def parse_clusters(text: str) -> Clusters | Malformed:
    """Return the cluster document that a text holds, stamped with the version of its content."""
    document = parse_document(text, CDS)
    if isinstance(document, Malformed):
        return document
    names = [str(r.get("name", "")) for r in document["resources"]]
    if "" in names or len(set(names)) != len(names):
        return Malformed(f"{CDS}: each cluster needs a name of its own; found {sorted(names)}")
    stamped = versioned(document["resources"])
    return Clusters(stamp(text, document, stamped), stamped["version_info"], frozenset(names))


def parse_document(text: str, key: str) -> Document | Malformed:
    """Return a discovery document: a mapping with a list of resources that are mappings."""
    if not text.strip():
        return Malformed(f"{key} is missing or empty")
    try:
        if (danger := find_danger(text)) is not None:
            return Malformed(f"{key}: {danger}")
        document = yaml.load(text, Loader=Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Malformed(f"{key} is not YAML: {first_line(error)}")
    resources = document.get("resources") if isinstance(document, dict) else None
    if not isinstance(resources, list) or not all(isinstance(r, dict) for r in resources):
        return Malformed(f"{key}: must be a mapping with a list `resources`")
    return {"version_info": document.get("version_info"), "resources": resources}


def find_danger(text: str) -> str | None:
    """Return why a small text would be a huge document, for this reader and for Envoy."""
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.AliasEvent):
            return "aliases are not allowed"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            return f"is nested deeper than {DEEPEST} levels"
    return None


def first_line(error: Exception) -> str:
    """Return where and why a text is not YAML, on one line."""
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}" if mark is not None else ""
    return f"{getattr(error, 'problem', None) or type(error).__name__}{where}"


def stamp(text: str, document: Document, stamped: Document) -> str:
    """Return the text, written anew when its version is not that of its content (somebody edited it)."""
    return text if document["version_info"] == stamped["version_info"] else dump(stamped)


def walk(node: object) -> Iterator[Document]:
    """Yield every mapping in a document."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def weighted_entries(document: Document) -> Iterator[Document]:
    """Yield the entries of every weighted route."""
    for node in walk(document):
        weighted = node.get("weighted_clusters")
        entries = weighted.get("clusters") if isinstance(weighted, dict) else None
        yield from (e for e in entries or () if isinstance(e, dict))


def cluster_names(document: Document) -> Iterator[str]:
    """Yield every cluster that a route document sends to."""
    yield from (str(e.get("name", "")) for e in weighted_entries(document))
    yield from (node["cluster"] for node in walk(document) if isinstance(node.get("cluster"), str))


def join_clusters(old: str, new: str) -> str:
    """Return a cluster document with the clusters of both; where both have one, the new one."""
    news = load(new)["resources"]
    names = {r["name"] for r in news}
    return dump(versioned([*news, *(r for r in load(old)["resources"] if r["name"] not in names)]))


def join_routes(old: str, new: str) -> str:
    """Return the new route document with the old one's versions still in its weighted routes."""
    document = load(new)
    for node in walk(document):
        if isinstance(node.get("weighted_clusters"), dict):
            add_missing(node["weighted_clusters"]["clusters"], old_entries(old), "name")
            add_missing(node.setdefault("request_mirror_policies", []), old_mirrors(old), "cluster")
    return dump(versioned(document["resources"]))


def old_entries(text: str) -> list[Document]:
    """Return the weighted entries of a document, with 0 by default: on the way out, none is stable."""
    return [entry | {"weight": 0} for entry in weighted_entries(load(text))]


def old_mirrors(text: str) -> list[Document]:
    """Return the mirror policies of a document."""
    found = (node.get("request_mirror_policies") for node in walk(load(text)))
    return [policy for policies in found for policy in policies or ()]


def add_missing(entries: list[Document], others: Sequence[Document], key: str) -> None:
    """Append those of `others` that `entries` does not have."""
    for other in others:
        if other.get(key) not in {entry.get(key) for entry in entries}:
            entries.append(other)


def load(text: str) -> Document:
    """Return a document that was parsed before."""
    document: Document = yaml.load(text, Loader=Loader)  # noqa: S506 (a SafeLoader)
    return document
