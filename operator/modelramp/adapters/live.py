"""Tell whether a live object is as rendered; each judgement is kept until either side changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from modelramp.adapters.kinds import ASKED, REST, TEMPLATE, Object
from modelramp.adapters.likeness import carries
from modelramp.adapters.slim import full_spec, is_intact_here
from modelramp.adapters.templates import marks

REMEMBERED = 32768


class Conformity:
    """Judges objects from the store against what is rendered for them, each once until either side changes."""

    def __init__(self) -> None:
        self._judged: OrderedDict[str, tuple[str, Hashable, bool]] = OrderedDict()

    def holds(self, live: Object, asked: Hashable, judge: Callable[[], bool]) -> bool:
        """Return what `judge` says of `live`; `asked` is all that it depends on besides."""
        uid, version = live["metadata"]["uid"], live["metadata"]["resourceVersion"]
        known = self._judged.get(uid)
        if known is None or (known[0], known[1]) != (version, asked):
            known = self._judged[uid] = (version, asked, judge())
            if len(self._judged) > REMEMBERED:
                self._judged.popitem(last=False)
        return known[2]


def is_as_rendered(live: Object, wanted: Object) -> bool:
    """Tell whether an object other than a Deployment carries what was rendered, and belongs to the same owner."""
    return _is_rest_as_rendered(live, wanted) and _is_owned(live, wanted)


def is_deployed(live: Object, wanted: Object, *, keeps_pods: bool) -> bool:
    """Tell whether a Deployment carries what was rendered.

    With `keeps_pods` the pods may be those of an older operator: made as it applied them, for the same wishes.
    """
    own, rendered = marks(live), marks(wanted)
    same = own.get(TEMPLATE) == rendered[TEMPLATE] or (keeps_pods and is_kept(live, wanted))
    return same and is_intact_here(live) and _is_rest_as_rendered(live, wanted) and _is_owned(live, wanted)


def is_kept(live: Object, wanted: Object) -> bool:
    """Tell whether the pods were made for the same wishes by an operator that rendered them otherwise."""
    own, rendered = marks(live), marks(wanted)
    return own.get(ASKED) == rendered[ASKED] and own.get(TEMPLATE) != rendered[TEMPLATE]


def _is_rest_as_rendered(live: Object, wanted: Object) -> bool:
    """Compare all but a Deployment's pods; the stamp tells of what is not asked for any more."""
    rest = {field: value for field, value in wanted["spec"].items() if field != "template"}
    return marks(live).get(REST) == marks(wanted)[REST] and carries(full_spec(live), rest)


def _is_owned(live: Object, wanted: Object) -> bool:
    owners = {each["uid"] for each in live["metadata"].get("ownerReferences") or ()}
    is_ours = all(each["uid"] in owners for each in wanted["metadata"].get("ownerReferences", ()))
    return is_ours and carries(live["metadata"].get("labels"), wanted["metadata"]["labels"])
