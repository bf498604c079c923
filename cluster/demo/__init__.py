"""The main job on a whole cluster: `python -m cluster.demo`."""
