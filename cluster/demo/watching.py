"""Objects of the API server as they change, read through `kubectl proxy`."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TIMEOUT = 30.0  # seconds of silence after which a watch is begun anew
_PAUSE = 0.2

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sight:
    """An object as it was from `at` on, by this machine's clock."""

    at: float
    object: Object


class Watch(threading.Thread):
    """Keeps the newest state of every object of one collection, and each change of it."""

    def __init__(self, collection: str, selector: str = "") -> None:
        """Take the collection's URL and a field selector."""
        super().__init__(daemon=True)
        self._url = f"{collection}?watch=true&timeoutSeconds=300" + (f"&fieldSelector={selector}" if selector else "")
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._newest: dict[str, Object] = {}
        self._sights: list[Sight] = []

    def run(self) -> None:
        """Watch until told to stop; a watch begins with what is there, so nothing is missed for good."""
        while not self._stop.is_set():
            try:
                with urllib.request.urlopen(self._url, timeout=_TIMEOUT) as events:
                    for line in events:
                        self._take(json.loads(line))
                        if self._stop.is_set():
                            return
            except (OSError, ValueError):
                self._stop.wait(_PAUSE)

    def stop(self) -> None:
        """End it at the next event."""
        self._stop.set()

    def newest(self, name: str) -> Object:
        """Return an object as it is now, an empty one where there is none."""
        with self._lock:
            return self._newest.get(name, {})

    def all(self) -> list[Object]:
        """Return every object that is there."""
        with self._lock:
            return list(self._newest.values())

    def since(self, moment: float) -> list[Sight]:
        """Return every state that was seen from a moment on, and the one before it."""
        with self._lock:
            before = [sight for sight in self._sights if sight.at < moment]
            return before[-1:] + [sight for sight in self._sights if sight.at >= moment]

    def _take(self, event: Object) -> None:
        obj, kind = event["object"], event["type"]
        if kind not in ("ADDED", "MODIFIED", "DELETED"):
            return  # an error, such as one that says that our version is too old: the watch ends and begins anew
        name, version = obj["metadata"]["name"], obj["metadata"]["resourceVersion"]
        with self._lock:
            if kind == "DELETED":
                self._newest.pop(name, None)
                return
            known = self._newest.get(name)
            if known is None or known["metadata"]["resourceVersion"] != version:
                self._newest[name] = obj
                self._sights.append(Sight(time.time(), obj))


def read_json(url: str, *, method: str = "GET", timeout: float = 10.0) -> Any:
    """Send one request and return the answer's JSON. Raises OSError."""
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=timeout) as answer:
        return json.load(answer)


def tried(question: Callable[[], Any]) -> Any:
    """Return the answer, None where there is none."""
    try:
        return question()
    except (OSError, ValueError):
        return None
