"""The gates that ask pods before their first traffic, and their copies in the status."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from modelramp.api.rules import Block
from modelramp.api.scalars import Interval, ObjectName, PositiveDuration, Quantity


class ConfigMapKey(Block):
    """One key of a ConfigMap in the object's namespace."""

    name: ObjectName
    """Name of the ConfigMap."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """The key in it."""


class Dataset(Block):
    """Requests to replay: JSON bodies of /invocations, a list of them or one a line."""

    config_map_key_ref: ConfigMapKey
    """Where they are."""


class StagingGate(Block):
    """Requests that are replayed to the candidate's ready pods before its first traffic, the shadow included."""

    requests: Annotated[int, Field(ge=1, le=100_000)] = 200
    """How many requests."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """How many at a time."""
    p50: PositiveDuration | None = None
    """Half of the answers came within this, such as 20ms."""
    p95: PositiveDuration | None = None
    """95 % of the answers came within this."""
    p99: PositiveDuration | None = None
    """99 % of the answers came within this."""
    error_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the requests that may get no prediction."""
    memory: Quantity | None = None
    """What the model server's process may hold, such as 512Mi: the most that its process_resident_memory_bytes at
    /metrics showed during the replay."""
    dataset: Dataset | None = None
    """What is replayed; the input example that was logged with the model where it is not given."""
    deadline: Interval = timedelta(minutes=10)
    """Without a result by then, counted from when the pods were ready, the gate has failed."""


class RollbackGate(Block):
    """What the version to fall back to has to show before the candidate gets traffic."""

    required: bool = True
    """It is warm, and answers a prediction made from its own input example. Passes while nothing is stable."""
    rehearsed_within: PositiveDuration | None = None
    """A drill (spec.drill) must have passed so long ago at the most, such as 720h. Not asked where it is not given."""


class DatasetCopy(Block):
    """What the staging gate replays."""

    config_map: str | None = None
    """Name of the ConfigMap."""
    key: str | None = None
    """The key in it."""


class StagingGateCopy(Block):
    """The plan's staging gate."""

    requests: int | None = None
    """How many requests."""
    concurrency: int | None = None
    """How many at a time."""
    p50: str | None = None
    """Half of the answers came within this."""
    p95: str | None = None
    """95 % of the answers came within this."""
    p99: str | None = None
    """99 % of the answers came within this."""
    error_rate: float | None = None
    """Share of the requests that may get no prediction."""
    memory: int | None = None
    """What the model server's process may hold, in bytes."""
    dataset: DatasetCopy | None = None
    """What is replayed; else the model's input example."""
    deadline: str | None = None
    """For how long a result may take."""


class RollbackGateCopy(Block):
    """The plan's rollback gate."""

    required: bool | None = None
    """Whether the version to fall back to must be warm and answer."""
    rehearsed_within: str | None = None
    """How old the newest drill may be."""
