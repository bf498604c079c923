"""The operator as its users start it: a process of its own on a real etcd and kube-apiserver.

Stand-ins only for what an API server without nodes cannot do: a kubelet, and, where the data path is not the
point, routers, a registry and a Prometheus that answer as they are told. `stage.staged` puts it all together;
nothing in it needs pytest, so that benchmarks use the same.
"""
