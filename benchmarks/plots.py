"""The plots, by matplotlib; none without it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from measure import Row

__all__ = ["draw"]

OURS, OTHERS, FLOOR = "#1f77b4", "#9aa5b1", "#d9dee4"


def draw(rows: Sequence[Row], folder: Path) -> list[str]:
    """Draw what the rows allow, as SVG files, in place of those of an earlier run; returns their names."""
    for name in PLOTS:
        (folder / name).unlink(missing_ok=True)
    if find_spec("matplotlib") is None:
        print("no plots: matplotlib is not installed (pip install --group bench)", file=sys.stderr)
        return []
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "depqueue", "svg.fonttype": "none", "font.size": 9})
    return [name for name, plot in PLOTS.items() if plot(rows, folder / name)]


def _save(figure: Any, file: Path) -> bool:
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    return True


def _bars(rows: Sequence[Row], file: Path, panels: dict[str, str], label: str, *, log: bool = False) -> bool:
    """Horizontal bars, a panel for each figure, with the lowest and highest as whiskers; points where it is `log`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    found = {what: [r for r in rows if r.what == what and not r.against] for what in panels}
    found = {what: part for what, part in found.items() if part}
    if not found:
        return False
    figure = Figure(figsize=(4.6 * len(found), 0.9 + 0.32 * max(map(len, found.values()))))
    for place, (what, part) in enumerate(found.items(), 1):
        axes = figure.add_subplot(1, len(found), place)
        scale = 1000 if part[0].unit == "ms" else 1
        for row in part:
            value, low, high = (v * scale for v in (row.value.median, row.value.low, row.value.high))
            colour = OURS if row.who.startswith("depqueue") else FLOOR if "floor" in row.who else OTHERS
            whisker = {"xerr": [[value - low], [high - value]]}
            if log:  # a bar has no foot there
                axes.errorbar([value], [row.who], **whisker, fmt="o", color=colour, lw=1)
            else:
                axes.barh([row.who], [value], **whisker, color=colour, error_kw={"lw": 0.8, "ecolor": "#555"})
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.grid(axis="x", color="#eee")
        axes.invert_yaxis()
        axes.set_title(panels[what], fontsize=9)
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, file)


def _lines(rows: Sequence[Row], file: Path, what: str, across: str, up: str, *, log: bool = False) -> bool:
    """A line for each contender."""
    from matplotlib.figure import Figure

    found = [r for r in rows if r.what == what and r.at is not None]
    if not found:
        return False
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.add_subplot()
    for who in dict.fromkeys(r.who for r in found):
        part = [r for r in found if r.who == who]
        scale = 1000 if part[0].unit == "ms" else 1
        axes.plot([r.at for r in part], [r.value.median * scale for r in part], marker="o", ms=3, label=who)
    if log:
        axes.set_xscale("symlog", linthresh=1000)
    axes.set(xlabel=across, ylabel=up, ylim=(0, None), title=what)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, file)


PLOTS: dict[str, Callable[[Sequence[Row], Path], bool]] = {
    "throughput.svg": lambda rows, file: _bars(
        rows,
        file,
        {
            "drain, -P solo, late ack": "Celery: one worker drains, late ack",
            "apply_async": "Celery: one process publishes",
        },
        "tasks/s",
    ),
    "pools.svg": lambda rows, file: _bars(
        rows,
        file,
        {
            "drain, -P threads, late ack": "-P threads -c 4, late ack",
            "drain, -P prefork, late ack": "-P prefork -c 2, late ack",
        },
        "tasks/s",
    ),
    "latency.svg": lambda rows, file: _bars(
        rows,
        file,
        {"latency, idle, p50": "Celery: idle worker, median", "latency, idle, p99": "99 of 100 are faster"},
        "ms, logarithmic",
        log=True,
    ),
    "native.svg": lambda rows, file: _bars(
        rows,
        file,
        {"reserve + ack one by one": "reserve + ack, one by one", "reserve + ack by 100": "reserve + ack, by 100"},
        "jobs/s",
    ),
    "enqueue.svg": lambda rows, file: _bars(
        rows, file, {"enqueue one by one": "enqueue, one by one", "enqueue by 100": "enqueue, by 100"}, "jobs/s"
    ),
    "backlog.svg": lambda rows, file: _lines(
        rows, file, "claim + ack of 10 beside so many ready rows", "ready rows", "ms", log=True
    ),
    "snapshot.svg": lambda rows, file: _lines(
        rows, file, "claim + ack of 10, an old snapshot open for so many minutes", "minutes of the open snapshot", "ms"
    ),
    "snapshot-rate.svg": lambda rows, file: _lines(
        rows,
        file,
        "done, an old snapshot open for so many minutes",
        "minutes of the open snapshot",
        "jobs/s of 3,000 offered",
    ),
}
