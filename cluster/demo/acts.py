"""The story, act by act. Each plays, waits for what must come about, and checks what it says."""

import time

from cluster.demo import checks
from cluster.demo.names import (
    BREAKS_AT,
    MODEL,
    MOVED_WITHIN,
    NEW_CATEGORY,
    OBJECT,
    RATE,
    ROLLED_BACK_WITHIN,
    TRAFFIC,
)
from cluster.demo.observed import departure, rollback
from cluster.demo.stage import Stage
from cluster.demo.summary import Way
from cluster.settings import REPOSITORY

QUIET = 2.0  # seconds of watching after each decision: what goes on would show


def play(stage: Stage) -> None:
    """Play everything. Raises NotSeenError when something does not come about in time."""
    first_version(stage)
    promotion(stage)
    breach(stage)
    back_by_the_pin(stage)
    back_without_an_operator(stage)
    operator_returns(stage)
    whole(stage)


def first_version(stage: Stage) -> None:
    """Apply the object for v1; requests begin once it serves, and never stop again."""
    with stage.act("v1, the first version", "Nothing to compare with: gates, pods, 100 %."):
        stage.await_registered("1")
        stage.kubectl("apply", "-f", str(OBJECT.relative_to(REPOSITORY)))
        stage.until("version 1 is stable", lambda: stage.is_promoted("1"), 120)
        stage.until("the object is ready", lambda: checks.is_ready(stage))
        stage.until("a request is answered", stage.load.gets_through)
        stage.load.send(RATE)
        stage.until("requests are answered", lambda: stage.all_from("1"))
        stage.keep_looking(QUIET)
        checks.no_failures(stage, stage.answers(0))
        stage.check("every answer is v1's", {answer.version for answer in stage.answers(0)} == {"1"})


def promotion(stage: Stage) -> None:
    """Pin v2, and see it through."""
    with stage.act("v2, promoted", "Gates, a shadow of every request, then 1, 10, 50, 100 % of them."):
        stage.await_registered("3")
        began, there = time.time(), stage.load.now()
        stage.pin("2")
        stage.until("version 2 is stable", lambda: stage.is_promoted("2"), 180)
        stage.until("all answers are version 2's", lambda: stage.all_from("2"))
        checks.gates(stage, "2")
        checks.shadow(stage, "2", began)
        checks.steps(stage, "2", began, (1, 10, 50, 100))
        checks.observed_shares(stage, "2", began)
        checks.no_failures(stage, stage.answers(there))


def breach(stage: Stage) -> None:
    """Pin v3, let the world change in mid-ramp, and see traffic go back by itself."""
    with stage.act(
        "v3, rolled back by itself", "Better on every row of the past. Then a new merchant category appears."
    ):
        began, there = time.time(), stage.load.now()
        stage.pin("3")
        stage.until(f"v3 has {BREAKS_AT} %", lambda: checks.settled_at(stage, BREAKS_AT), 180)
        checks.gates(stage, "3")
        checks.shadow(stage, "3", began)
        stage.load.bring_new_category(NEW_CATEGORY)
        stage.screen.line(f"  from now on {NEW_CATEGORY:.0%} of the transactions are in a category that is new")
        stage.until("the rollback", lambda: stage.status.get("phase") == "RolledBack")
        stage.until("all answers are version 2's", lambda: stage.all_from("2"))
        stage.keep_looking(QUIET)
        checks.rolled_back(stage, "3", "2", began)
        failures = [answer for answer in stage.answers(there) if answer.failed]
        stage.check("only v3 failed", {answer.version for answer in failures} == {"3"}, f"{len(failures)} bad answers")
        gone = rollback(stage.answers(there), "3")
        if gone:
            stage.ways.append(Way("by itself", "3", "first bad answer", gone))
        seen = f"{gone.seconds:.2f} s, {gone.served} answers" if gone else "no bad answer"
        within = f"within {ROLLED_BACK_WITHIN:.0f} s of its first bad answer v3 gave its last"
        stage.check(within, gone is not None and gone.seconds <= ROLLED_BACK_WITHIN, seen)


def back_by_the_pin(stage: Stage) -> None:
    """Patch the pin to v1, which is warm."""
    with stage.act("back to v1 by the pin", "It was stable and is kept warm: one write, no gates, no ramp."):
        began, there = time.time(), stage.load.now()
        stage.pin("1")
        stage.until("version 1 is stable", lambda: stage.is_promoted("1"))
        stage.until("all answers are version 1's", lambda: stage.all_from("1"))
        stage.keep_looking(QUIET)
        _left(stage, "patch mdep", "2", there)
        routes = stage.routes(began)
        stage.check("one write moved it all", routes == [{"weight.v2": "100"}, {"weight.v1": "100"}], str(routes))
        checks.no_failures(stage, stage.answers(there))


def back_without_an_operator(stage: Stage) -> None:
    """Scale the operator away, and move traffic with one patch of the ConfigMap."""
    with stage.act("back to v2 with no operator", "The router follows its ConfigMap itself."):
        stage.scale_operator(0)
        stage.until("no operator pod is left", lambda: not stage.operators(), 60)
        there = stage.load.now()
        patch = '{"data":{"weight.v1":"0","weight.v2":"100"}}'
        stage.kubectl("patch", "configmap", TRAFFIC, "--type", "merge", "--patch", patch)
        stage.until("all answers are version 2's", lambda: stage.all_from("2"))
        stage.keep_looking(QUIET)
        _left(stage, "patch configmap", "1", there)
        stage.check("no operator was there", not stage.operators(), f"{stage.operators()} pods")
        stage.check("the object still says v1", stage.is_promoted("1"))
        checks.no_failures(stage, stage.answers(there))


def operator_returns(stage: Stage) -> None:
    """Start the operator again; it adopts what was decided without it."""
    with stage.act("the operator returns", "It finds v2 at 100 % where it left v1, and keeps that decision."):
        began, there = time.time(), stage.load.now()
        stage.scale_operator(2)
        stage.until("the operator has adopted it", lambda: stage.status.get("phase") == "RolledBack", 90)
        stage.until("it leads and is at rest", lambda: checks.at_rest(stage), 60)
        stage.keep_looking(3.0)
        checks.adopted(stage, "2", began)
        answers = stage.answers(there)
        stage.check("every answer is still v2's", {answer.version for answer in answers} == {"2"})
        checks.no_failures(stage, answers)
        stage.kubectl("get", "mdep", MODEL)


def whole(stage: Stage) -> None:
    """Check what must be true of all of it."""
    stage.screen.act("the whole", "What must hold from the first request to the last.")
    checks.nothing_refused(stage)
    answers = stage.answers(0)
    wrong = [answer for answer in answers if answer.failed and answer.version != "3"]
    stage.check("no client ever saw a failure but v3's", not wrong, f"{len(answers)} requests")


def _left(stage: Stage, way: str, version: str, began: float) -> None:
    """Check how fast a version lost its traffic after a decision by hand."""
    gone = departure(stage.answers(began), version, began)
    stage.ways.append(Way(way, version, "command", gone))
    says = f"traffic left v{version} within {MOVED_WITHIN:.0f} s of the command"
    stage.check(says, gone.seconds <= MOVED_WITHIN, f"{gone.seconds:.2f} s, kubectl's own time included")
