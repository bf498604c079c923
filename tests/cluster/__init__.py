"""One story on a whole cluster: real kubelet, Envoy, model servers, Prometheus, MLflow, nothing but the chart.

The acts (`acts.py`, `disturbances.py`) are fixtures, each following on the one before; a test asserts one sentence
of what they recorded. The cluster is `modelramp-tests`: kind where Docker is, else a bare node. To use another, name
its kubeconfig in KUBECONFIG_FOR_TESTS, and in IMAGES_FOR_TESTS the registry that has the images that
`python -m cluster images` builds; it must not have modelramp yet.

While what the story's object owned is swept away, the same story is told in a mesh (`meshed.py`), where the machine has
istiod and the cluster is ours: its kinds are for the whole of it.
"""
