"""Where Prometheus is and what opens it: its address, a token, the certificates to trust."""

from __future__ import annotations

import base64
import ipaddress
import ssl
from pathlib import Path

from yarl import URL

from modelramp.adapters.mounted import MountedFile
from modelramp.rollout.observation import Failed

_NEAR = (".svc", ".svc.cluster.local", ".localhost")


class Access:
    """An address with its credentials; files are read again when they change."""

    def __init__(self, url: str, token_file: Path | None = None, ca_file: Path | None = None) -> None:
        """Take an address such as http://prometheus.monitoring.svc:9090, with a path where one is in front.

        Raises ValueError, without the URL's credentials, when it cannot be used.
        """
        given = _parsed(url)
        self.url = given.with_user(None)
        self.ca_file = ca_file
        self._fixed = _basic(given)
        self._token = MountedFile(token_file, _bearer) if token_file else None
        self._trust = MountedFile(ca_file, _context) if ca_file else None
        _refuse_unsafe(self.url, basic=bool(self._fixed), bearer=bool(token_file), ca=bool(ca_file))

    def api(self, name: str) -> URL:
        """Return the address of one of the API's endpoints."""
        return self.url / "api" / "v1" / name

    def authorization(self) -> dict[str, str] | Failed:
        """Return the header that opens the server, if any."""
        try:
            value = self._token.read() if self._token else self._fixed
        except (OSError, ValueError) as fault:
            return Failed("TokenUnreadable", f"token file: {_why(fault)}")
        return {"Authorization": value} if value else {}

    def trust(self) -> ssl.SSLContext | bool | Failed:
        """Return the certificates to trust; True for the system's."""
        try:
            return self._trust.read() if self._trust else True
        except (OSError, ValueError) as fault:
            return Failed("CertificatesUnreadable", f"CA file: {_why(fault)}")


def _parsed(url: str) -> URL:
    try:
        parsed = URL(url)
        usable = parsed.scheme in ("http", "https") and parsed.host and parsed.port
    except ValueError:
        raise ValueError("Prometheus' URL cannot be read; write it as http://HOST:PORT") from None
    if not usable:
        raise ValueError(f"Prometheus' URL {_shown(parsed)}: write it as http://HOST:PORT or https://HOST")
    if parsed.query_string or parsed.fragment:
        raise ValueError(f"Prometheus' URL {_shown(parsed)}: leave out what follows ? or #")
    return parsed


def _shown(url: URL) -> str:
    """Return the URL without what may be secret."""
    return f"{url.scheme}://{url.host_subcomponent or ''}{url.path}"


def _refuse_unsafe(url: URL, *, basic: bool, bearer: bool, ca: bool) -> None:
    if basic and bearer:
        raise ValueError(f"Prometheus' URL {url}: a user in the URL and a token file; give one of them")
    if url.scheme == "http" and (basic or bearer) and not _near(url.host or ""):
        raise ValueError(f"Prometheus' URL {url}: credentials would be readable on the way; use https://")
    if url.scheme == "http" and ca:
        raise ValueError(f"Prometheus' URL {url}: a CA file is for https://")


def _near(host: str) -> bool:
    """Tell whether a host is in the cluster or on this machine, as far as its name says."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(_NEAR)


def _basic(url: URL) -> str:
    if url.user is None:
        return ""
    pair = f"{url.user}:{url.password or ''}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _bearer(path: Path) -> str:
    token = path.read_text(encoding="ascii").strip()
    if not token or not token.isprintable() or " " in token:
        raise ValueError("it holds no token on one line")
    return f"Bearer {token}"


def _context(path: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=path)


def _why(fault: OSError | ValueError) -> str:
    # A decoder's message would quote the secret.
    match fault:
        case ssl.SSLError():
            return "it holds no PEM certificate"
        case OSError(strerror=str(text)):
            return text
        case UnicodeError():
            return "it holds bytes that no token has"
        case _:
            return str(fault)
