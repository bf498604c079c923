"""The scene of the demo: a cluster with MLflow, Prometheus, the load generator and the chart, and its end."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.demo import images
from cluster.demo.background import Reaper, serving
from cluster.demo.names import CHART, CLUSTER, MANIFESTS, NAMESPACE, RELEASE, SCRIPTS, SYSTEM
from cluster.demo.training import Training
from cluster.errors import ClusterError, CommandError
from cluster.images.builders import choose_builder
from cluster.lifecycle import Cluster, down, up
from cluster.progress import Progress
from cluster.provider import choose_provider
from cluster.tools.binaries import build_binaries

_ROLLED_OUT = "180s"
_CRDS = tuple(f"customresourcedefinition/{kind}.modelramp.dev" for kind in ("modeldeployments", "promotionpolicies"))
_OURS = "modelramp.dev/demo=true"
_RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


@dataclass(frozen=True)
class Setting:
    """A cluster that is ready for the first act; `api` is its API on the loopback, without a log-in."""

    cluster: Cluster
    api: str
    training: Training

    def service(self, name: str, port: int) -> str:
        """Return the URL at which a Service of the demo answers."""
        return f"{self.api}/api/v1/namespaces/{NAMESPACE}/services/{name}:{port}/proxy"


def check_possible() -> None:
    """Raise NotPossibleError or SettingError in one line where no cluster can be."""
    choose_provider()
    if images.is_foreign():
        images.check_located()
    else:
        choose_builder()


@contextlib.contextmanager
def prepared(reaper: Reaper, progress: Progress) -> Iterator[Setting]:
    """Set everything up, and give it; the programs beside the demo end with the block, the cluster does not."""
    cluster = _with_images(progress)
    _apply_manifests(cluster)
    with contextlib.ExitStack() as running, ThreadPoolExecutor() as pool:
        chart = pool.submit(_install_chart, cluster, progress)
        _await_rollout(cluster, "mlflow", progress)
        forward = ["kubectl", "--namespace", NAMESPACE, "port-forward", "service/mlflow", ":5000"]
        mlflow = running.enter_context(serving(forward, cluster.environment(), reaper))
        training = running.enter_context(Training(f"http://127.0.0.1:{mlflow}", reaper).going_on())
        for name in ("prometheus", "load"):
            _await_rollout(cluster, name, progress)
        chart.result()
        api = running.enter_context(serving(["kubectl", "proxy", "--port=0"], cluster.environment(), reaper))
        yield Setting(cluster, f"http://127.0.0.1:{api}", training)


def _with_images(progress: Progress) -> Cluster:
    """Have the cluster, while images are built; both cost minutes the first time, and a CPU each."""
    pool = ThreadPoolExecutor()
    try:
        helm = pool.submit(build_binaries, ["helm"], progress)
        building = pool.submit(images.build, progress)
        cluster = _fresh(progress)
        images.bring(building.result(), CLUSTER, progress)
        helm.result()
        return cluster
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # who is interrupted does not wait for a compiler


def _fresh(progress: Progress) -> Cluster:
    if not images.is_foreign():
        down(CLUSTER)
        return up(CLUSTER, progress)
    cluster = up(CLUSTER, progress)
    for what in (f"namespace/{NAMESPACE}", f"namespace/{SYSTEM}", *_CRDS):
        if cluster.kubectl("get", what, "--ignore-not-found"):
            raise ClusterError(f"the cluster has {what} already, and the demo would change it; name another cluster")
    return cluster


def _apply_manifests(cluster: Cluster) -> None:
    for namespace in (NAMESPACE, SYSTEM):
        cluster.kubectl("create", "namespace", namespace)
        cluster.kubectl("label", "namespace", namespace, _RESTRICTED, _OURS)
    files = [f"--from-file={path}" for path in SCRIPTS]
    cluster.kubectl("--namespace", NAMESPACE, "create", "configmap", "load-script", *files)
    manifests = [images.located(path.read_text()) for path in sorted(MANIFESTS.glob("*.yaml"))]
    cluster.kubectl("--namespace", NAMESPACE, "apply", "--filename", "-", stdin="\n---\n".join(manifests))


def _install_chart(cluster: Cluster, progress: Progress) -> None:
    with progress.step("install the chart"):
        options = ["--namespace", SYSTEM, *_values(), "--wait", "--timeout", _ROLLED_OUT]
        cluster.helm("install", RELEASE, str(CHART), *options)


def _await_rollout(cluster: Cluster, name: str, progress: Progress) -> None:
    with progress.step(f"start {name}"):
        rollout = "rollout", "status", f"deployment/{name}", "--timeout", _ROLLED_OUT
        cluster.kubectl("--namespace", NAMESPACE, *rollout)


def _values() -> list[str]:
    values = {
        "mlflow.uri": f"http://mlflow.{NAMESPACE}.svc:5000",
        "prometheus.url": f"http://prometheus.{NAMESPACE}.svc:9090",
    }
    for key, name in (("image", "operator"), ("runtime.image", "runtime"), ("router.image", "envoy")):
        values |= {f"{key}.repository": images.repository(name), f"{key}.tag": images.tag()}
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def clear() -> None:
    """Take everything away; of a cluster that is somebody else's, all that the demo put there."""
    if not images.is_foreign():
        down(CLUSTER)
        return
    cluster = up(CLUSTER)
    if cluster.kubectl("get", "namespaces", "--selector", _OURS, "--output", "name"):
        _clear_foreign(cluster)


def _clear_foreign(cluster: Cluster) -> None:
    # First while the operator runs: it lets the objects go.
    _quietly(cluster, "delete", "modeldeployments", "--all", "--namespace", NAMESPACE, "--timeout=60s")
    with contextlib.suppress(CommandError):
        cluster.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait")
    _quietly(cluster, "delete", "namespaces,clusterroles,clusterrolebindings", "--selector", _OURS)
    _quietly(cluster, "delete", *_CRDS, "--ignore-not-found")


def _quietly(cluster: Cluster, *arguments: str) -> None:
    with contextlib.suppress(CommandError):
        cluster.kubectl(*arguments)
