"""The rehearsal as the process that its Job runs, against a real model server, its result judged as in a turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelramp.adapters.rehearsals import read_result
from modelramp.rollout import staging
from modelramp.rollout.gates.spec import Gates, RollbackGate, StagingGate
from modelramp.rollout.guardrails import Evidence
from modelramp.rollout.observation import Observation, Rehearsal, Value, Workload
from modelramp.rollout.spec import Plan, Spec
from modelramp.rollout.status import Attempt, AttemptKind, GateResult, Phase, Pin, Status
from modelramp.rollout.turn import Turn
from modelramp_runtime.rehearsal import PayloadError, nearest_rank, read_payloads
from tests.runtime.conftest import Fraud
from tests.runtime.serving import Served, awaited, free_port, is_ready, start

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEBIBYTE = 2**20
ROW = {"amount": 20.5, "age": 40, "visits": 3, "country": "FR", "vip": False}
GOOD = {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())]}}


@dataclass(frozen=True)
class Ended:
    """What a container left when it ended."""

    status: int
    message: str

    @property
    def told(self) -> dict[str, Any]:
        assert self.status == 0, self.message
        found: dict[str, Any] = json.loads(self.message)
        return found

    @property
    def result(self) -> Rehearsal:
        assert len(self.message.encode()) <= 4096
        return read_result(self.message)


@pytest.fixture(scope="module")
def server(fraud: Fraud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give a model server in a process of its own, as a pod has one."""
    served = start(fraud.directory, tmp_path_factory.mktemp("rehearsal") / "log")
    awaited(lambda: is_ready(served), "the server is ready", 120)
    yield served
    assert served.process is not None
    served.process.terminate()
    served.process.wait(20)


def rehearse(directory: Path, **variables: str) -> Ended:
    log = directory / "termination-log"
    log.touch()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "PYTHONPATH": str(Path(__file__).parents[2] / "operator"),
        "TERMINATION_LOG": str(log),
        "REHEARSAL_DEADLINE_SECONDS": "60",
        **variables,
    }
    command = [sys.executable, "-m", "modelramp_runtime.rehearsal"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    return Ended(ran.returncode, log.read_text())


def candidate(port: int, payloads: Path, **more: str) -> dict[str, str]:
    return {"CANDIDATE_URL": f"http://127.0.0.1:{port}", "CANDIDATE_PAYLOADS": str(payloads), **more}


def judged(result: Rehearsal, gate: StagingGate, rollback: RollbackGate | None = None) -> dict[str, GateResult]:
    """Judge a result as the operator does in a turn."""
    plan = Plan(Gates(staging=gate, rollback=rollback))
    attempt = Attempt("8-abc", "8", AttemptKind.FRESH, "", plan, NOW, NOW)
    status = Status(Phase.STAGING, stable=Pin("7"), candidate=Pin("8"), attempt=attempt)
    seen = Observation(NOW, workloads=Value({"7": Workload("7", 1, 1)}), rehearsals=Value({"8-abc": result}))
    results = staging.judge(Turn(Spec("fraud", "8", plan=plan), status, seen, Evidence()), attempt)
    assert not isinstance(results, staging.Waits)
    return {each.gate: each for each in results}


@pytest.mark.server
class TestAgainstAModelServer:
    def test_the_input_example_is_replayed_and_every_bound_has_its_figure(
        self, server: Served, fraud: Fraud, tmp_path: Path
    ) -> None:
        before = server.metric("modelramp_requests_total", arm="staging", code="200")
        ended = rehearse(tmp_path, **candidate(server.port, fraud.directory, REHEARSAL_REQUESTS="120"))
        assert server.metric("modelramp_requests_total", arm="staging", code="200") == before + 120
        assert server.metric("modelramp_requests_total", arm="live") == 0
        replay = ended.result.candidate
        assert replay is not None
        assert replay.answered == 120
        assert replay.p50 is not None
        assert replay.p95 is not None
        assert replay.p99 is not None
        assert 0 < replay.p50 <= replay.p95 <= replay.p99 < 30
        assert replay.memory is not None
        assert 20 * MEBIBYTE < replay.memory < 2000 * MEBIBYTE
        generous = timedelta(seconds=30)
        gate = StagingGate(120, p50=generous, p95=generous, p99=generous, memory=2000 * MEBIBYTE)
        results = judged(ended.result, gate)
        assert set(results) == {"staging:errorRate", "staging:p50", "staging:p95", "staging:p99", "staging:memory"}
        assert all(each.passed for each in results.values()), results

    def test_what_is_slow_or_large_is_refused_with_its_figure(
        self, server: Served, fraud: Fraud, tmp_path: Path
    ) -> None:
        ended = rehearse(tmp_path, **candidate(server.port, fraud.directory, REHEARSAL_REQUESTS="20"))
        at_once = StagingGate(20, p99=timedelta(milliseconds=0.001), memory=MEBIBYTE)
        results = judged(ended.result, at_once)
        assert (results["staging:p99"].passed, results["staging:p99"].reason) == (False, "StagingSlow")
        assert (results["staging:memory"].passed, results["staging:memory"].reason) == (False, "StagingTooLarge")
        assert results["staging:errorRate"].passed

    def test_requests_of_a_dataset_that_the_model_refuses_count_as_errors_and_are_not_quoted(
        self, server: Served, tmp_path: Path
    ) -> None:
        bad = {"dataframe_split": {"columns": ["amount"], "data": [["a secret"]]}}
        dataset = tmp_path / "requests.jsonl"
        dataset.write_text("\n".join(json.dumps(body) for body in (GOOD, GOOD, GOOD, bad)))
        ended = rehearse(tmp_path, **candidate(server.port, dataset, REHEARSAL_REQUESTS="40"))
        assert ended.told["candidate"]["answered"] == 30
        assert "10 × status 400" in ended.told["candidate"]["complaint"]
        assert "secret" not in ended.message
        assert not judged(ended.result, StagingGate(40))["staging:errorRate"].passed
        assert judged(ended.result, StagingGate(40, error_rate=0.25))["staging:errorRate"].passed

    def test_the_version_to_fall_back_to_is_asked_for_one_prediction(
        self, server: Served, fraud: Fraud, tmp_path: Path
    ) -> None:
        before = server.metric("modelramp_requests_total", arm="staging", code="200")
        other = {"FALLBACK_URL": f"http://127.0.0.1:{server.port}", "FALLBACK_PAYLOADS": str(fraud.directory)}
        ended = rehearse(tmp_path, **other)
        assert server.metric("modelramp_requests_total", arm="staging", code="200") == before + 1
        assert "candidate" not in ended.told
        assert judged(ended.result, StagingGate(), RollbackGate())["rollback"].reason == "FallbackAnswers"

    def test_one_that_does_not_answer_is_a_result_too(self, server: Served, fraud: Fraud, tmp_path: Path) -> None:
        silent = {"FALLBACK_URL": f"http://127.0.0.1:{free_port()}", "FALLBACK_PAYLOADS": str(fraud.directory)}
        of_candidate = candidate(server.port, fraud.directory, REHEARSAL_REQUESTS="10")
        ended = rehearse(tmp_path, **of_candidate, **silent, REHEARSAL_DEADLINE_SECONDS="12")
        results = judged(ended.result, StagingGate(10), RollbackGate())
        assert results["staging:errorRate"].passed
        assert (results["rollback"].passed, results["rollback"].reason) == (False, "FallbackSilent")
        assert "was not reached: ConnectionRefusedError" in results["rollback"].message


class TestWithoutAServer:
    def test_a_candidate_that_is_never_reached_has_answered_nothing(self, fraud: Fraud, tmp_path: Path) -> None:
        ended = rehearse(tmp_path, **candidate(free_port(), fraud.directory), REHEARSAL_DEADLINE_SECONDS="1")
        assert ended.told["candidate"]["answered"] == 0
        results = judged(ended.result, StagingGate(p99=timedelta(seconds=1)))
        assert not any(each.passed for each in results.values())
        assert "was not reached" in results["staging:errorRate"].message

    def test_without_an_input_example_the_gate_has_no_data_and_fails(self, price: Path, tmp_path: Path) -> None:
        ended = rehearse(tmp_path, **candidate(free_port(), price))
        results = judged(ended.result, StagingGate())
        assert [(each.passed, each.reason) for each in results.values()] == [(False, "NoResult")]
        assert "no input example was logged with the model" in results["staging"].message

    @pytest.mark.parametrize(
        ("variables", "said"),
        [
            (
                {"CANDIDATE_URL": "https://x", "CANDIDATE_PAYLOADS": "/x"},
                "CANDIDATE_URL='https://x': must be http://HOST",
            ),
            ({"CANDIDATE_URL": "http://x"}, "CANDIDATE_PAYLOADS is not set"),
            ({"REHEARSAL_REQUESTS": "0"}, "REHEARSAL_REQUESTS='0': must be a whole number from 1"),
        ],
    )
    def test_a_bad_variable_is_named_and_no_result(self, tmp_path: Path, variables: dict[str, str], said: str) -> None:
        ended = rehearse(tmp_path, **variables)
        assert ended.status == 1
        assert said in ended.message
        assert read_result(ended.message).problem.startswith("its result cannot be read")

    @pytest.mark.parametrize(
        ("content", "count"), [('[{"a": 1}, {"b": 2}]', 2), ('{"a": 1}', 1), ('{"a": 1}\n\n{"b": 2}\n{"c": 3}\n', 3)]
    )
    def test_a_dataset_is_a_list_or_one_body_a_line(self, tmp_path: Path, content: str, count: int) -> None:
        (tmp_path / "data").write_text(content)
        assert len(read_payloads(tmp_path / "data")) == count

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ('{"a": 1}\n{"b": secret}\n', "line 2 of the dataset is not JSON"),
            ("[1, 2]", "must hold JSON objects"),
            ("", "must hold JSON objects"),
            ("[]", "must hold JSON objects"),
        ],
    )
    def test_one_that_is_none_says_where(self, tmp_path: Path, content: str, said: str) -> None:
        (tmp_path / "data").write_text(content)
        with pytest.raises(PayloadError, match=said) as raised:
            read_payloads(tmp_path / "data")
        assert "secret" not in str(raised.value)

    def test_a_key_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(PayloadError, match=r"its key 'requests.jsonl', is not there"):
            read_payloads(tmp_path / "requests.jsonl")


def test_percentiles_are_values_that_were_seen() -> None:
    assert nearest_rank([], 99) is None
    assert nearest_rank([0.5], 50) == 0.5
    hundred = [number / 1000 for number in range(1, 101)]
    assert [nearest_rank(hundred, percent) for percent in (50, 95, 99)] == [0.05, 0.095, 0.099]
    assert nearest_rank(hundred[:10], 99) == 0.01
