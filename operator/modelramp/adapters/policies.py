"""The business rules: their ConfigMap out of the watch, and what each pod says that it makes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from modelramp.adapters.kinds import (
    COMPONENT,
    CONFIG_MAP,
    KEPT_POLICY,
    MODEL,
    POD,
    POLICY,
    POLICY_TOLD,
    Object,
    labels,
    owner_reference,
)
from modelramp.adapters.kubernetes import Missing, Reply
from modelramp.adapters.podspec import kept_name
from modelramp.adapters.store import Store
from modelramp.adapters.writer import Writer, written
from modelramp.ports import Conflict, Deposed, Done, Ref, Rollout, Written
from modelramp.rollout.observation import Failed, NoData, Reading, Rules, Value

KEY = "policy.yaml"
SERVER_PORT = 8080
DEADLINE = ClientTimeout(1.0)
LONGEST_ANSWER, LONGEST_COMPLAINT = 16_384, 300


@dataclass(frozen=True, slots=True)
class Said:
    """What a pod answered about the text of a hash; silent ones have another server, which applies no policy."""

    policy: str
    applies: bool = False
    complaint: str = ""


class ClusterPolicies:
    """Rules in ConfigMaps of the users; a mark on each brings it into our watch."""

    def __init__(self, store: Store, writer: Writer, session: ClientSession) -> None:
        self._store = store
        self._writer = writer
        self._session = session
        self._said: dict[Ref, dict[str, Said]] = {}

    async def read(self, rollout: Rollout) -> Reading[Rules]:
        """Read the text; pods are asked only until each has said what it makes of this very text."""
        found = await self._find(rollout)
        if isinstance(found, NoData | Failed):
            return found
        text = (found.get("data") or {}).get(KEY)
        if not isinstance(text, str):
            return NoData("PolicyNotFound", f"ConfigMap {found['metadata']['name']} has no key {KEY}")
        policy, problem = judge(text)
        if problem:
            return Value(Rules(policy, problem, author=author_of(found)))
        return Value(await self._spread(rollout, policy, author_of(found)))

    async def tell(self, rollout: Rollout, policy: str) -> Written:
        """Touch the pods: the kubelet brings the volumes of a pod that has changed up to date at once."""
        for pod in self._untold(rollout, policy):
            metadata = pod["metadata"]
            body = {"metadata": {"annotations": {POLICY_TOLD: policy}}}
            outcome = await self._writer.patch(POD, metadata["namespace"], metadata["name"], body)
            if not isinstance(outcome, Missing) and not isinstance(said := written(outcome), Done):
                return said
        return Done()

    async def keep(self, rollout: Rollout, policy: str) -> Written:
        """Copy the text into a ConfigMap of ours, which the pods have beside the user's."""
        found = await self._find(rollout)
        text = "" if isinstance(found, NoData | Failed) else (found.get("data") or {}).get(KEY) or ""
        if judge(text)[0] != policy:
            return Conflict("the rules were edited meanwhile")
        return written(await self._writer.apply(_kept(rollout, text)))

    async def _find(self, rollout: Rollout) -> Object | NoData | Failed:
        namespace, asked = rollout.ref.namespace, rollout.spec.policy
        name = asked.config_map if asked else ""
        known = self._store.get(CONFIG_MAP, namespace, name)
        if known is not None and _component(known) == POLICY:
            return known
        match await self._writer.refresh(CONFIG_MAP, namespace, name):
            case Reply(live) if _component(live) not in ("", POLICY):
                return NoData("PolicyNotFound", f"ConfigMap {name} is modelramp's own: name another one")
            case Reply(live):
                return await self._mark(live)
            case Missing():
                return NoData("PolicyNotFound", f"there is no ConfigMap {name}")
            case Conflict(message):
                return Failed("Conflict", message)
            case failed:
                return failed

    async def _mark(self, live: Object) -> Object | Failed:
        """Put our label on: the watch brings only what has it, and an edit must be seen at once."""
        metadata = live["metadata"]
        body = {"metadata": {"labels": {COMPONENT: POLICY}}}
        match await self._writer.patch(CONFIG_MAP, metadata["namespace"], metadata["name"], body):
            case Reply(marked):
                return marked
            case Failed() as failed:
                return failed
            case Deposed() | Missing() | Conflict():
                return live

    async def _spread(self, rollout: Rollout, policy: str, author: str) -> Rules:
        pods = self._ready(rollout)
        unsure = [pod for pod in pods if self._known(rollout.ref, pod, policy) is None]
        answers = await asyncio.gather(*(self._ask(pod, policy) for pod in unsure))
        heard = {pod["metadata"]["uid"]: said for pod, said in zip(unsure, answers, strict=True) if said}
        present = {pod["metadata"]["uid"] for pod in pods}
        said_before = self._said.get(rollout.ref, {})
        self._said[rollout.ref] = {uid: said for uid, said in (said_before | heard).items() if uid in present}
        known = [(pod, self._known(rollout.ref, pod, policy)) for pod in pods]
        named = ((pod["metadata"]["name"], said) for pod, said in known)
        complaints = [f"pod {name}: {said.complaint}" for name, said in named if said and said.complaint]
        return Rules(
            policy,
            refused=complaints[0] if complaints else "",
            applied=sum(said is not None and said.applies for _, said in known),
            waiting=sum(said is None for _, said in known),
            untold=len(self._untold(rollout, policy)),
            author=author,
            unkept=self._is_unkept(rollout, policy, [said for _, said in known]),
        )

    def _is_unkept(self, rollout: Rollout, policy: str, said: Sequence[Said | None]) -> bool:
        """Tell whether every pod agrees on rules that are not the kept ones; those without an opinion do not count."""
        agreed = all(each and not each.complaint for each in said) and any(each and each.applies for each in said)
        kept = self._store.get(CONFIG_MAP, rollout.ref.namespace, kept_name(rollout.ref.name))
        return agreed and (kept is None or judge((kept.get("data") or {}).get(KEY) or "")[0] != policy)

    def _ready(self, rollout: Rollout) -> list[Object]:
        found = self._store.members(POD, rollout.ref)
        return [pod for pod in found if _component(pod) == MODEL and _is_ready(pod)]

    def _known(self, ref: Ref, pod: Object, policy: str) -> Said | None:
        said = self._said.get(ref, {}).get(pod["metadata"]["uid"])
        return said if said and said.policy == policy else None

    def _untold(self, rollout: Rollout, policy: str) -> list[Object]:
        """Return the pods that have not said anything of this text, and were not told of it."""
        unsure = [pod for pod in self._ready(rollout) if self._known(rollout.ref, pod, policy) is None]
        return [pod for pod in unsure if (pod["metadata"].get("annotations") or {}).get(POLICY_TOLD) != policy]

    async def _ask(self, pod: Object, policy: str) -> Said | None:
        """Return what a pod makes of a text, None while it does not know it or does not answer."""
        try:
            async with self._session.get(f"{_url(pod)}/policy", timeout=DEADLINE) as answer:
                body = await answer.content.read(LONGEST_ANSWER)
                return judge_answer(answer.status, body, policy)
        except (ClientError, OSError, TimeoutError):
            return None


def _kept(rollout: Rollout, text: str) -> Object:
    name, namespace = rollout.ref.name, rollout.ref.namespace
    metadata = {
        "name": kept_name(name),
        "namespace": namespace,
        "labels": labels(name, KEPT_POLICY),
        "ownerReferences": [owner_reference(name, rollout.uid)],
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {KEY: text}}


def judge_answer(status: int, body: bytes, policy: str) -> Said | None:
    """Return what a pod's answer says about the text of a hash, None while it says nothing of it."""
    if status == 404:
        return Said(policy)
    try:
        said = json.loads(body)
        refused = said["refused"] or {}
        if refused.get("hash") == policy:
            return Said(policy, complaint="; ".join(map(str, refused["problems"]))[:LONGEST_COMPLAINT])
        return Said(policy, applies=True) if said["hash"] == policy else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


@lru_cache(maxsize=256)
def judge(text: str) -> tuple[str, str]:
    """Return the hash of a policy's text, and why it is no policy."""
    # The engine takes ten megabytes, which an operator without policies does not need.
    from modelramp_policy.document import Refused, parse  # noqa: PLC0415
    from modelramp_policy.rules import OPEN, compile_rules  # noqa: PLC0415

    document = parse(text)
    found = document if isinstance(document, Refused) else compile_rules(document, OPEN)
    return document.hash, str(found)[:LONGEST_COMPLAINT] if isinstance(found, Refused) else ""


def author_of(config_map: Object) -> str:
    """Return the manager that wrote the text last, as far as the API server knows."""
    entries = [entry for entry in config_map["metadata"].get("managedFields") or () if _owns_data(entry)]
    newest: Mapping[str, Any] = max(entries, key=lambda entry: str(entry.get("time") or ""), default={})
    return str(newest.get("manager") or "")


def _owns_data(entry: Mapping[str, Any]) -> bool:
    return f"f:{KEY}" in ((entry.get("fieldsV1") or {}).get("f:data") or {})


def _component(obj: Object) -> str:
    return str((obj["metadata"].get("labels") or {}).get(COMPONENT, ""))


def _is_ready(pod: Object) -> bool:
    status = pod.get("status") or {}
    ready = any((each["type"], each["status"]) == ("Ready", "True") for each in status.get("conditions") or ())
    return ready and bool(status.get("podIP")) and "deletionTimestamp" not in pod["metadata"]


def _url(pod: Object) -> str:
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports") or ())
    number = next((port["containerPort"] for port in ports if port.get("name") == "http"), SERVER_PORT)
    ip = pod["status"]["podIP"]
    return f"http://[{ip}]:{number}" if ":" in ip else f"http://{ip}:{number}"
