"""A real Kubernetes API without nodes: etcd and kube-apiserver, for tests and benchmarks."""

from tests.controlplane.apiserver import ApiServer, Credentials, running_api_server

__all__ = ["ApiServer", "Credentials", "running_api_server"]
