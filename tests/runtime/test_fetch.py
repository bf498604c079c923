"""The init container: the files that were checked, whole, or none."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest

from modelramp_runtime.digest import TreeError, read_tree
from modelramp_runtime.farewell import without_secrets
from modelramp_runtime.fetch import CLIENT, FetchError, Order, download_until, fetch, read_order
from modelramp_runtime.model import load_model
from modelramp_runtime.settings import ExtraColumns, TextNumbers
from tests.mlflow_server import MlflowServer, mlflow_client, mlflow_server, put_artifact, register
from tests.runtime.conftest import Fraud

__all__ = ["mlflow_server"]


def _fetch(tmp_path: Path, **variables: str) -> tuple[subprocess.CompletedProcess[str], str]:
    log = tmp_path / "termination-log"
    log.touch()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": str(Path(__file__).parents[2] / "operator"),
        "TERMINATION_LOG": str(log),
        "MODEL_DIR": str(tmp_path / "model"),
        **variables,
    }
    command = [sys.executable, "-m", "modelramp_runtime.fetch"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done, log.read_text()


def _order(directory: Path, source: str, digest: str, uri: str = "http://unused", deadline: str = "30") -> Order:
    return read_order(
        {
            "MODEL_SOURCE": source,
            "MODEL_DIGEST": digest,
            "MODEL_DIR": str(directory),
            "MLFLOW_TRACKING_URI": uri,
            "MODELRAMP_FETCH_DEADLINE_SECONDS": deadline,
        }
    )


@pytest.fixture
def tracking(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The registry, set as the pod's environment sets it."""
    for name, value in CLIENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    mlflow.set_tracking_uri(mlflow_server.uri)
    yield mlflow_server.uri
    mlflow.set_tracking_uri(None)


def _stored(server: MlflowServer, model_id: str) -> Path:
    """Return the directory in the registry's own store that holds a logged model's files."""
    location = mlflow_client(server).get_logged_model(model_id).artifact_location
    return server.artifacts / location.removeprefix("mlflow-artifacts:/")


def test_the_digest_is_that_of_the_lines_of_all_files_in_byte_order(tmp_path: Path) -> None:
    for name, content in (("b.txt", b"two"), ("B/x", b"one"), ("é", b""), ("a/b/c", b"three")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "empty").mkdir()
    listed = subprocess.run(
        "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    tree = read_tree(tmp_path)
    assert tree.digest == "sha256:" + listed.stdout.split()[0]
    assert (tree.files, tree.size) == (4, 11)


def test_a_link_is_no_part_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(TreeError, match="link is not a regular file"):
        read_tree(tmp_path)


def test_a_registered_model_is_fetched_whole_and_as_it_was_stored(
    mlflow_server: MlflowServer, tracking: str, tmp_path: Path
) -> None:
    made = register(mlflow_server, "fetched", files={"extra/notes.txt": b"kept"})
    stored = _stored(mlflow_server, made.model_id)
    digest = read_tree(stored).digest
    location = mlflow_client(mlflow_server).get_logged_model(made.model_id).artifact_location
    for number, source in enumerate((f"models:/{made.model_id}", f"models:/fetched/{made.version}", location)):
        directory = tmp_path / str(number)
        directory.mkdir()
        tree = fetch(_order(directory, source, digest, tracking))
        assert tree.digest == digest == read_tree(directory).digest
        assert (directory / "extra" / "notes.txt").read_bytes() == b"kept"
        load_model(directory, ExtraColumns.IGNORE, TextNumbers.REJECT)


def test_files_that_were_changed_after_the_check_never_reach_the_server(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    made = register(mlflow_server, "tampered")
    checked = read_tree(_stored(mlflow_server, made.model_id)).digest
    put_artifact(mlflow_server, made.model_id, "requirements.txt", b"something-else\n")
    done, last = _fetch(
        tmp_path,
        MODEL_SOURCE=f"models:/{made.model_id}",
        MODEL_DIGEST=checked,
        MLFLOW_TRACKING_URI=mlflow_server.uri,
    )
    assert done.returncode == 1
    assert last.count("\n") == 1
    assert last == done.stderr
    assert f"but MODEL_DIGEST is {checked}: they were changed after the version was checked" in last
    assert list((tmp_path / "model").iterdir()) == []
    assert json.loads(done.stdout.splitlines()[0])["source"] == f"models:/{made.model_id}"


def test_what_a_killed_fetch_left_behind_is_cleared_and_what_is_whole_is_kept(fraud: Fraud, tmp_path: Path) -> None:
    directory, digest = tmp_path / "model", read_tree(fraud.directory).digest
    (directory / ".fetch-killed" / "model").mkdir(parents=True)
    (directory / "MLmodel").write_text("half")
    order = _order(directory, str(fraud.directory), digest)
    assert fetch(order).digest == digest
    assert sorted(path.name for path in directory.iterdir()) == sorted(p.name for p in fraud.directory.iterdir())
    written = (directory / "MLmodel").stat().st_mtime_ns
    assert fetch(order).digest == digest
    assert (directory / "MLmodel").stat().st_mtime_ns == written, "not fetched again"


@contextmanager
def _stumbling(uri: str, faults: list[int]) -> Iterator[tuple[str, list[int]]]:
    """Forward to `uri`, but answer the first requests with these faults."""
    answered: list[int] = []

    class Forward(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if faults:
                status, body = faults.pop(0), b"not now"
            else:
                try:
                    with urllib.request.urlopen(uri + self.path) as response:
                        status, body = response.status, response.read()
                except urllib.error.HTTPError as error:
                    status, body = error.code, error.read()
            answered.append(status)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", answered
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_registry_that_stumbles_is_asked_again_until_it_answers(
    mlflow_server: MlflowServer, tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    made = register(mlflow_server, "stumbling")
    digest = read_tree(_stored(mlflow_server, made.model_id)).digest
    pauses: list[float] = []
    with _stumbling(mlflow_server.uri, [503, 429, 500]) as (uri, answered):
        mlflow.set_tracking_uri(uri)
        (tmp_path / "staged").mkdir()
        order = _order(tmp_path, f"models:/{made.model_id}", digest, uri)
        download_until(order, tmp_path / "staged", pauses.append)
    assert read_tree(tmp_path / "staged").digest == digest
    assert answered[:4] == [503, 429, 500, 200]
    assert pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_registry_that_refuses_is_not_asked_again(
    status: int, tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with _stumbling(tracking, [status] * 9) as (uri, answered):
        mlflow.set_tracking_uri(uri)
        order = _order(tmp_path, "models:/m-0123", "sha256:" + "0" * 64, uri)
        with pytest.raises(FetchError, match="models:/m-0123 cannot be fetched"):
            fetch(order)
    assert answered == [status]
    assert list(tmp_path.iterdir()) == []


def test_a_registry_that_is_away_is_given_up_at_the_deadline(
    tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    order = _order(tmp_path, "models:/m-0123", "sha256:" + "0" * 64, deadline="1")
    with pytest.raises(FetchError, match=r"was not to be had within 1 s"):
        fetch(order)


def test_a_source_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    order = _order(tmp_path / "model", str(tmp_path / "nothing"), "sha256:" + "0" * 64)
    with pytest.raises(FetchError, match=r"nothing (cannot be fetched|holds no files)"):
        fetch(order)


def test_last_words_hold_no_credentials() -> None:
    said = without_secrets("GET https://bob:pass@store/x?X-Amz-Signature=abc 'failed'\nhttps://a?b=c")
    assert said == "GET https://***@store/x?... 'failed' https://a?..."
