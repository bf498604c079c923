"""Play a scenario: a script of what people and the world do, and the story that the operator makes of it.

A scenario is a text: blocks of commands, `----`, what followed, an empty line. Times are since the beginning.
"""

from __future__ import annotations

import asyncio
import itertools
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from modelramp.adapters.memory import ports_on
from modelramp.adapters.world import BEGINNING, Question, StoredObject, StoredPolicy, World
from modelramp.api.durations import parse_duration
from modelramp.ports import Ref
from modelramp.reconcile import Reconciler, TurnFailedError
from modelramp.rollout.actions import RunRehearsal
from modelramp.rollout.durations import text
from modelramp.rollout.gates.spec import NO_GATES, Gates, MetricGate, RollbackGate, StagingGate
from modelramp.rollout.guardrails import due
from modelramp.rollout.observation import Metric, ModelVersion, NoData, Reading, Rehearsal, Replay, TrainingRun, Value
from modelramp.rollout.rulebook import Floor, PromotionPolicy, RampFloor
from modelramp.rollout.signature import Field, Plain, Signature
from modelramp.rollout.spec import Bounds, FailureLimit, Guardrail, OnNoData, Plan, Policy, Serving, Shadow, Spec, Step
from modelramp.rollout.status import Pin, Status
from modelramp.rollout.turn import watched
from modelramp.sampling import InlineSampler

REF = Ref("shop", "fraud")
ERRORS = Guardrail(
    "errors",
    'sum(rate(errors{version={{version}}}[{{window}}])) # "shop_fraud-v0"',
    Bounds(max=0.05),
    interval=timedelta(minutes=1),
    failure_limit=FailureLimit(2),
    no_data_deadline=timedelta(minutes=5),
)
HOUR = timedelta(hours=1)
PLAN = Plan(
    gates=Gates((MetricGate("auc", min=0.9, max_drop=0.01),)),
    shadow=Shadow(100, timedelta(hours=24), 10_000),
    steps=(Step(1, HOUR, 2000), Step(10, HOUR), Step(50, 2 * HOUR), Step(100, HOUR)),
    guardrails=(ERRORS,),
)
STAGING = StagingGate(
    p50=timedelta(milliseconds=20), p99=timedelta(milliseconds=50), memory=512 * 2**20, deadline=timedelta(minutes=10)
)
STAGINGS = {"yes": STAGING, "no": None, "brief": replace(STAGING, deadline=timedelta(seconds=10))}
MOST_TURNS = 5000


@dataclass
class Player:
    """A world, the operator's loop on it, and the story so far."""

    world: World = field(default_factory=World)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    story: list[str] = field(default_factory=list)
    errors: dict[str, Callable[[Question], Reading[float]]] = field(default_factory=dict)
    is_up: bool = True
    look_at: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        self.world.measure = lambda asked: self.errors.get(asked.version, lambda _: Value(0.0))(asked)
        self.restart()

    def play(self, command: str) -> None:
        """Do one line of a script."""
        verb, *args = shlex.split(command, comments=True)
        getattr(self, f"do_{verb.replace('-', '_')}")(*args)

    def restart(self) -> None:
        ports = ports_on(self.world)
        self.sampler = InlineSampler(ports.metrics, ports.clock)
        self.reconciler = Reconciler(ports, self.sampler)

    # ------------------------------------------------------------------ commands
    def do_register(self, version: str, *facts: str) -> None:
        known = dict(fact.split("=") for fact in facts if "=" in fact)
        auc = () if "auc" not in known else (Metric("auc", float(known["auc"]), "holdout@1"),)
        signature = None if "no-signature" in facts else Signature((Field("amount", Plain("double")),))
        identity = ("fraud", version, f"run{version}", f"models:/m-{version}", "1", "READY", f"sha256:{version}")
        model = ModelVersion(*identity, signature, auc, run=TrainingRun(f"run{version}"))
        self.world.register(model)

    def do_create(self, version: str) -> None:
        self.world.create(REF, Spec("fraud", version, Serving(keep_warm=1), PLAN, fingerprint=f"1:{version}"))

    def do_pin(self, version: str) -> None:
        self._edit(version=version, fingerprint=f"1:{version}")

    def do_set(self, assignment: str) -> None:
        """Set one field of the spec; the table says which."""
        key, value = assignment.split("=")
        spec = self.object.spec
        changes: dict[str, Callable[[], dict[str, object]]] = {
            "paused": lambda: {"paused": value == "true"},
            "abort": lambda: {"abort": value},
            "approve": lambda: {"approve": value},
            "retry": lambda: {"retry": value, "fingerprint": f"1:{spec.version}:{value}"},
            "policy": lambda: {"policy": Policy(value, HOUR), "fingerprint": f"1:{spec.version}:{value}"},
            "shadow": lambda: {"plan": replace(spec.plan, shadow=None)},
            "steps": lambda: {"plan": replace(spec.plan, steps=tuple(Step(int(w), HOUR) for w in value.split(",")))},
            "approval": lambda: {"plan": replace(spec.plan, steps=_with_approval(spec.plan.steps, int(value)))},
            "staging": lambda: {"plan": _with_gates(spec.plan, staging=STAGINGS[value])},
            "rollback": lambda: {"plan": _with_gates(spec.plan, rollback=RollbackGate())},
            "rehearsed-within": lambda: {"plan": _with_gates(spec.plan, rollback=_rehearsed_within(value))},
            "drill": lambda: {"drill": value},
            "keep-warm": lambda: {"serving": replace(spec.serving, keep_warm=int(value))},
            "on-no-data": lambda: {"plan": _silence_means(spec.plan, OnNoData(value))},
        }
        self._edit(**changes[key]())

    def do_policy(self, name: str, digest: str, *against: str) -> None:
        """Write the rules: `problem=…` makes them none, `refused=…` is what the pods have against them."""
        self.world.policies[name] = StoredPolicy(digest, **dict(said.split("=", 1) for said in against))

    def do_floor(self, name: str, *asked: str) -> None:
        """Write a PromotionPolicy for everything, such as `shadow=26h first-step=1 hold=2h staging=300 guardrail=x`."""
        known = dict(each.split("=") for each in asked)
        shadow, hold = parse_duration(known["shadow"]), parse_duration(known["hold"])
        assert shadow is not None
        assert hold is not None
        floor = Floor(
            replace(NO_GATES, staging=StagingGate(requests=int(known["staging"]))),
            Shadow(percent=0, duration=shadow),
            RampFloor(int(known["first-step"]), hold),
            (replace(ERRORS, name=known["guardrail"]),),
        )
        self.world.floors = (PromotionPolicy(name, floor=floor),)

    def do_delete(self) -> None:
        self.world.delete(REF)

    def do_lose(self, what: str) -> None:
        """Empty a part of the object, as a restored backup does."""
        assert what == "status", what
        self.object.status, self.object.version = Status(), self.object.version + 1

    def do_errors(self, version: str, share: str, *condition: str) -> None:
        """Let a version fail that share of its requests; `from 10` says from which weight on."""
        floor = int(condition[1]) if condition else -1
        answer: Reading[float] = Value(float(share)) if share != "none" else NoData("EmptyResult", "no such series")
        self.errors[version] = lambda asked: answer if asked.weight >= floor else Value(0.0)

    def do_away(self, what: str) -> None:
        self.world.away.add(what)

    def do_back(self, what: str) -> None:
        self.world.away.discard(what)

    def do_answers(self, version: str, *facts: str) -> None:
        """Script how a version answers a rehearsal: `p99=0.2`, `answered=150`, `memory=none`."""
        before, known = self.world.rehearse, dict(fact.split("=") for fact in facts if "=" in fact)
        changes = {name: _figure(name, value) for name, value in known.items()}

        def changed(replay: Replay | None, pin: Pin | None) -> Replay | None:
            return replace(replay, **changes) if replay and pin and pin.version == version else replay  # type: ignore[arg-type]

        def rehearse(wanted: RunRehearsal) -> Rehearsal:
            found = before(wanted)
            candidate = changed(found.candidate, wanted.candidate)
            return replace(found, candidate=candidate, fallback=changed(found.fallback, wanted.fallback))

        self.world.rehearse = rehearse

    def do_rehearsals(self, fate: str) -> None:
        self.world.rehearsed_after = None if fate == "never" else timedelta(seconds=20)

    def do_pods(self, version: str, fate: str) -> None:
        before = self.world.ready_after
        delay = None if fate == "never" else timedelta(0)
        self.world.ready_after = lambda asked: delay if asked == version else before(asked)

    def do_hand(self, *shares: str) -> None:
        """Write the route's numbers as a person does."""
        weights = {version.removeprefix("v"): int(weight) for version, weight in (share.split("=") for share in shares)}
        self.world.shift_by_hand(REF, weights)

    def do_operator(self, state: str) -> None:
        self.is_up = state != "down"
        if state != "down":
            self.restart()

    def do_run(self, duration: str) -> None:
        """Let time pass; the operator takes its turns when it asked to."""
        parsed = parse_duration(duration)
        assert parsed is not None, duration
        until = self.world.now + parsed
        for _ in range(MOST_TURNS):
            ahead = self._turn() if self.is_up else None
            left = until - self.world.now
            if left <= timedelta(0):
                return
            self.world.advance(min(left, left if ahead is None else max(ahead, timedelta(milliseconds=100))))
        raise AssertionError(f"more than {MOST_TURNS} turns")

    # ------------------------------------------------------------------ inside
    @property
    def object(self) -> StoredObject:
        return self.world.objects[REF]

    def _edit(self, **changes: object) -> None:
        self.world.edit(REF, replace(self.object.spec, **changes))  # type: ignore[arg-type]

    def _turn(self) -> timedelta | None:
        before, events, writes = self._stand(), len(self.world.events), len(self.world.writes)
        try:
            ahead = self.loop.run_until_complete(self.reconciler.turn(REF))
        except TurnFailedError as fault:
            self._say(f"! {fault}")
            ahead = timedelta(seconds=5)
        for write in self.world.writes[writes:]:
            if not write.startswith("remember"):
                self._say(f"  {write}")
        for _, _, event in self.world.events[events:]:
            self._say(f"  event {event.reason}: {event.message}")
        if self._stand() != before:
            self._say(self._stand())
        return self._nearest(ahead)

    def _stand(self) -> str:
        if REF not in self.world.objects:
            return "gone"
        status = self.object.status
        stable = f"v{status.stable.version}" if status.stable else "none"
        candidate = f", candidate v{status.candidate.version} {status.weight} %" if status.candidate else ""
        where = f" {status.step}" if status.step else ""
        return f"{status.phase.value}{where}: stable {stable}{candidate}; {status.reason}: {status.message}"

    def _nearest(self, ahead: timedelta | None) -> timedelta | None:
        if REF not in self.world.objects:
            return None
        spec, status = self.object.spec, self.object.status
        known = self.reconciler.evidence(REF)
        dues = [due(rail, known.of(rail.name), self.world.now) for rail in watched(spec, status)]
        return min([*dues, *self._results(), *([] if ahead is None else [ahead])], default=None)

    def _results(self) -> Iterator[timedelta]:
        """Yield when each rehearsal ends: its pod's own end wakes the loop, as a watch does."""
        takes = self.world.rehearsed_after
        for begun in self.world.rehearsals.get(REF, {}).values():
            if takes is not None and (left := begun.started_at + takes - self.world.now) > timedelta(0):
                yield left

    def _say(self, words: str) -> None:
        line = f"{text(self.world.now - BEGINNING):>12}  {words}".rstrip()
        if not self.story or self.story[-1] != line:
            self.story.append(line)


def _with_approval(steps: tuple[Step, ...], weight: int) -> tuple[Step, ...]:
    return tuple(replace(step, approval=step.weight == weight) for step in steps)


def _figure(name: str, value: str) -> float | None:
    if value == "none":
        return None
    return float(value) if name.startswith("p") else int(value)


def _rehearsed_within(duration: str) -> RollbackGate:
    return RollbackGate(rehearsed_within=parse_duration(duration))


def _with_gates(plan: Plan, **gates: StagingGate | RollbackGate | None) -> Plan:
    return replace(plan, gates=replace(plan.gates, **gates))  # type: ignore[arg-type]


def _silence_means(plan: Plan, what: OnNoData) -> Plan:
    return replace(plan, guardrails=(replace(ERRORS, on_no_data=what),))


def blocks(script: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each block's text before its `----` and the commands in it."""
    for block in script.strip("\n").split("\n\n"):
        head = block.split("\n----")[0]
        yield head, [line for line in head.splitlines() if line.strip() and not line.startswith("#")]


def perform(script: str) -> str:
    """Return the script with the story that it leads to now."""
    player, told = Player(), []
    for head, commands in blocks(script):
        start = len(player.story)
        for command in commands:
            player.play(command)
        told.append("\n".join(itertools.chain([head], ["----"] if commands else [], player.story[start:])))
    player.loop.close()
    return "\n\n".join(told) + "\n"
