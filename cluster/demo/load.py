"""The load generator, asked and ordered about through the API server's proxy."""

import time
from collections.abc import Sequence
from http import HTTPStatus

from cluster.demo.observed import Answer, parse
from cluster.demo.watching import read_json


class Load:
    """What is sent to the model, and everything that was answered."""

    def __init__(self, address: str) -> None:
        """Take the URL at which the load generator answers."""
        self._address = address
        self._answers: list[Answer] = []
        self._ahead = 0.0

    @property
    def answers(self) -> Sequence[Answer]:
        """Return every answer that was fetched."""
        return self._answers

    def fetch(self) -> None:
        """Fetch what was answered since the last time. Raises OSError."""
        newest = self._answers[-1].number if self._answers else 0
        self._answers += parse(read_json(f"{self._address}/answers?after={newest}"))

    def gets_through(self) -> bool:
        """Tell whether a request is answered: pods can be ready before the node leads their Service's address there."""
        status: int = read_json(f"{self._address}/try")
        return status == HTTPStatus.OK

    def now(self) -> float:
        """Return the present second by the load generator's clock. Raises OSError."""
        began = time.time()
        there: float = read_json(f"{self._address}/clock")
        self._ahead = there - (began + time.time()) / 2
        return there

    def as_there(self, moment: float) -> float:
        """Return a moment of this machine's clock by the load generator's."""
        return moment + self._ahead

    def send(self, per_second: float) -> None:
        """Send so many requests from now on."""
        read_json(f"{self._address}/rate?per_second={per_second}", method="POST")

    def bring_new_category(self, share: float) -> float:
        """Let so many transactions be in a category that no model knows; return when that began there."""
        began: float = read_json(f"{self._address}/new-category?share={share}", method="POST")
        return began
