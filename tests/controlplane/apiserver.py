"""etcd and kube-apiserver on free ports of the loopback: no root, no containers, nothing left behind."""

import json
import secrets
import shutil
import ssl
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from tests.controlplane.personas import Persona, Personas, answering_token_reviews
from tests.controlplane.programs import api_server_command, find_programs, running_etcd
from tests.controlplane.supervised import Supervised, first_that_starts, free_port

_TIMEOUT = 30.0  # seconds for one answer


@dataclass(frozen=True)
class Credentials:
    """What a client needs to be somebody: a bearer token, and a kubeconfig that holds it."""

    user: str
    token: str
    kubeconfig: Path


@dataclass
class ApiServer:
    """A running API server: RBAC is on, `token` and `kubeconfig` belong to a cluster administrator."""

    url: str
    token: str
    ca: Path
    kubeconfig: Path
    directory: Path
    _command: list[str] = field(repr=False)
    _personas: Personas = field(repr=False)
    _process: Supervised = field(repr=False)

    def mint(self, user: str, *groups: str) -> Credentials:
        """Return credentials of a user that may do what RBAC grants it: nothing until you bind a role."""
        token = self._personas.mint(Persona(user, groups))
        path = self.directory / f"{user.replace('/', '-').replace(':', '-')}-{token[:8]}.kubeconfig"
        _write_kubeconfig(path, self.url, self.ca, token)
        return Credentials(user, token, path)

    def stop(self) -> None:
        """Stop kube-apiserver; etcd keeps the data."""
        self._process.stop()

    def start(self) -> None:
        """Start kube-apiserver again at the same address, and wait until it is ready."""
        self._process = Supervised.start(self._command, self.directory / "kube-apiserver.log")
        self._process.await_answer(self.is_ready)

    def is_ready(self) -> bool:
        """Answer whether the API server says so itself."""
        with suppress(OSError):  # HTTPError and URLError are OSErrors
            return bool(self.request("GET", "/readyz") == "ok")
        return False

    def restart(self) -> None:
        """Stop and start kube-apiserver: watches break, data and tokens stay."""
        self.stop()
        self.start()

    def request(self, method: str, path: str, body: Any = None, *, token: str = "", kind: str = "") -> Any:
        """Send one request as the administrator, or as `token`'s owner, and return the decoded answer.

        `kind` is the content type when it is not application/json.
        Raises urllib.error.HTTPError with the API server's status code.
        """
        headers = {
            "Authorization": f"Bearer {token or self.token}",
            "Content-Type": kind or "application/json",
        }
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with self._opened(request) as answer:
            return _decoded(answer.read().decode(), answer.headers.get_content_type())

    def watch(self, path: str) -> Iterator[Any]:
        """Yield the events of a watch, as the administrator, until the API server ends it."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        with self._opened(request) as events:
            for line in events:
                yield json.loads(line)

    def _opened(self, request: urllib.request.Request) -> HTTPResponse:
        trusting = ssl.create_default_context(cafile=str(self.ca))
        opened: HTTPResponse = urllib.request.urlopen(request, context=trusting, timeout=_TIMEOUT)
        return opened


@contextmanager
def running_api_server(options: Mapping[str, object] = {}) -> Iterator[ApiServer]:
    """Start etcd and kube-apiserver, wait until the API is ready, and take all of it away afterwards.

    `options` are kube-apiserver's, by name without dashes, over the usual ones.
    The programs come from $KUBEBUILDER_ASSETS, else from the cache, which builds them when it has none.
    Raises NotStartedError with the end of the log when a program does not start.
    """
    programs = find_programs()
    directory = Path(tempfile.mkdtemp(prefix="modelramp-apiserver-"))
    try:
        with answering_token_reviews() as personas, running_etcd(programs["etcd"], directory) as store:
            program = programs["kube-apiserver"]
            server = first_that_starts(lambda: _start_api_server(program, directory, store, personas, options))
            try:
                yield server
            finally:
                server.stop()
    finally:
        shutil.rmtree(directory)


def _start_api_server(
    program: Path, directory: Path, store: str, personas: Personas, options: Mapping[str, object]
) -> ApiServer:
    port, token = free_port(), secrets.token_hex(16)
    (directory / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    webhook = directory / "token-reviews.kubeconfig"
    _write_kubeconfig(webhook, personas.url, None, "")
    command = api_server_command(program, directory, store, port, webhook)
    command += [f"--{name}={value}" for name, value in options.items()]
    url, ca = f"https://127.0.0.1:{port}", directory / "certificates" / "apiserver.crt"
    kubeconfig = directory / "admin.kubeconfig"
    _write_kubeconfig(kubeconfig, url, ca, token)
    process = Supervised.start(command, directory / "kube-apiserver.log")
    server = ApiServer(url, token, ca, kubeconfig, directory, command, personas, process)
    process.await_answer(server.is_ready)
    return server


def _decoded(text: str, content_type: str) -> Any:
    return json.loads(text) if content_type == "application/json" else text


def _write_kubeconfig(path: Path, url: str, ca: Path | None, token: str) -> None:
    cluster = {"server": url, **({"certificate-authority": str(ca)} if ca else {})}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token} if token else {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(json.dumps(document, indent=2))
    path.chmod(0o600)
