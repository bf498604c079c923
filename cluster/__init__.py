"""A real Kubernetes cluster on one machine, for the demo and the tests.

`up` gives a cluster: kind where a Docker daemon answers, else a bare node in namespaces of its own.
"""

from cluster.errors import ClusterError, CommandError, NotPossibleError, SettingError
from cluster.images.catalog import DEFAULT_IMAGES, build_images
from cluster.images.naming import Image
from cluster.lifecycle import Cluster, connect, down, exec_in_node, load, up
from cluster.progress import Progress, shown_progress
from cluster.tools.binaries import build_binaries
from cluster.tools.kubectl import find_kubectl

__all__ = [
    "DEFAULT_IMAGES",
    "Cluster",
    "ClusterError",
    "CommandError",
    "Image",
    "NotPossibleError",
    "Progress",
    "SettingError",
    "build_binaries",
    "build_images",
    "connect",
    "down",
    "exec_in_node",
    "find_kubectl",
    "load",
    "shown_progress",
    "up",
]
