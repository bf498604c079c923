"""What the acts check: the object's own story against what the clients saw."""

from collections.abc import Sequence

from cluster.demo.observed import Answer, between, fits
from cluster.demo.stage import Stage
from cluster.demo.watching import Object, Sight

EDGE = 0.25  # seconds at both ends of a step that are left out: two clocks, and a watch that tells a little late
Stay = tuple[int, float, float]
"""A step of the ramp: its percent, and from when to when it was seen in effect, by the load generator's clock."""


def no_failures(stage: Stage, answers: Sequence[Answer]) -> None:
    """Check that every client got its answer."""
    failed = [answer for answer in answers if answer.failed]
    seen = f"{len(answers)} requests, {len(failed)} failed"
    if failed:
        seen += f", such as {failed[0].fault or f'status {failed[0].status} of v{failed[0].version}'}"
    stage.check("no request failed", bool(answers) and not failed, seen)


def gates(stage: Stage, version: str) -> None:
    """Check that the attempt passed its gates, by the evidence that the object holds."""
    attempt = stage.status.get("attempt") or {}
    results = attempt.get("gates") or []
    passed = attempt.get("version") == version and bool(results) and all(gate["passed"] for gate in results)
    stage.check(f"v{version} passed every gate", passed, ", ".join(gate["gate"] for gate in results))


def shadow(stage: Stage, version: str, since: float) -> None:
    """Check that the version got copies while no client got its answers."""
    shadowed = [sight.at for sight in stage.statuses(since) if sight.object.get("phase") == "Shadowing"]
    ramping = [sight.at for sight in stage.statuses(since) if sight.object.get("phase") == "Ramping"]
    if not shadowed or not ramping:
        stage.check(f"v{version} was shadowed before its ramp", False, "no such phase was seen")
        return
    copies = stage.ask(f'sum(modelramp_requests_total{{version="{version}",arm="shadow"}})') or 0
    meanwhile = between(stage.load.answers, stage.load.as_there(shadowed[0]), stage.load.as_there(ramping[0]))
    shown = sum(answer.version == version for answer in meanwhile)
    says = f"v{version} answered copies in the shadow, and no client"
    stage.check(says, copies > 0 and not shown, f"{copies:.0f} copies beside {len(meanwhile)} requests")


def steps(stage: Stage, version: str, since: float, wanted: tuple[int, ...]) -> None:
    """Check that the ramp went up step by step, as the stored route shows."""
    weights = [int(route.get(f"weight.v{version}", "0")) for route in stage.routes(since)]
    seen = tuple(dict.fromkeys(weight for weight in weights if weight))
    stage.check(f"v{version} went {' → '.join(map(str, wanted))} %", seen == wanted, str(seen))


def stays(statuses: Sequence[Sight], ahead: float = 0.0) -> list[Stay]:
    """Return the steps of a ramp: each from when it was seen in effect until the status moved on."""
    found: list[Stay] = []
    here, since = 0, 0.0
    for sight in statuses:
        weight = _weight_in_effect(sight.object)
        if here and weight != here:
            found.append((here, since + ahead, sight.at + ahead))
        if weight != here:
            here, since = weight, sight.at
    return [*found, (here, since + ahead, statuses[-1].at + ahead)] if here else found


def _weight_in_effect(status: Object) -> int:
    settled = status.get("phase") == "Ramping" and "settledAt" in (status.get("attempt") or {})
    return int(status.get("weight") or 0) if settled else 0


def observed_shares(stage: Stage, version: str, since: float) -> None:
    """Check that at each step the version had its share of the answers, within what chance allows."""
    good, seen = True, []
    for weight, begin, end in stays(stage.statuses(since), stage.load.as_there(0.0)):
        answers = [each for each in stage.load.answers if begin + EDGE <= each.sent_at < end - EDGE]
        hits = sum(answer.version == version for answer in answers)
        good &= bool(answers) and fits(hits, len(answers), weight)
        seen.append(f"{weight} %: {hits} of {len(answers)}")
    stage.check("the clients saw the share of each step", good and bool(seen), ", ".join(seen))


def settled_at(stage: Stage, weight: int) -> bool:
    """Tell whether the ramp is at a step, and the routers are."""
    found = stays([Sight(0.0, stage.status)])
    return bool(found) and found[0][0] == weight


def is_ready(stage: Stage) -> bool:
    """Tell whether the object says that its route is in effect."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in stage.status.get("conditions") or ())


def rolled_back(stage: Stage, version: str, to: str, since: float) -> None:
    """Check that the object says so, why, and that it will not try again."""
    status = stage.status
    says = f"v{version} was rolled back by a guardrail, v{to} is stable"
    good = status.get("reason") == "GuardrailFailed" and (status.get("stable") or {}).get("version") == to
    stage.check(says, good, str(status.get("message")))
    stage.check("an Event says so", any(event.startswith("RolledBack: ") for event in stage.told()))
    rejected = [each["version"] for each in status.get("rejected") or ()]
    stage.check(f"v{version} is remembered as rejected", version in rejected)
    last = (stage.routes(since) or [{}])[-1]
    stage.check(f"the stored route says v{to} 100 %", last == {f"weight.v{to}": "100"}, str(last))


def adopted(stage: Stage, version: str, since: float) -> None:
    """Check that the operator took over what was decided without it, and moved nothing."""
    status, routes = stage.status, stage.routes(since)
    stable, reason = (status.get("stable") or {}).get("version"), status.get("reason")
    stage.check(f"the object says v{version} is stable", stable == version, f"{reason}: {status.get('message')}")
    stage.check("the reason is a rollback by hand", reason == "ManualRollback", str(reason))
    stage.check("the operator did not touch the split", routes == [{f"weight.v{version}": "100"}], str(routes))


def at_rest(stage: Stage) -> bool:
    """Tell whether the object's conditions say that traffic is where it belongs."""
    found: list[Object] = stage.status.get("conditions") or []
    return any((each["type"], each["status"]) == ("TrafficConverged", "True") for each in found)


def nothing_refused(stage: Stage) -> None:
    """Check that the chart gives the operator and the routers every right that they use."""
    query = 'sum(max_over_time(modelramp_api_requests_total{code=~"401|403"}[1h])) or vector(0)'
    refused, asked = stage.ask(query), stage.ask("sum(max_over_time(modelramp_api_requests_total[1h]))")
    says = "the API server never refused the operator a right"
    stage.check(says, refused == 0 and bool(asked), f"{asked or 0:.0f} requests to it")
