"""The bare node: a whole Kubernetes in namespaces of its own, without Docker."""
