"""Flagger 1.36.1 and Argo Rollouts 1.10.2, measured elsewhere on a like machine: never side by side with ours.

Source of all: run of 2026-11-23 on a 2-core AMD EPYC VM of 23 GiB, real etcd, kube-apiserver 1.36.3,
kube-controller-manager and kube-scheduler, kwok for pods, a scripted Prometheus; see docs/benchmarks.md.
"""

BREACH_ONE = "Argo at 1 s: median 1.24 s, max 2.54 s (20 ramps, --qps 1000); Flagger at 10 s: 14.6 s, 19.5 s"
BREACH_MANY = (
    "Argo at 1 s: p50 1.57 s, p99 2.36 s (--qps 1000); 5.3 s, 6.6 s by default; Flagger at 10 s: 14.6 s, 15.4 s"
)
SETTLED_200 = "Argo 200: 0.06 CPU s/min, 110 MiB, 0 calls; Flagger at 60 s: 1.9 CPU s/min, 69 MiB, 2,400 calls/min"
SETTLED_MORE = "Argo 500: 0.04 CPU s/min, 139 MiB, 0 calls; Flagger at 60 s: 6.0 CPU s/min, 81 MiB, 6,840 calls/min"
RAMPING_50 = "Argo at 1 s: 9.5 CPU s/min, 98 MiB, 42 calls/s (throttled); 12.1, 101, 79 with --qps 1000"
