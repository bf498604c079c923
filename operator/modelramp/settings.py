"""The operator's configuration: environment variables, read once at the start, refused with reasons."""

from __future__ import annotations

import difflib
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from modelramp import __version__

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_IMAGE = r"^[^\s:@]+(:[0-9]+/[^\s:@]+)?(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$"
_OF_A_SERVICE = re.compile(r"_(SERVICE_(HOST|PORT)|PORT(_[0-9]+_(TCP|UDP))?)(_|$)")  # the kubelet sets these
_SIZES: Mapping[str, float] = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    f"{prefix}i": 1024**power for power, prefix in enumerate("KMGT", start=1)
}


class SettingsError(Exception):
    """Carries one line for each variable that cannot be used: its name, its value, what would be right."""


def _words(text: Any) -> Any:
    return tuple(text.replace(",", " ").split()) if isinstance(text, str) else text


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError
    return url


def _address_without_credentials(url: str) -> str:
    if urlsplit(url).username is not None:
        raise ValueError
    return _address(url)


def _existing_directory(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError
    return path


def _existing_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError
    return path


Name = Annotated[str, Field(pattern=_DNS_LABEL)]
File = Annotated[Path, AfterValidator(_existing_file)]
Directory = Annotated[Path, AfterValidator(_existing_directory)]
Quantity = Annotated[str, Field(pattern=_QUANTITY)]
Image = Annotated[str, Field(pattern=_IMAGE)]
Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Settings(BaseModel):
    """What the operator needs to know. Each field's description is what the error says would be right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespaces: Annotated[tuple[Name, ...], BeforeValidator(_words)] = Field(
        (), description="namespaces to serve, separated by commas; empty for all"
    )
    kubeconfig: File | None = Field(None, description="a kubeconfig file; none in a pod")
    mlflow_tracking_uri: Annotated[str, AfterValidator(_address_without_credentials)] = Field(
        description="an MLflow server's http(s) address such as http://mlflow.mlflow.svc:5000; "
        "credentials go into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    )
    journal: bool = Field(True, description="true or false: whether records of every decision go to MLflow")
    alias_stable: Alias = Field("champion", description="MLflow's alias of the version that serves, or none")
    alias_candidate: Alias = Field("challenger", description="MLflow's alias of the version that is tried, or none")
    prometheus_url: Annotated[str, AfterValidator(_address)] = Field(
        description="Prometheus' http(s) address such as http://prometheus.monitoring.svc:9090"
    )
    prometheus_token_file: File | None = Field(None, description="a file that holds a bearer token")
    prometheus_ca_file: File | None = Field(None, description="a file of PEM certificates to trust")
    operator_image: Image = Field(f"modelramp/operator:{__version__}", description="an image reference")
    runtime_image: Image = Field(f"modelramp/runtime:{__version__}", description="an image reference")
    router_image: Image = Field("envoyproxy/envoy:v1.40.0", description="an image reference of Envoy")
    runtimes: Directory | None = Field(None, description="a directory with a file for each runtime profile, NAME.yaml")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="Always, IfNotPresent or Never"
    )
    router_cpu: Quantity = Field("100m", description="a CPU request such as 100m")
    router_memory: Quantity = Field("128Mi", description="a memory request such as 128Mi")
    router_memory_limit: Quantity = Field("512Mi", description="a memory limit such as 512Mi")
    lease_name: Name = Field("modelramp", description="a DNS-1123 label")
    lease_namespace: Name = Field(description="a namespace; in a pod it is the pod's own")
    pod_name: str = Field(min_length=1, description="the pod's name, by the downward API")
    pod_uid: str = Field(
        "", description="the pod's uid, by the downward API; with it, a container that is restarted leads on at once"
    )
    probe_port: int = Field(8081, ge=0, le=65535, description="a port, 1 to 65535; 0 for any free one")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    pin_seconds: float = Field(
        3600.0, ge=1, le=86400, description="seconds between two looks at a resolved version in MLflow, 1 to 86400"
    )
    promotion_policies: bool = Field(
        True,
        description="true, or false to ask no PromotionPolicy: both are cluster-scoped, they and namespaces' labels",
    )
    admission: bool = Field(
        False,
        description="true where the API server asks who writes an override; else none helps that a PromotionPolicy "
        "limits",
    )
    workers: int = Field(16, ge=1, le=256, description="how many objects have a turn at a time, 1 to 256")
    turn_seconds: float = Field(60.0, ge=1, le=600, description="the longest turn in seconds, 1 to 600")
    relist_seconds: float = Field(
        450.0, ge=1, le=86400, description="seconds between full reads that repair missed events, 1 to 86400"
    )

    @property
    def router_heap(self) -> int:
        """Return the bytes at which Envoy sheds load: below its memory limit."""
        return int(_bytes(self.router_memory_limit) * 0.8)


VARIABLES: Mapping[str, str] = {
    field: {
        "mlflow_tracking_uri": "MLFLOW_TRACKING_URI",
        "kubeconfig": "KUBECONFIG",
        "pod_name": "POD_NAME",
        "pod_uid": "POD_UID",
        "lease_namespace": "MODELRAMP_LEASE_NAMESPACE",
    }.get(field, f"MODELRAMP_{field.upper()}")
    for field in Settings.model_fields
}
"""Which variable each field is read from."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings. Raises SettingsError naming every variable that is missing, wrong or misspelt."""
    given = {field: environment[name] for field, name in VARIABLES.items() if environment.get(name)}
    misspelt = _misspelt(environment)
    try:
        settings = Settings(**_surroundings(environment) | given)
    except ValidationError as fault:
        wrong = [_line(error) for error in fault.errors(include_url=False)]
        raise SettingsError("\n".join([*wrong, *misspelt])) from None
    if misspelt:
        raise SettingsError("\n".join(misspelt))
    return settings


def _surroundings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what a pod knows of itself, for what is not given."""
    found = {"pod_name": socket.gethostname()}
    namespace = environment.get("POD_NAMESPACE") or _own_namespace()
    return found | ({"lease_namespace": namespace} if namespace else {})


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _line(error: Mapping[str, Any]) -> str:
    field = str(error["loc"][0])
    wanted = Settings.model_fields[field].description
    if error["type"] == "missing":
        return f"{VARIABLES[field]} is not set; it must be {wanted}"
    return f"{VARIABLES[field]}: {_shown(error['input'])}: must be {wanted}"


def _shown(value: Any) -> str:
    """Return a value as it may be shown: without what stands before the @ of an address."""
    text = str(value)
    head, at, tail = text.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at and "://" in head else repr(text)[:200]


def _misspelt(environment: Mapping[str, str]) -> list[str]:
    known = set(VARIABLES.values())
    ours = (name for name in environment if name.startswith("MODELRAMP_") and not _OF_A_SERVICE.search(name))
    unknown = sorted(name for name in ours if name not in known)
    near = [(name, difflib.get_close_matches(name, known, n=1, cutoff=0.85)) for name in unknown]
    return [f"{name} is no variable of modelramp; did you mean {match[0]}?" for name, match in near if match]


def _bytes(quantity: str) -> float:
    number = quantity.rstrip("mkMGTKi")
    return float(number) * _SIZES.get(quantity.removeprefix(number), 1)
