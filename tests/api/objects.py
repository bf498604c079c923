"""ModelDeployments as users write them: the least, the most, and one with some of its fields changed."""

from __future__ import annotations

import copy
import re
from typing import Any

import yaml

ABSENT = object()

LEAST = """
apiVersion: modelramp.dev/v1alpha1
kind: ModelDeployment
metadata: {name: fraud-detector}
spec:
  model: {name: fraud_detector, version: "8"}
  traffic: {configMap: {}}
"""

MOST = """
apiVersion: modelramp.dev/v1alpha1
kind: ModelDeployment
metadata: {name: fraud-detector}
spec:
  model:
    name: fraud_detector            # product name; fraud_detector_v2_final is refused
    version: "8"                    # the pin
  serving:
    runtime: mlflow
    replicas: 2
    keepWarm: 2                     # previous versions kept ready
    image: registry.example.com/scorer:1.4
    resources:
      requests: {cpu: 500m, memory: 512Mi}
      limits: {cpu: 2, memory: 1Gi, ephemeral-storage: 1e9}
    env:
    - {name: LOG_LEVEL, value: info}
    - {name: FEATURES_TOKEN, valueFrom: {secretKeyRef: {name: features, key: token}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    serviceAccountName: scorer
    autoscaling:
      min: 2
      max: 10
      metrics:
      - {type: Pods, pods: {metric: {name: in_flight}, target: {type: AverageValue, averageValue: "8"}}}
      behavior: {scaleDown: {stabilizationWindowSeconds: 600}}
    nodeSelector: {kubernetes.io/arch: amd64}
    tolerations:
    - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
    affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
    imagePullSecrets: [{name: registry}]
    podTemplate:
      metadata: {labels: {team: risk}}
      spec: {priorityClassName: high}
    podSecurity: Restricted
    registrySecret: {name: mlflow}
    capture: {percent: 5, tolerance: 0.01}
    readyDeadline: 5m
  gates:
    metrics:
    - {metric: auc, min: 0.92}
    - {metric: auc, maxDrop: 0.01}  # against the stable version's run
    - {metric: p99_ms, max: 50, maxIncrease: 5}
    - {metric: auc, maxDropRatio: 0.02, dataset: holdout}
    - {metric: throughput_rps, maxDropRatio: 0.2, maxIncreaseRatio: 9, compareOn: AnyDataset}
    signature: {required: true, compatibleWith: Stable}
    name: {pattern: "fraud_[a-z]+"}
    fairness:
    - {metric: demographic_parity_ratio, min: 0.8, groups: [country]}
    - {metric: equalized_odds_difference, max: 0.1}
    coverage: [{metric: segment_coverage, min: 0.95}]
    lineage: {require: [GitCommit, Datasets, FeatureTables, Parameters, Run], featureTableTag: features}
    tags: {required: [{key: team}, {key: risk, values: [tier1, tier2]}]}
    decision: {requiredFor: All, tag: why, artifact: why.md}
    overrides:
    - {gate: "metric:auc", reason: the holdout was redrawn, until: "2026-12-31T18:00:00Z"}
    policy: {required: true}
    staging: {requests: 100, concurrency: 8, p50: 20ms, p95: 40ms, p99: 50ms, errorRate: 0.01, memory: 512Mi,
      dataset: {configMapKeyRef: {name: payloads, key: requests.jsonl}}, deadline: 5m}
    rollback: {required: true}
  policy: {configMap: fraud-rules, watchFor: 30m}
  shadow: {percent: 100, duration: 24h, minRequests: 10000}
  ramp:
    effectDeadline: 3m
    steps:
    - {weight: 1, hold: 1h, minRequests: 2000}
    - {weight: 10, hold: 1h30m}
    - {weight: 50, hold: 2h, approval: true}
    - {weight: 100, hold: 1h}
  guardrails:
  - {name: errors, template: error-rate, compare: Stable, tolerance: 1.2, slack: 0.001}
  - {name: latency, template: latency-p99, maxDuration: 80ms}
  - name: score-drift
    query: max(modelramp_prediction_psi{namespace={{namespace}}, version={{candidate}}})
    min: 0
    max: 0.2
    interval: 15s
    window: 2m
    failureLimit: {count: 2, mode: Consecutive}
    onNoData: Hold                  # Hold | Rollback, never Pass
    noDataDeadline: 10m
    minPasses: 5
  traffic:
    configMap:
      routerReplicas: 3
      nodeSelector: {role: edge}
      tolerations: [{key: edge, operator: Exists}]
  paused: false
  abort: "7"
  approve: 8/50
  retry: after the fix of the feature store
"""


def parsed(text: str) -> dict[str, Any]:
    """Return the object that a manifest says."""
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def changed(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a copy in which each path, such as `spec.ramp.steps[0].weight`, has its new value, or is ABSENT."""
    after = copy.deepcopy(body)
    for path, value in changes.items():
        *above, last = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path)]
        place: Any = after
        for part in above:
            place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
        if value is ABSENT:
            del place[last]
        else:
            place[last] = value
    return after
