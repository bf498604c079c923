"""Take MLflow model versions to production traffic on Kubernetes, and back.

One turn of the loop (`reconcile.py`) is: read the object, `observe` the world, `decide` (pure, in `rollout/`),
remember the status, `perform` the actions, and say when to look again.
"""

__version__ = "0.1.0"
