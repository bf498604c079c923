"""Whose an object is: by its labels, and by the references with which it goes."""

from __future__ import annotations

from modelramp.adapters.kinds import MANAGED_BY, NAME, Object, labels
from modelramp.ports import Rollout


def is_marked(obj: Object, name: str, component: str) -> bool:
    """Tell whether an object carries all labels of what belongs to a ModelDeployment."""
    return labels(name, component).items() <= (obj["metadata"].get("labels") or {}).items()


def is_named_after(obj: Object, name: str) -> bool:
    """Tell whether an object belongs to the ModelDeployment of this name, or to one that had its name before."""
    own, marks = labels(name, ""), obj["metadata"].get("labels") or {}
    return all(marks.get(key) == own[key] for key in (MANAGED_BY, NAME))


def is_left_over(rollout: Rollout, obj: Object) -> bool:
    """Tell whether it goes with an earlier object of the same name; one that nobody owns any more stays and counts."""
    owners = _owners(obj)
    return rollout.status.stable is None and bool(owners) and rollout.uid not in owners


def is_owned(rollout: Rollout, obj: Object) -> bool:
    """Tell whether it goes when the ModelDeployment goes."""
    return rollout.uid in _owners(obj)


def _owners(obj: Object) -> set[str]:
    return {each["uid"] for each in obj["metadata"].get("ownerReferences") or ()}
