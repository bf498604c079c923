"""The node's certificate authority, its certificates, and the tokens of its components."""

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cluster.node.spec import NodeSpec
from cluster.processes import Command, run

_DAYS = "365"


@dataclass(frozen=True)
class Certificate:
    """One certificate to issue: its file name, its subject and its extensions in openssl's words."""

    name: str
    subject: str
    usage: str
    names: tuple[str, ...] = ()

    @property
    def extensions(self) -> str:
        """Return the text of openssl's -extfile."""
        lines = [f"extendedKeyUsage={self.usage}"]
        if self.names:
            lines.append("subjectAltName=" + ",".join(self.names))
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Component:
    """A client of the API server with a kubeconfig of its own."""

    name: str
    user: str
    group: str = ""


def write_credentials(spec: NodeSpec) -> None:
    """Issue everything anew under `pki/` and write a kubeconfig for each component under `etc/`."""
    pki = spec.directory / "pki"
    pki.mkdir(parents=True, mode=0o700)
    _write_authority(pki)
    run(["openssl", "genrsa", "-out", pki / "service-accounts.key", "2048"])
    for certificate in _certificates(spec):
        _issue(certificate, pki)
    _write_tokens(spec, _components(spec))


def _certificates(spec: NodeSpec) -> tuple[Certificate, ...]:
    service = "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"
    names = *(f"DNS:{name}" for name in (*service, "localhost")), "IP:127.0.0.1"
    return (
        Certificate(
            "apiserver",
            "/CN=kube-apiserver",
            "serverAuth",
            (*names, f"IP:{spec.api_address}", f"IP:{spec.node_address}"),
        ),
        Certificate("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client", "clientAuth"),
        Certificate(
            "kubelet",
            f"/O=system:nodes/CN=system:node:{spec.name}",
            "serverAuth",
            (f"DNS:{spec.name}", f"IP:{spec.node_address}", "IP:127.0.0.1"),
        ),
    )


def _components(spec: NodeSpec) -> tuple[Component, ...]:
    return (
        Component("admin", "admin", "system:masters"),
        Component("kubelet", f"system:node:{spec.name}", "system:nodes"),
        Component("kube-controller-manager", "system:kube-controller-manager"),
        Component("kube-scheduler", "system:kube-scheduler"),
        Component("kube-proxy", "system:kube-proxy"),
    )


def _write_authority(pki: Path) -> None:
    _write_key(pki / "ca.key")
    request: Command = ["openssl", "req", "-x509", "-new", "-key", pki / "ca.key", "-subj", "/CN=modelramp-node"]
    run([*request, "-days", _DAYS, "-out", pki / "ca.crt"])


def _write_key(path: Path) -> None:
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path])


def _issue(certificate: Certificate, pki: Path) -> None:
    stem = pki / certificate.name
    key, request, extensions = (stem.with_suffix(suffix) for suffix in (".key", ".csr", ".ext"))
    _write_key(key)
    extensions.write_text(certificate.extensions)
    run(["openssl", "req", "-new", "-key", key, "-subj", certificate.subject, "-out", request])
    authority: Command = ["-CA", pki / "ca.crt", "-CAkey", pki / "ca.key", "-CAcreateserial", "-days", _DAYS]
    signed: Command = ["-in", request, "-extfile", extensions, "-out", stem.with_suffix(".crt")]
    run(["openssl", "x509", "-req", *authority, *signed])


def _write_tokens(spec: NodeSpec, components: Iterable[Component]) -> None:
    rows = []
    for component in components:
        token = secrets.token_hex(24)
        rows.append(f'{token},{component.user},{component.name},"{component.group}"\n')
        path = spec.directory / "etc" / f"{component.name}.kubeconfig"
        write_private(path, kubeconfig(spec, token, f"https://127.0.0.1:{spec.api_port}"))
    write_private(spec.directory / "pki" / "tokens.csv", "".join(rows))


def kubeconfig(spec: NodeSpec, token: str, url: str) -> str:
    """Return a kubeconfig for one token; the authority's certificate is named by its path."""
    cluster = {"server": url, "certificate-authority": str(spec.directory / "pki" / "ca.crt")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": spec.name,
        "clusters": [{"name": spec.name, "cluster": cluster}],
        "users": [{"name": spec.name, "user": {"token": token}}],
        "contexts": [{"name": spec.name, "context": {"cluster": spec.name, "user": spec.name}}],
    }
    return json.dumps(document, indent=2)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_text(text)
