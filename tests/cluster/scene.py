"""The scene: a cluster of its own with the chart, MLflow, Prometheus, load; and its end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster import Cluster, ClusterError, CommandError, Progress, build_binaries, build_images, down, up
from cluster.demo import images
from cluster.demo.background import Reaper, serving
from cluster.existing import VARIABLE
from cluster.settings import REPOSITORY, SOURCE
from cluster.tools.definitions import read_definitions
from cluster.tools.istiod import find_istiod

CLUSTER = "modelramp-tests"
NAMESPACE = "modelramp-tests"
SYSTEM = "modelramp-tests-system"
MESH = "modelramp-tests-mesh"
RELEASE = "modelramp"
CHART = REPOSITORY / "charts" / "modelramp"
HERE = Path(__file__).parent
SCRIPTS = SOURCE / "demo" / "load_generator.py", HERE / "model" / "traffic.py"

MODEL, FRONT = "fraud-detector", "shop"

_MESH_MANIFESTS = "istiod.yaml", "shop.yaml"
_MORE = HERE / "mesh" / "prometheus-more.yaml"
_DEMO = "modelramp-demo"  # as the manifests call namespace and cluster roles
_RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
_CRD = "customresourcedefinition/modeldeployments.modelramp.dev"
_STARTED = "--timeout=180s"


@dataclass(frozen=True)
class Scene:
    """A cluster that is ready for the story; `api` is its API on the loopback, without a log-in."""

    cluster: Cluster
    reaper: Reaper
    api: str
    mlflow: str

    def service(self, name: str, port: int, namespace: str = NAMESPACE) -> str:
        """Return the URL at which a Service answers."""
        return f"{self.api}/api/v1/namespaces/{namespace}/services/{name}:{port}/proxy"


def is_foreign() -> bool:
    """Tell whether the cluster is somebody else's: named by its kubeconfig."""
    return images.is_foreign()


def has_mesh() -> bool:
    """Tell whether there is a mesh: istiod is on the machine, and the cluster's kinds are ours to choose."""
    return find_istiod() is not None and not is_foreign()


@contextmanager
def chosen_cluster() -> Iterator[None]:
    """Let the kubeconfig that is named for the tests count, and none that is named for the demo."""
    meant = {VARIABLE: "KUBECONFIG_FOR_TESTS", images.PREFIX_VARIABLE: "IMAGES_FOR_TESTS"}
    with pytest.MonkeyPatch.context() as environment:
        for ours, theirs in meant.items():
            environment.delenv(ours, raising=False)
            if named := os.environ.get(theirs):
                environment.setenv(ours, named)
        yield


@contextmanager
def raised(progress: Progress) -> Iterator[Scene]:
    """Set everything up, give it, and take it away however the block ends; a reaper does so if we are killed."""
    _refuse_used_cluster()
    reaper = Reaper(CLUSTER)
    try:
        with ExitStack() as running:
            cluster = _with_images(progress)
            _install(cluster)
            _await_started(cluster, progress)
            environment = cluster.environment()
            forward = ["kubectl", "--namespace", NAMESPACE, "port-forward", "service/mlflow", ":5000"]
            api = running.enter_context(serving(["kubectl", "proxy", "--port=0"], environment, reaper))
            mlflow = running.enter_context(serving(forward, environment, reaper))
            yield Scene(cluster, reaper, f"http://127.0.0.1:{api}", f"http://127.0.0.1:{mlflow}")
    finally:
        clear()
        reaper.dismiss()


def _refuse_used_cluster() -> None:
    """Raise ClusterError where somebody else's cluster has what would be taken away at the end."""
    if not is_foreign():
        return
    for name in (f"namespace/{NAMESPACE}", f"namespace/{SYSTEM}", _CRD):
        if up(CLUSTER).kubectl("get", name, "--ignore-not-found"):
            raise ClusterError(f"the cluster has {name} already: the tests need one without modelramp")


def _with_images(progress: Progress) -> Cluster:
    """Have the cluster, while images are built; both cost minutes the first time."""
    with ThreadPoolExecutor() as pool:
        helm = pool.submit(build_binaries, ["helm"], progress)
        building = pool.submit(images.build, progress)
        meshed = pool.submit(build_images, ["istiod"] if has_mesh() else [], progress)
        down(CLUSTER)
        cluster = up(CLUSTER, progress)
        images.bring([*building.result(), *meshed.result()], CLUSTER, progress)
        helm.result()
        return cluster


def _install(cluster: Cluster) -> None:
    if has_mesh():
        _install_mesh(cluster)
    for namespace in (NAMESPACE, SYSTEM):
        _make_namespace(cluster, namespace)
    _load_script(cluster, NAMESPACE)
    # What Prometheus is to scrape besides comes first: an optional ConfigMap that is made later is not there for it.
    manifests = [*([_MORE] if has_mesh() else []), *sorted((SOURCE / "manifests").glob("*.yaml"))]
    _apply(cluster, NAMESPACE, images.located(_joined(manifests)).replace(_DEMO, NAMESPACE))
    cluster.helm("install", RELEASE, str(CHART), "--namespace", SYSTEM, *_values())


def _install_mesh(cluster: Cluster) -> None:
    """Install Istio's kinds, istiod, a proxy and who sends through it; nobody waits for them."""
    kinds = json.dumps({"apiVersion": "v1", "kind": "List", "items": read_definitions()})
    cluster.kubectl("apply", "--server-side", "--filename", "-", stdin=kinds)
    cluster.kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all", _STARTED)
    _make_namespace(cluster, MESH)
    _load_script(cluster, MESH)
    load = (SOURCE / "manifests" / "load.yaml").read_text().replace(f"{MODEL}.{_DEMO}", f"{FRONT}.{MESH}")
    _apply(cluster, MESH, "\n---\n".join([load, _joined([HERE / "mesh" / name for name in _MESH_MANIFESTS])]))


def _make_namespace(cluster: Cluster, name: str) -> None:
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, _RESTRICTED)


def _load_script(cluster: Cluster, namespace: str) -> None:
    files = [f"--from-file={path}" for path in SCRIPTS]
    cluster.kubectl("--namespace", namespace, "create", "configmap", "load-script", *files)


def _apply(cluster: Cluster, namespace: str, manifest: str) -> None:
    cluster.kubectl("--namespace", namespace, "apply", "--filename", "-", stdin=manifest)


def _joined(paths: Iterable[Path]) -> str:
    return "\n---\n".join(path.read_text() for path in paths)


def _values() -> Sequence[str]:
    values = {
        "mlflow.uri": f"http://mlflow.{NAMESPACE}.svc:5000",
        "prometheus.url": f"http://prometheus.{NAMESPACE}.svc:9090",
    }
    for key, name in (("image", "operator"), ("runtime.image", "runtime"), ("router.image", "envoy")):
        values |= {f"{key}.repository": images.repository(name), f"{key}.tag": images.tag()}
    if has_mesh():
        values["istio.enabled"] = "true"
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def _await_started(cluster: Cluster, progress: Progress) -> None:
    parts = (SYSTEM, RELEASE), (NAMESPACE, "mlflow"), (NAMESPACE, "prometheus"), (NAMESPACE, "load")
    for namespace, name in parts:
        with progress.step(f"start {name}"):
            cluster.kubectl("--namespace", namespace, "rollout", "status", f"deployment/{name}", _STARTED)


def clear() -> None:
    """Take everything away; of a cluster that is somebody else's, all that the tests put there."""
    down(CLUSTER)
    if not is_foreign():
        return
    cluster = up(CLUSTER)
    _quietly(cluster, "delete", "modeldeployments", "--all", "--namespace", NAMESPACE, "--timeout=60s")
    with suppress(CommandError):
        cluster.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait")
    _quietly(cluster, "delete", "namespace", NAMESPACE, SYSTEM, "--ignore-not-found")
    _quietly(cluster, "delete", "clusterrole,clusterrolebinding", f"{NAMESPACE}-prometheus", "--ignore-not-found")
    _quietly(cluster, "delete", _CRD, "--ignore-not-found")


def _quietly(cluster: Cluster, *arguments: str) -> None:
    with suppress(CommandError):
        cluster.kubectl(*arguments)
