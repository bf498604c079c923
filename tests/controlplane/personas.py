"""Users of the API server: it asks this token review webhook who the bearer of a token is."""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Persona:
    """A user and the groups it belongs to."""

    user: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Personas:
    """The tokens that were minted, and where the API server asks about them."""

    url: str = ""
    bearers: dict[str, Persona] = field(default_factory=dict)

    def mint(self, persona: Persona) -> str:
        """Return a new token for a persona; it is good at once."""
        token = secrets.token_hex(16)
        self.bearers[token] = persona
        return token


@contextmanager
def answering_token_reviews() -> Iterator[Personas]:
    """Serve the webhook on a free port of the loopback until the block ends."""
    bearers: dict[str, Persona] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(bearers))
    threading.Thread(target=server.serve_forever, name="token-reviews", daemon=True).start()
    try:
        yield Personas(f"http://127.0.0.1:{server.server_port}/", bearers)
    finally:
        server.shutdown()
        server.server_close()


def _handler(bearers: dict[str, Persona]) -> type[BaseHTTPRequestHandler]:
    class TokenReviews(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(answered(review, bearers)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    return TokenReviews


def answered(review: dict[str, Any], bearers: dict[str, Persona]) -> dict[str, Any]:
    """Return the TokenReview with its status: who the bearer is, or that nobody knows."""
    persona = bearers.get(review["spec"].get("token", ""))
    status: dict[str, Any] = {"authenticated": False}
    if persona:
        user = {"username": persona.user, "uid": persona.user, "groups": list(persona.groups)}
        status = {"authenticated": True, "user": user}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
