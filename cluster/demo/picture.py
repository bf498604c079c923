"""The demo as a picture: which version answered, second by second, and who failed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cluster.demo.observed import Answer, by_number, percents
from cluster.demo.summary import Act

_COLORS = {"1": "#7a8ba3", "2": "#2f9e77", "3": "#e08e2b"}
_OTHERS, _FAILED = "#9467bd", "#c0392b"
# The same answers make the same file.
_STYLE = mpl.RcParams({"svg.fonttype": "none", "svg.hashsalt": "demo", "font.family": "sans-serif", "font.size": 9})


def seconds(answers: Iterable[Answer], began: float) -> dict[int, list[Answer]]:
    """Return the answers by the whole second since a moment in which they were sent."""
    found: dict[int, list[Answer]] = {}
    for answer in answers:
        found.setdefault(int(answer.sent_at - began), []).append(answer)
    return dict(sorted(found.items()))


def draw(acts: Sequence[Act], answers: Sequence[Answer], file: Path) -> bool:
    """Write the picture, an SVG, and tell so; there is none where nobody answered."""
    if not acts or not answers:
        return False
    began = min(answer.sent_at for answer in answers)
    by_second = seconds(answers, began)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 4), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        above.set_xlim(0, max(by_second) + 1)
        _shares(above, by_second)
        _failures(below, by_second)
        for act in acts:
            _name(above, act, began)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None, "Creator": None})
    return True


def _shares(axes: Axes, by_second: dict[int, list[Answer]]) -> None:
    shares = [percents(answers) for answers in by_second.values()]
    versions = sorted({version for each in shares for version in each}, key=by_number)
    heights = [[each.get(version, 0.0) for each in shares] for version in versions]
    colors = [_COLORS.get(version, _OTHERS) for version in versions]
    labels = [f"v{version}" for version in versions]
    axes.stackplot(list(by_second), *heights, colors=colors, labels=labels, step="post", linewidth=0)
    axes.set(ylim=(0, 100), ylabel="answered by, %")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _failures(axes: Axes, by_second: dict[int, list[Answer]]) -> None:
    failed = Counter({second: sum(each.failed for each in answers) for second, answers in by_second.items()})
    axes.bar(list(failed), list(failed.values()), width=1, align="edge", color=_FAILED)
    axes.set(ylabel="failed", xlabel="seconds", ylim=(0, max(5, *failed.values())))


def _name(axes: Axes, act: Act, began: float) -> None:
    at = max(0.0, act.began - began)
    axes.axvline(at, color="white", linewidth=1.5)
    offset, place = (2, 3), ("data", "axes fraction")
    axes.annotate(act.title, (at, 1), xycoords=place, xytext=offset, textcoords="offset points", rotation=30)
