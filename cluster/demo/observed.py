"""What the load generator saw: pure sums over its answers."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

SIGMAS = 4.5  # one false alarm in 150,000 looks


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's end: when, by which version ("" where none answered), with which status (0 where none came)."""

    number: int
    at: float
    version: str
    status: int
    milliseconds: float = 0.0
    fault: str = ""

    @property
    def sent_at(self) -> float:
        """Return when the request was sent; who answers it was decided then."""
        return self.at - self.milliseconds / 1000

    @property
    def failed(self) -> bool:
        """Tell whether the client did not get what it asked for."""
        return self.status != 200


@dataclass(frozen=True, slots=True)
class Departure:
    """How a version lost its traffic: seconds on the load generator's clock."""

    began: float
    last_served: float
    served: int

    @property
    def seconds(self) -> float:
        """Return how long answers of the version still came."""
        return max(0.0, self.last_served - self.began)


def parse(rows: Iterable[Sequence[Any]]) -> list[Answer]:
    """Read the rows of the load generator."""
    return [Answer(int(n), float(at), str(v), int(status), float(ms), str(why)) for n, at, v, status, ms, why in rows]


def between(answers: Iterable[Answer], begin: float, end: float = math.inf) -> list[Answer]:
    """Return the answers of a span of time."""
    return [answer for answer in answers if begin <= answer.at < end]


def percents(answers: Iterable[Answer]) -> dict[str, float]:
    """Return each version's percent of the answers that a model gave."""
    counted = Counter(answer.version for answer in answers if answer.version)
    total = counted.total()
    return {version: 100 * counted[version] / total for version in sorted(counted, key=by_number)}


def by_number(version: str) -> tuple[int, str]:
    """Order versions as people count."""
    return len(version), version


def only(answers: Sequence[Answer], version: str) -> bool:
    """Tell whether there are answers, and all of them are this version's."""
    return bool(answers) and all(answer.version == version for answer in answers)


def departure(answers: Iterable[Answer], version: str, began: float) -> Departure:
    """Return how long a version still answered after a moment."""
    late = [answer.at for answer in answers if answer.version == version and answer.at >= began]
    return Departure(began, max(late, default=began), len(late))


def rollback(answers: Sequence[Answer], version: str) -> Departure | None:
    """Return how a version lost its traffic after its first bad answer, None if it gave no bad one."""
    bad = [answer.at for answer in answers if answer.version == version and answer.failed]
    return departure(answers, version, min(bad)) if bad else None


def fits(hits: int, total: int, percent: float) -> bool:
    """Tell whether a count is what a share brings by chance."""
    share = percent / 100
    return abs(hits - total * share) <= SIGMAS * math.sqrt(total * share * (1 - share)) + 0.5
