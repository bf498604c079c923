"""The story on a real MLflow server: every record there once, aliases that follow, and nothing of others touched."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from modelramp.adapters.journal import FORMAT, Aliases, MlflowJournal, Pace
from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.adapters.mlflow_story import Kept, MlflowStory
from modelramp.adapters.pins import PinWatch
from modelramp.lease import AlwaysHeld
from modelramp.ports import Ref, Rollout
from modelramp.rollout.actions import Post
from modelramp.rollout.observation import Busy, Entry, Failed, NoData, Posted, Value
from modelramp.rollout.spec import Spec
from modelramp.rollout.status import Finding, Pin, Record, Status, VerdictKind
from tests.adapters.asking import resolved
from tests.adapters.impostors import answer, impostor
from tests.mlflow_server import MlflowServer, Registered, mlflow_client, register

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.server]
REF = Ref("shop", "fraud")
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
LATEST = 60.0
WOKEN = asyncio.Event()
"""Set when a journal has written, or tried."""


@asynccontextmanager
async def keeping(uri: str) -> AsyncIterator[MlflowJournal]:
    """Yield a journal with a worker of its own."""
    registry = MlflowRegistry(uri, deadline=5)
    journal = MlflowJournal(registry.worker, AlwaysHeld(), lambda _: WOKEN.set(), Aliases(), Pace(again=0.2))
    yield journal
    await journal.close()
    await registry.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def journal(mlflow_server: MlflowServer) -> AsyncIterator[MlflowJournal]:
    async with keeping(mlflow_server.uri) as kept:
        yield kept


def recorded(version: str, event: str, minute: int = 0, pin: Pin | None = None) -> Record:
    at = NOON + timedelta(minutes=minute)
    evidence = (Finding("guardrail errors", VerdictKind.PASS, value=0.01, max=0.05, query="sum(up)", samples=3),)
    return Record(at, version, event, f"{event} {version}", f"{at:%H%M%S}-{event}", pin=pin, evidence=evidence)


def rollout(model: str, *outbox: Record, ref: Ref = REF) -> Rollout:
    return Rollout(ref, f"uid of {ref}", 1, "1", Spec(model, "1"), Status(outbox=outbox))


async def written(journal: MlflowJournal, about: Rollout, stable: str = "", candidate: str = "") -> Posted:
    """Post the outbox as the loop does, again and again until all of it is written."""
    ids = frozenset(record.id for record in about.status.outbox)
    async with asyncio.timeout(LATEST):
        while True:
            found = await attempted(journal, about, Post(about.status.outbox, stable, candidate))
            if isinstance(found, Value) and found.value.ids >= ids:
                await journal.posted(replace(about, status=Status()))
                return found.value
            await asyncio.sleep(0.1)  # as the loop looks again later


async def attempted(journal: MlflowJournal, about: Rollout, wanted: Post) -> object:
    """Post once, and return what became of it."""
    WOKEN.clear()
    await journal.post(about, wanted)
    while isinstance(found := await journal.posted(about), Busy):
        await WOKEN.wait()
        WOKEN.clear()
    return found


def files(server: MlflowServer, made: Registered, ref: Ref = REF) -> dict[str, dict[str, object]]:
    """Return the records on a version's run, by name."""
    client = mlflow_client(server)
    place = client.get_run(made.run_id).info.artifact_uri.removeprefix("mlflow-artifacts:/")
    directory: Path = server.artifacts / place / "modelramp" / ref.namespace / ref.name
    return {path.stem: json.loads(path.read_text()) for path in directory.glob("*")}


async def test_a_record_is_a_file_on_the_run_and_a_tag_of_the_version(
    mlflow_server: MlflowServer, journal: MlflowJournal
) -> None:
    made = register(mlflow_server, "kept", tags={"team": "fraud"})
    pin = Pin("1", made.run_id, "mlflow-artifacts:/x", "sha256:1")
    record = recorded("1", "StepStarted", pin=pin)
    await written(journal, rollout("kept", record))
    (document,) = files(mlflow_server, made).values()
    assert document["format"] == FORMAT
    assert document["deployment"] == {"namespace": "shop", "name": "fraud", "uid": "uid of shop/fraud"}
    assert document["evidence"] == [
        {"check": "guardrail errors", "verdict": "Pass", "value": 0.01, "max": 0.05, "samples": 3, "query": "sum(up)"}
    ]
    tags = mlflow_client(mlflow_server).get_model_version("kept", "1").tags
    assert json.loads(tags["modelramp.step-started"])["record"] == record.id
    assert tags["team"] == "fraud"


async def test_writing_again_after_a_crash_doubles_nothing_and_no_old_tag_comes_back(
    mlflow_server: MlflowServer, journal: MlflowJournal
) -> None:
    made = register(mlflow_server, "twice")
    first, second = recorded("1", "StepStarted"), recorded("1", "StepStarted", minute=1)
    await written(journal, rollout("twice", first, second))
    before = files(mlflow_server, made)
    async with keeping(mlflow_server.uri) as another:
        await written(another, rollout("twice", first))
    assert files(mlflow_server, made) == before
    assert len(before) == 2
    tags = mlflow_client(mlflow_server).get_model_version("twice", "1").tags
    assert json.loads(tags["modelramp.step-started"])["record"] == second.id


async def test_a_record_changes_no_digest(mlflow_server: MlflowServer, journal: MlflowJournal) -> None:
    register(mlflow_server, "digested")
    async with _registry(mlflow_server) as registry:
        before = (await resolved(registry, "digested")).digest
    await written(journal, rollout("digested", recorded("1", "Promoted")), stable="1")
    async with _registry(mlflow_server) as another:
        assert (await resolved(another, "digested")).digest == before


async def test_where_the_run_is_the_model_or_is_not_there_the_record_is_a_tag(
    mlflow_server: MlflowServer, journal: MlflowJournal
) -> None:
    made = register(mlflow_server, "rootless")
    root = mlflow_client(mlflow_server).get_run(made.run_id).info.artifact_uri
    record = recorded("1", "Promoted", pin=Pin("1", made.run_id, root))
    await written(journal, rollout("rootless", record))
    assert files(mlflow_server, made) == {}
    tags = mlflow_client(mlflow_server).get_model_version("rootless", "1").tags
    assert json.loads(tags[f"modelramp.record.{record.id}"])["event"] == "Promoted"


async def test_a_deleted_run_takes_no_record_that_would_go_with_it(
    mlflow_server: MlflowServer, journal: MlflowJournal
) -> None:
    made, client = register(mlflow_server, "runless"), mlflow_client(mlflow_server)
    client.delete_run(made.run_id)
    record = recorded("1", "Promoted", pin=Pin("1", made.run_id, "mlflow-artifacts:/x"))
    await written(journal, rollout("runless", record), "1")
    assert files(mlflow_server, made) == {}
    tags = client.get_model_version("runless", "1").tags
    assert json.loads(tags[f"modelramp.record.{record.id}"])["event"] == "Promoted"


async def test_no_record_leaves_for_where_a_run_s_own_address_leads(
    mlflow_server: MlflowServer, journal: MlflowJournal, tmp_path: Path
) -> None:
    with impostor() as foreign:
        places = {"elsewhere": f"{foreign.uri}/artifacts", "local": (tmp_path / "runs").as_uri()}
        for name, place in places.items():
            made = register(mlflow_server, name)
            _lead_away(mlflow_server, made, place)
            record = recorded("1", "AttemptStarted")
            await written(journal, rollout(name, record))
            tags = mlflow_client(mlflow_server).get_model_version(name, "1").tags
            assert json.loads(tags[f"modelramp.record.{record.id}"])["event"] == "AttemptStarted"
            read = await asyncio.to_thread(MlflowStory(mlflow_server.uri).records, name, REF, {})
            assert read == Value(Kept((record,)))
        assert foreign.requests == [], "the registry's credentials would go with each of them"
    assert not (tmp_path / "runs").exists()


def _lead_away(server: MlflowServer, made: Registered, place: str) -> None:
    """Give a run an artifact address that older servers take from anyone who may create an experiment."""
    with closing(sqlite3.connect(server.directory / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (place, made.run_id))


async def test_a_version_that_is_not_there_leaves_its_record_with_the_model(
    mlflow_server: MlflowServer, journal: MlflowJournal
) -> None:
    register(mlflow_server, "known")
    record = recorded("9", "AttemptStarted")
    await written(journal, rollout("known", record), candidate="9")
    model = mlflow_client(mlflow_server).get_registered_model("known")
    assert json.loads(model.tags[f"modelramp.record.{record.id}"])["version"] == "9"
    assert model.aliases == {}, "no alias leads to a version that does not exist"


async def test_a_model_that_is_not_there_holds_up_nothing(journal: MlflowJournal) -> None:
    await written(journal, rollout("unheard-of", recorded("1", "AttemptStarted")))


async def test_a_record_that_the_registry_refuses_for_good_holds_up_neither_the_others_nor_the_aliases(
    mlflow_server: MlflowServer, journal: MlflowJournal
) -> None:
    made = register(mlflow_server, "too-long")
    root = mlflow_client(mlflow_server).get_run(made.run_id).info.artifact_uri
    pin = Pin("1", made.run_id, root)  # a record that cannot be a file is a tag, and a tag's length has a bound
    told = tuple(Finding(f"gate {number}", VerdictKind.FAIL, message="x" * 1000) for number in range(150))
    refused = replace(recorded("1", "GatesFailed", 1, pin), evidence=told)
    others = recorded("1", "AttemptStarted", pin=pin), recorded("1", "Promoted", 2, pin)
    about = rollout("too-long", others[0], refused, others[1])
    found = await attempted(journal, about, Post(about.status.outbox, "1", ""))
    assert isinstance(found, Value)
    assert found.value.ids == {record.id for record in others}
    assert found.value.refused is not None
    assert found.value.refused.reason == "RegistryRefused"
    assert found.value.refused.message.startswith(f"record {refused.id}: the registry at 127.0.0.1:")
    assert "xxx" not in found.value.refused.message
    assert mlflow_client(mlflow_server).get_registered_model("too-long").aliases == {"champion": "1"}
    left, later = replace(about, status=Status(outbox=(refused,))), recorded("1", "Restored", 3, pin)
    await journal.posted(left)
    await written(journal, replace(left, status=Status(outbox=(later,))), "1")


async def test_aliases_follow_a_promotion_and_a_rollback(mlflow_server: MlflowServer, journal: MlflowJournal) -> None:
    for _ in range(2):
        register(mlflow_server, "followed")
    seen = []
    for minute, (stable, candidate) in enumerate([("", "1"), ("1", ""), ("1", "2"), ("2", ""), ("1", "")]):
        record = recorded(candidate or stable, "Moved", minute)
        await written(journal, rollout("followed", record), stable, candidate)
        seen.append(dict(mlflow_client(mlflow_server).get_registered_model("followed").aliases))
    assert seen == [
        {"challenger": "1"},
        {"champion": "1"},
        {"champion": "1", "challenger": "2"},
        {"champion": "2"},
        {"champion": "1"},
    ]


async def test_an_alias_that_somebody_else_set_is_left_alone(
    mlflow_server: MlflowServer, journal: MlflowJournal
) -> None:
    for _ in range(3):
        register(mlflow_server, "taken")
    client = mlflow_client(mlflow_server)
    client.set_registered_model_alias("taken", "best", "3")
    await written(journal, rollout("taken", recorded("1", "Promoted")), "1")
    client.set_registered_model_alias("taken", "champion", "3")
    found = await written(journal, rollout("taken", recorded("2", "Promoted", 1)), "2")
    assert found.foreign == ("champion",)
    assert client.get_registered_model("taken").aliases == {"best": "3", "champion": "3"}
    client.delete_registered_model_alias("taken", "champion")
    await written(journal, rollout("taken", recorded("1", "Returned", 2)), "1")
    assert client.get_registered_model("taken").aliases == {"best": "3", "champion": "1"}, "deleted, it is ours again"


async def test_two_deployments_of_one_model_do_not_fight_for_its_alias(
    mlflow_server: MlflowServer, journal: MlflowJournal
) -> None:
    for _ in range(2):
        register(mlflow_server, "shared")
    await written(journal, rollout("shared", recorded("1", "Promoted")), "1")
    found = await written(journal, rollout("shared", recorded("2", "Promoted", 1), ref=Ref("staging", "fraud")), "2")
    assert found.foreign == ("champion",)
    assert mlflow_client(mlflow_server).get_registered_model("shared").aliases == {"champion": "1"}


async def test_an_alias_that_a_crash_left_between_two_versions_is_still_ours(
    mlflow_server: MlflowServer, journal: MlflowJournal
) -> None:
    for _ in range(3):
        register(mlflow_server, "crashed")
    client = mlflow_client(mlflow_server)
    await written(journal, rollout("crashed", recorded("1", "Promoted")), "1")
    announced = json.dumps({"deployment": str(REF), "versions": ["1", "2"]})
    client.set_registered_model_tag("crashed", "modelramp.alias.champion", announced)  # and the alias not moved
    await written(journal, rollout("crashed", recorded("3", "Promoted", 1)), "3")
    assert client.get_registered_model("crashed").aliases == {"champion": "3"}


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (500, b"Traceback: password=hunter2", "text/plain", "RegistryError"),
        (200, b"<html>sign in</html>", "text/html", "RegistryAnswer"),
        (403, b"no", "text/plain", "RegistryDenied"),
    ],
)
async def test_a_registry_that_answers_nonsense_is_named_and_nothing_of_it_is_repeated(
    status: int, body: bytes, kind: str, reason: str
) -> None:
    with impostor() as server:
        server.behave = answer(status, body, kind)
        async with keeping(server.uri.replace("mlops:hunter2@", "")) as kept:
            about = rollout("x", recorded("1", "Promoted"))
            failed = await _failure(kept, about)
    assert failed.reason == reason
    assert "hunter2" not in failed.message
    assert "sign in" not in failed.message


async def test_a_registry_that_hangs_takes_no_time_of_a_turn_and_gets_the_record_when_it_is_back(
    mlflow_server: MlflowServer,
) -> None:
    made = register(mlflow_server, "hung")
    about = rollout("hung", recorded("1", "Promoted"))
    async with keeping(mlflow_server.uri) as kept:
        with mlflow_server.frozen():
            began = time.monotonic()
            await kept.post(about, Post(about.status.outbox, "1", ""))
            assert isinstance(await kept.posted(about), Busy)
            assert time.monotonic() - began < 0.1
            assert (await _failure(kept, about)).reason == "RegistryTimeout"
        await written(kept, about, "1")
    assert len(files(mlflow_server, made)) == 1


async def test_one_who_leads_no_more_writes_no_more(mlflow_server: MlflowServer) -> None:
    made = register(mlflow_server, "deposed")
    lease = AlwaysHeld()
    with _deposed(lease):
        registry = MlflowRegistry(mlflow_server.uri, deadline=5)
        kept = MlflowJournal(registry.worker, lease, lambda _: WOKEN.set(), Aliases())
        about = rollout("deposed", recorded("1", "Promoted"))
        said = await attempted(kept, about, Post(about.status.outbox, "1", ""))
        assert said == Value(Posted()), "nothing of it is the registry's doing"
        await registry.close()
    assert files(mlflow_server, made) == {}


@contextmanager
def _deposed(lease: AlwaysHeld) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(lease), "held", lambda _: False)
        yield


async def _failure(journal: MlflowJournal, about: Rollout) -> Failed:
    """Post, and return why it was not written."""
    async with asyncio.timeout(LATEST):
        found = await attempted(journal, about, Post(about.status.outbox, "1", ""))
    assert isinstance(found, Failed), found
    return found


@asynccontextmanager
async def _registry(server: MlflowServer) -> AsyncIterator[MlflowRegistry]:
    registry = MlflowRegistry(server.uri, deadline=20)
    yield registry
    await registry.close()


async def test_the_whole_story_is_read_back_of_this_object_alone(
    mlflow_server: MlflowServer, journal: MlflowJournal, tmp_path: Path
) -> None:
    made = [register(mlflow_server, "retold") for _ in range(2)]
    mine = [recorded("1", "Promoted", 1), recorded("2", "StepStarted", 2), recorded("9", "AttemptStarted", 3)]
    await written(journal, rollout("retold", *mine))
    await written(journal, rollout("retold", recorded("1", "Aborted", 4), ref=Ref("shop", "other")))
    client = mlflow_client(mlflow_server)
    for strange, content in {"text": b"{no json", "bytes": b"\xff\xfe", "deep": b"[" * 100_000}.items():
        (tmp_path / f"{strange}.json").write_bytes(content)
        client.log_artifact(made[0].run_id, str(tmp_path / f"{strange}.json"), "modelramp/shop/fraud")
    client.log_text(made[0].run_id, "", "modelramp/shop/fraud/directory.json/x")
    read = await asyncio.to_thread(MlflowStory(mlflow_server.uri).records, "retold", REF, {})
    assert isinstance(read, Value)
    assert sorted(read.value.records, key=lambda record: record.at) == mine
    assert read.value.lost == ()


async def test_the_records_of_a_deleted_version_are_read_from_its_run_and_a_run_that_is_gone_is_told(
    mlflow_server: MlflowServer, journal: MlflowJournal
) -> None:
    made = [register(mlflow_server, "deleted") for _ in range(3)]
    mine = [recorded(each.version, "Promoted", minute) for minute, each in enumerate(made)]
    await written(journal, rollout("deleted", *mine))
    client = mlflow_client(mlflow_server)
    client.delete_model_version("deleted", "1")
    client.delete_run(made[0].run_id)
    client.delete_model_version("deleted", "2")
    with closing(sqlite3.connect(mlflow_server.directory / "mlflow.db")) as database, database:
        database.execute("DELETE FROM runs WHERE run_uuid = ?", (made[1].run_id,))  # as `mlflow gc` does
    story, known = MlflowStory(mlflow_server.uri), {each.run_id: each.version for each in made}
    read = await asyncio.to_thread(story.records, "deleted", REF, known)
    assert isinstance(read, Value)
    assert {record.id for record in read.value.records} == {mine[0].id, mine[2].id}
    assert read.value.lost == (
        f"version 2: run {made[1].run_id} is gone from MLflow, with the records that were on it",
    )
    origin = await asyncio.to_thread(story.origin, "deleted", "1", made[0].run_id)
    assert isinstance(origin, Value)
    assert origin.value.run_status.endswith("deleted")


async def test_a_version_s_origin_is_its_run_s(mlflow_server: MlflowServer) -> None:
    made = register(mlflow_server, "traced", run_metrics={"auc": 0.9}, tags={"team": "fraud"})
    client = mlflow_client(mlflow_server)
    client.set_tag(made.run_id, "mlflow.source.git.commit", "4f2a9c1d")
    client.set_tag(made.run_id, "mlflow.source.git.repoURL", "https://x:hunter2@git.example.com/fraud.git")
    client.log_param(made.run_id, "depth", 6)
    client.update_model_version("traced", "1", "agreed with risk")
    read = await asyncio.to_thread(MlflowStory(mlflow_server.uri).origin, "traced", "1")
    assert isinstance(read, Value)
    found = read.value
    assert (found.commit, found.repository) == ("4f2a9c1d", "https://git.example.com/fraud.git")
    assert (found.parameters, found.metrics) == ({"depth": "6"}, {"auc": 0.9})
    assert (found.description, found.tags, found.run_id) == ("agreed with risk", {"team": "fraud"}, made.run_id)
    assert "hunter2" not in repr(found)


async def test_a_pin_is_looked_up_again_and_what_has_changed_is_told_once(mlflow_server: MlflowServer) -> None:
    made, client = register(mlflow_server, "watched"), mlflow_client(mlflow_server)
    client.set_tag(made.run_id, "sunset_on", "2027-12-31")
    async with _registry(mlflow_server) as registry:
        model = await resolved(registry, "watched")
        pin = Pin("1", model.run_id, model.source, model.digest, model.created)
        about = replace(rollout("watched"), status=Status(stable=pin))
        pins = PinWatch(registry.worker, AlwaysHeld(), lambda _: WOKEN.set(), lambda _: True, period=0.3)
        assert await pins.seen(about) == {}, "no turn waits for it"
        known = Value(Entry(replace(pin, digest=""), "2027-12-31"))
        assert (await _news(pins, about))["1"] == known
        with mlflow_server.frozen():
            await asyncio.sleep(1)
            assert (await pins.seen(about))["1"] == known, "silence changes nothing"
        client.set_model_version_tag("watched", made.version, "sunset_on", "2026-12-31")
        assert (await _news(pins, about))["1"] == Value(Entry(replace(pin, digest=""), "2026-12-31"))
        promoted = replace(about, status=Status(stable=replace(pin, version="2"), previous=(pin,), candidate=pin))
        assert set(await pins.seen(promoted)) == {"1"}, "a promotion forgets nothing"
        client.delete_model_version("watched", made.version)
        assert isinstance((await _news(pins, promoted))["1"], NoData)
        await pins.close()


async def test_a_registry_that_has_never_told_of_a_pin_says_why() -> None:
    with impostor() as server:
        server.behave = answer(500, b"{}")
        registry = MlflowRegistry(server.uri.replace("mlops:hunter2@", ""), deadline=5)
        pins = PinWatch(registry.worker, AlwaysHeld(), lambda _: WOKEN.set(), lambda _: True, period=0.3)
        about = replace(rollout("watched"), status=Status(stable=Pin("1")))
        await pins.seen(about)
        said = (await _news(pins, about))["1"]
        assert isinstance(said, Failed)
        assert said.reason == "RegistryError"
        await pins.close()
        await registry.close()


async def _news(pins: PinWatch, about: Rollout) -> Mapping[str, object]:
    WOKEN.clear()
    async with asyncio.timeout(LATEST):
        await WOKEN.wait()
    return await pins.seen(about)
