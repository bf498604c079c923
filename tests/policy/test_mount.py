"""The rules' ConfigMap is in the pods of every version, whole, and only where the spec names one."""

from __future__ import annotations

from typing import Any

from modelramp.adapters.podspec import PodSettings, Served, pod_template
from modelramp.ports import Ref
from modelramp.rollout.spec import Serving
from modelramp.rollout.status import Pin


def pod(policy: str, image: str | None = None) -> dict[str, Any]:
    version = Served(Ref("shop", "fraud"), "uid", "fraud", Serving(image=image), Pin("8"), policy)
    spec: dict[str, Any] = pod_template(version, PodSettings("runtime:1", "http://mlflow"))["spec"]
    return spec


def test_an_edit_of_the_rules_reaches_the_running_pod() -> None:
    for image in (None, "registry.example.com/scorer:1"):
        spec = pod("fraud-rules", image)
        server = spec["containers"][0]
        mount = next(each for each in server["volumeMounts"] if each["name"] == "policy")
        assert mount == {"name": "policy", "mountPath": "/mnt/policy", "readOnly": True}  # a subPath is never updated
        assert {"name": "policy", "configMap": {"name": "fraud-rules", "optional": True}} in spec["volumes"]
        assert {"name": "POLICY_DIR", "value": "/mnt/policy"} in server["env"]
        kept = {"name": "policy-kept", "mountPath": "/mnt/policy-kept", "readOnly": True}
        assert kept in server["volumeMounts"]
        assert {"name": "policy-kept", "configMap": {"name": "fraud-policy-kept", "optional": True}} in spec["volumes"]
        assert {"name": "POLICY_KEPT_DIR", "value": "/mnt/policy-kept"} in server["env"]
        assert all(not each["name"].startswith("policy") for each in spec["initContainers"][0]["volumeMounts"])


def test_without_rules_there_is_nothing_of_them_in_a_pod() -> None:
    assert "policy" not in str(pod("")).lower().replace("imagepullpolicy", "")
