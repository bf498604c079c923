"""The rules are edited badly while a pod restarts: it answers by the last good ones, and the object says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import mlflow.sklearn
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

from modelramp.adapters.kinds import CONFIG_MAP, MODEL, POD, labels
from modelramp.adapters.podspec import kept_name
from modelramp.adapters.policies import KEY
from modelramp.ports import Ref
from modelramp_policy.document import hash_of
from tests.runtime.mounted import Mounted
from tests.runtime.serving import Served, awaited, free_port, is_ready, start
from tests.whole.observer import Trace
from tests.whole.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(180)]
RULES, POD_NAME = "fraud-rules", "fraud-v1-a"
GOOD = "rules:\n  decision: \"score > 0.1 ? 'review' : 'accept'\"\n"
BAD = 'rules:\n  decision: "outputs.income > 0.1"\n'
MENDED = GOOD.replace("0.1", "0.9")
REQUEST = {"dataframe_split": {"columns": ["x"], "data": [[0.5]]}}


@dataclass
class Pod:
    """A model server as a pod runs it, with the volumes that the kubelet would keep up to date."""

    stage: Stage
    ref: Ref
    model: Path
    home: Path
    port: int = field(default_factory=free_port)
    served: Served | None = None

    def __post_init__(self) -> None:
        self.users, self.kept = Mounted(self.home / "users"), Mounted(self.home / "kept")

    async def follow(self) -> None:
        """Bring every edit of the two ConfigMaps into the volumes."""
        volumes = {RULES: self.users, kept_name(self.ref.name): self.kept}
        async for change, obj in self.stage.admin.follow(CONFIG_MAP):
            metadata = obj["metadata"]
            if metadata["namespace"] == self.ref.namespace and metadata["name"] in volumes and change != "DELETED":
                volumes[metadata["name"]].write(obj["data"][KEY])

    def start(self) -> None:
        """Start the container."""
        mine = {
            "MODEL_NAME": f"fraud_detector.{self.ref.namespace}",
            "MODEL_VERSION": "1",
            "PORT": str(self.port),
            "POLICY_DIR": str(self.users.directory),
            "POLICY_KEPT_DIR": str(self.kept.directory),
        }
        self.served = replace(start(self.model, self.home / "log", **mine), port=self.port)
        awaited(lambda: self.served and is_ready(self.served), "the container is ready", 60)

    def kill(self) -> None:
        """End the container as a node that is short of memory does."""
        if self.served and self.served.process:
            self.served.process.kill()
            self.served.process.wait()

    async def announce(self) -> None:
        """Write what the kubelet writes of a pod that is ready."""
        container = {"name": "server", "image": "x", "ports": [{"name": "http", "containerPort": self.port}]}
        place = Ref(self.ref.namespace, POD_NAME)
        metadata = {"name": place.name, "namespace": place.namespace, "labels": labels(self.ref.name, MODEL, "1")}
        spec = {"containers": [container]}
        await self.stage.admin.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        ready = {"type": "Ready", "status": "True"}
        status = {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}], "conditions": [ready]}
        await self.stage.admin.merge(POD, place, {"status": status}, sub="status")

    def decides(self) -> tuple[str, list[str]]:
        """Return the hash of the rules that decided one prediction, and what they decided."""
        assert self.served is not None
        answer = self.served.predict(REQUEST)
        return answer.headers["x-policy-hash"], answer.json["decisions"]["decision"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a model that says what it is asked."""
    directory, data = tmp_path_factory.mktemp("ruled") / "model", pd.DataFrame({"x": [0.0, 0.5, 1.0]})
    found = LinearRegression().fit(data, data["x"])
    signature = infer_signature(data, found.predict(data))
    mlflow.sklearn.save_model(
        found, directory, signature=signature, pip_requirements=[], serialization_format="cloudpickle"
    )
    return directory


@pytest.fixture
async def pod(stage: Stage, model: Path, tmp_path: Path) -> AsyncIterator[Pod]:
    """Give a pod that is not yet started, of an object that does not exist yet."""
    it = Pod(stage, Ref(await stage.namespace(), "fraud"), model, tmp_path)
    following = asyncio.create_task(it.follow())
    yield it
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    it.kill()


async def edit(stage: Stage, ref: Ref, text: str) -> str:
    """Write the rules as a user does, and return their hash."""
    data = {"data": {KEY: text}}
    metadata = {"name": RULES, "namespace": ref.namespace}
    if await stage.admin.get(CONFIG_MAP, ref.namespace, RULES):
        await stage.admin.merge(CONFIG_MAP, Ref(ref.namespace, RULES), data)
    else:
        await stage.admin.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **data})
    return hash_of(text)


def kept(trace: Trace, ref: Ref) -> str:
    found = trace.newest(CONFIG_MAP, kept_name(ref.name))
    return found.object["data"][KEY] if found else ""


async def test_a_bad_edit_while_a_pod_restarts_costs_no_answer_its_rules_and_the_object_says_so(
    stage: Stage, pod: Pod
) -> None:
    ref = pod.ref
    async with stage.observed(ref.namespace) as trace, stage.operator(ref.namespace):
        good = await edit(stage, ref, GOOD)
        await stage.create(ref, policy={"configMap": RULES})
        await trace.until_phase(ref, "Promoted", "1")
        await asyncio.to_thread(pod.start)
        await pod.announce()
        await trace.until(lambda: kept(trace, ref) == GOOD, "the rules that the pod applies are kept")

        pod.kill()
        bad = await edit(stage, ref, BAD)
        await asyncio.to_thread(pod.start)
        assert await asyncio.to_thread(pod.decides) == (good, ["review"])
        await trace.until(lambda: policy(trace, ref).get("refused") == bad, lambda: str(policy(trace, ref)))
        said = policy(trace, ref)
        assert said["hash"] == good, "what is in force"
        assert said["message"].startswith(f"pod {POD_NAME}: ")
        assert "income" in said["message"]
        await trace.until(lambda: refusals(trace, ref), "an event tells of it")
        [told] = refusals(trace, ref)
        assert told.endswith(f"; {good} stays in force")
        assert kept(trace, ref) == GOOD, "for the next pod that starts"

        mended = await edit(stage, ref, MENDED)
        await trace.until(lambda: policy(trace, ref)["hash"] == mended, lambda: str(policy(trace, ref)))
        assert "refused" not in policy(trace, ref)
        assert await asyncio.to_thread(pod.decides) == (mended, ["accept"])
        await trace.until(lambda: kept(trace, ref) == MENDED, "the mended rules are kept")


def refusals(trace: Trace, ref: Ref) -> list[str]:
    return [note for reason, note in trace.events(ref) if reason == "PolicyRefused"]


def policy(trace: Trace, ref: Ref) -> dict[str, str]:
    found: dict[str, str] = trace.status(ref).get("policy") or {}
    return found
