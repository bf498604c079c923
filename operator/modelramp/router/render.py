"""Render the ConfigMap of one router: Envoy's routes and clusters as YAML, the numbers as scalar keys."""

import hashlib
import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import yaml

from modelramp.router.split import judge_split

ROUTES = "models"
ARM_HEADER = "x-modelramp-arm"
BETWEEN_PODS = "/captured"
"""The model server's path by which pods of two versions compare their answers."""
RDS, CDS = "rds.yaml", "cds.yaml"
ROUTE_TYPE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
PREVIOUS_HOSTS = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

Document = dict[str, Any]
Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class Backend:
    """Name where one version answers: a DNS name (STRICT_DNS) or an IP address (STATIC)."""

    version: str
    host: str
    port: int


@dataclass(frozen=True)
class Breaker:
    """Bound what one version may have in flight; the rest is answered 503, or dropped if a copy."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024


@dataclass(frozen=True)
class RenderSettings:
    """Time limits in seconds and circuit breakers of the route.

    `idle_timeout` must be shorter than the model server's keep-alive (uvicorn: 5 s), or a request meets a
    connection that the server is just closing. `max_connection_age` must be shorter than the model pods'
    preStop pause: so no connection is left on a pod when it stops. `idempotent`: a request may be done twice.
    """

    request_timeout: float = 30.0
    connect_timeout: float = 1.0
    idle_timeout: float = 3.0
    max_connection_age: float = 3.0
    dns_refresh: float = 5.0
    check_interval: float = 5.0
    retries: int = 16
    idempotent: bool = False
    stable_breaker: Breaker = field(default_factory=lambda: Breaker(4096, 4096, 4096))
    candidate_breaker: Breaker = field(default_factory=Breaker)


DEFAULTS = RenderSettings()


def service_host(namespace: str, name: str, version: str, cluster_domain: str = "cluster.local") -> str:
    """Return the DNS name of one version's Service."""
    return f"{name}-v{version}.{namespace}.svc.{cluster_domain}"


def render_config_map(
    namespace: str,
    name: str,
    backends: Sequence[Backend],
    *,
    stable: str | None,
    split: Mapping[str, int],
    mirror: Mapping[str, int],
    settings: RenderSettings = DEFAULTS,
) -> dict[str, str]:
    """Return the ConfigMap's data for these backends and this split.

    `split` and `mirror` are percent by version; a version that is left out has 0. `stable` takes all traffic
    when a scalar key is missing. Raises ValueError that names the field. Same input, same text.
    """
    judge_split([b.version for b in backends], stable, split, mirror)
    routes, clusters = render_structure(namespace, name, tuple(backends), stable, settings)
    data = {RDS: routes, CDS: clusters}
    data |= {f"weight.v{b.version}": str(split.get(b.version, 0)) for b in backends}
    data |= {f"mirror.v{b.version}": str(mirror.get(b.version, 0)) for b in backends}
    return data


@lru_cache(maxsize=256)  # milliseconds, for what stays the same from one step of a ramp to the next
def render_structure(
    namespace: str, name: str, backends: tuple[Backend, ...], stable: str | None, settings: RenderSettings
) -> tuple[str, str]:
    """Return the texts of the route and the cluster document."""
    routes = render_routes(namespace, name, [b.version for b in backends], stable, settings)
    return dump(routes), dump(render_clusters(namespace, name, backends, stable, settings))


def render_routes(
    namespace: str, name: str, versions: Sequence[str], stable: str | None, settings: RenderSettings
) -> Document:
    """Return the route document: one weighted route over the versions, or 503 while there is none."""
    action = weighted_route(versions, stable, settings) if versions else no_version_yet()
    routes = {
        "@type": ROUTE_TYPE,
        "name": ROUTES,
        # Without it a route to a cluster that Envoy does not know is accepted and answers 503 to everybody.
        "validate_clusters": True,
        # Only the router says what is a shadow copy; a client that says so would hide from the metrics.
        "request_headers_to_remove": [ARM_HEADER],
        "virtual_hosts": [
            {
                "name": f"{namespace}_{name}",
                "domains": ["*"],
                "routes": [not_for_callers(), {"match": {"prefix": "/"}} | action],
            }
        ],
    }
    return versioned([routes])


def not_for_callers() -> Document:
    """Return the route that keeps callers from what pods tell each other; the server takes no other spelling of it."""
    return {"match": {"path": BETWEEN_PODS}, "direct_response": {"status": 404}}


def weighted_route(versions: Sequence[str], stable: str | None, settings: RenderSettings) -> Document:
    """Return the route action; the numbers in it are the safe ones, used when a scalar key is missing."""
    return {
        "route": {
            "timeout": seconds(settings.request_timeout),
            "weighted_clusters": {
                "runtime_key_prefix": "weight",
                "clusters": [{"name": f"v{v}", "weight": 100 if v == stable else 0} for v in versions],
            },
            "request_mirror_policies": [mirror_policy(v) for v in versions],
            "retry_policy": retry_policy(settings),
        }
    }


def mirror_policy(version: str) -> Document:
    """Return the shadow of one version: off unless its scalar key says otherwise, marked by a header."""
    return {
        "cluster": f"v{version}",
        "runtime_fraction": {
            "runtime_key": f"mirror.v{version}",
            "default_value": {"numerator": 0, "denominator": "HUNDRED"},
        },
        "disable_shadow_host_suffix_append": True,
        "request_headers_mutations": [
            {
                "append": {
                    "header": {"key": ARM_HEADER, "value": "shadow"},
                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                }
            }
        ],
    }


def retry_policy(settings: RenderSettings) -> Document:
    """Return retries for requests that no server has begun: a pod that goes away costs nobody an answer.

    So many, because every other connection leads to a dead pod of two until the Service forgets it, a second or more:
    the last tries come after that.
    One that dies may have begun: only what may be done twice is asked again then.
    """
    reset = "reset" if settings.idempotent else "reset-before-request"
    return {
        "retry_on": f"connect-failure,refused-stream,{reset}",
        "num_retries": settings.retries,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.250s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": PREVIOUS_HOSTS},
            }
        ],
        "host_selection_retry_max_attempts": 3,
    }


def no_version_yet() -> Document:
    """Return the answer of a router that has no version to send to."""
    return {"direct_response": {"status": 503, "body": {"inline_string": "no model version is served yet\n"}}}


def render_clusters(
    namespace: str, name: str, backends: Sequence[Backend], stable: str | None, settings: RenderSettings
) -> Document:
    """Return the cluster document: one cluster `vN` per version."""
    return versioned([render_cluster(namespace, name, b, b.version == stable, settings) for b in backends])


def render_cluster(namespace: str, name: str, backend: Backend, is_stable: bool, settings: RenderSettings) -> Document:
    """Return one version's cluster; its statistics are named `NAMESPACE_NAME-vN`."""
    address = {"socket_address": {"address": backend.host, "port_value": backend.port}}
    return {
        "@type": CLUSTER_TYPE,
        "name": f"v{backend.version}",
        "alt_stat_name": f"{namespace}_{name}-v{backend.version}",
        **discovery(backend.host, settings),
        "connect_timeout": seconds(settings.connect_timeout),
        "load_assignment": {
            "cluster_name": f"v{backend.version}",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "circuit_breakers": circuit_breakers(settings.stable_breaker if is_stable else settings.candidate_breaker),
        "health_checks": [connection_check(settings)],
        "ignore_health_on_host_removal": True,
        "typed_extension_protocol_options": {HTTP_OPTIONS: http_options(settings)},
    }


def discovery(host: str, settings: RenderSettings) -> Document:
    """Return how Envoy finds the addresses of a host."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return {
            "type": "STRICT_DNS",
            "dns_lookup_family": "V4_PREFERRED",
            "dns_refresh_rate": seconds(settings.dns_refresh),
            "dns_failure_refresh_rate": {"base_interval": "0.250s", "max_interval": "2s"},
        }
    return {"type": "STATIC"}


def connection_check(settings: RenderSettings) -> Document:
    """Return a check that somebody takes connections: a pod can be ready before its Service leads to it.

    It keeps no request back, for a cluster without a healthy host is in panic and gets all of them.
    """
    return {
        "tcp_health_check": {},
        "timeout": seconds(settings.connect_timeout),
        "interval": seconds(settings.check_interval),
        "no_traffic_interval": "1s",
        "no_traffic_healthy_interval": seconds(settings.check_interval),
        "unhealthy_interval": "1s",
        "healthy_threshold": 1,
        "unhealthy_threshold": 2,
        "reuse_connection": False,
    }


def circuit_breakers(breaker: Breaker) -> Document:
    """Return the limits of one cluster, and room for as many retries as a stopping pod can cause."""
    limits = {
        "max_connections": breaker.max_connections,
        "max_pending_requests": breaker.max_pending_requests,
        "max_requests": breaker.max_requests,
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 64},
    }
    return {"thresholds": [limits]}


def http_options(settings: RenderSettings) -> Document:
    """Return HTTP/1.1 to the model server on connections that end before the server ends them."""
    return {
        "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
        "common_http_protocol_options": {
            "idle_timeout": seconds(settings.idle_timeout),
            "max_connection_duration": seconds(settings.max_connection_age),
        },
        "explicit_http_config": {"http_protocol_options": {}},
    }


def versioned(resources: Sequence[Document]) -> Document:
    """Return a discovery document whose version is a short hash of its content."""
    text = json.dumps(resources, sort_keys=True)
    return {"version_info": hashlib.sha256(text.encode()).hexdigest()[:12], "resources": list(resources)}


def dump(document: Document) -> str:
    """Return the document as YAML that a person can read in `kubectl get configmap -o yaml`."""
    text: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, default_flow_style=False, width=110)
    return text


def seconds(value: float) -> str:
    """Return a protobuf duration."""
    return f"{value:.3f}s"
