"""Measuring on a machine that is not ours alone: alternate, take medians, watch the others.

Absolute numbers of a shared machine mean little; ratios of two things done in turns,
A B A B, mean something. So every figure that can be is a ratio, taken per round, and
given as the median of the rounds with the lowest and the highest.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CALM",
    "Others",
    "Row",
    "Spread",
    "compared",
    "listed",
    "number",
    "percentile",
    "ratios",
    "rss",
    "spread",
    "table",
    "timed",
]

CALM = 0.25
"""Cores used by others that do not disturb."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several measurements, between the lowest and the highest."""

    median: float
    low: float
    high: float

    def text(self, unit: str) -> str:
        """Say it in a unit that `_number` knows."""
        if self.low == self.high:
            return f"{number(self.median, unit)} {unit}".strip()
        low, high = number(self.low, unit), number(self.high, unit)
        return f"{number(self.median, unit)} {unit} ({low}-{high})".replace("  ", " ")


def number(value: float, unit: str) -> str:
    """A value in its unit, as short as it may be."""
    scaled = value * {"ms": 1e3, "us": 1e6, "%": 100, "MB": 1 / 2**20}.get(unit, 1)
    if abs(scaled) >= 100:
        return f"{scaled:,.0f}"
    return f"{scaled:.1f}" if abs(scaled) >= 10 else f"{scaled:.2f}"


def spread(values: Iterable[float]) -> Spread:
    """The spread of some measurements."""
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found))


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The spread of the ratios, round by round."""
    return spread(a / b for a, b in zip(above, below, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def timed(work: Callable[[], object]) -> float:
    """How many seconds it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Others:
    """How much the other programs of this machine work; knows what is ours, the database server included."""

    def __init__(self, server: int | None = None, *, repeats: bool = False) -> None:
        self._repeats = repeats
        """Whether there is time for more rounds while others disturb."""
        self._ours = {os.getpid(), server}
        self._tick = os.sysconf("SC_CLK_TCK")

    def seconds(self) -> float:
        """The CPU seconds that others have used, since some moment."""
        if not Path("/proc/stat").exists():
            return 0.0
        busy = sum(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])) - _idle()
        return (busy - sum(self._times())) / self._tick

    def _times(self) -> Iterator[int]:
        """Our processes' times: two of us and of the server with their ended children, and their children that live."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = stat.read_text()
            except OSError:  # it has just ended
                continue
            fields = text.rpartition(")")[2].split()
            if int(text.split(" ", 1)[0]) in self._ours:
                yield sum(map(int, fields[11:15]))
            elif int(fields[1]) in self._ours:
                yield sum(map(int, fields[11:13]))

    def cores(self, seconds: float) -> float:
        """How many cores others use, watched for so long."""
        before = self.seconds()
        time.sleep(seconds)
        return max(0.0, self.seconds() - before) / seconds

    def quiet(self, patience: float) -> None:
        """Wait until others leave the machine to us, at most so many seconds."""
        until = time.monotonic() + patience
        while self.cores(1.0) > CALM and time.monotonic() < until:
            time.sleep(1.0)

    def alternate(
        self,
        rounds: int,
        ways: Mapping[str, Callable[[], float]],
        *,
        warm: bool = True,
        patience: float = 3.0,
    ) -> tuple[dict[str, list[float]], float]:
        """Do all ways in turns, and return what each gave, and how many cores others used meanwhile.

        The first round does not count, if it warms something up. If there is time for it, there are more rounds while
        others disturb, up to `patience` times as many, and the calmest are taken - whatever they gave.
        """
        found: list[tuple[float, list[float]]] = []
        for number in range((int(patience * rounds) if self._repeats else rounds) + warm):
            before, started = self.seconds(), time.perf_counter()
            values = [way() for way in ways.values()]
            used = max(0.0, self.seconds() - before) / (time.perf_counter() - started)
            if number or not warm:
                found.append((used, values))
            if sum(used <= CALM for used, _ in found) >= rounds:
                break
        calmest = sorted(sorted(range(len(found)), key=lambda i: found[i][0])[:rounds])
        times = {name: [found[i][1][n] for i in calmest] for n, name in enumerate(ways)}
        return times, max(found[i][0] for i in calmest)


def _idle() -> int:
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(fields[4]) + int(fields[5])


def rss() -> int:
    """The resident memory of this process, in bytes (0 where /proc does not tell)."""
    if not Path("/proc/self/statm").exists():
        return 0
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Row:
    """One figure: what was measured of whom, and what it should be."""

    what: str
    who: str
    """A contender, or the database where only ours is measured."""
    value: Spread
    unit: str = "x"
    """"x" is a ratio of two things done in turns: more than 1 is better than `against`, or so much dearer."""
    least: float | None = None
    most: float | None = None
    beside: str = ""
    """Absolute numbers, for the curious: they hold for this machine and moment only."""
    busy: float | None = None
    """Cores that others used meanwhile."""
    against: str = ""
    """The contender that it is a ratio to."""
    at: float | None = None
    """Where it belongs on the horizontal axis of a plot."""
    group: str = ""

    @property
    def verdict(self) -> str:
        """Whether the median is within the bounds: the goal is reached, or missed."""
        if self.least is None and self.most is None:
            return ""
        below = self.least is not None and not self.value.median >= self.least
        above = self.most is not None and not self.value.median <= self.most
        return "missed" if below or above else "reached"

    @property
    def goal(self) -> str:
        """The bounds as text."""
        parts = [
            f"{sign} {number(bound, self.unit)} {self.unit}".strip()
            for sign, bound in ((">=", self.least), ("<=", self.most))
            if bound is not None
        ]
        return ", ".join(parts)


def compared(
    what: str,
    done: Mapping[str, int],
    times: Mapping[str, list[float]],
    ours: Mapping[str, Mapping[str, float]],
    *,
    busy: float,
    unit: str = "/s",
) -> Iterator[Row]:
    """What each contender did in a second, and the ratios of ours to the others, round by round.

    `done`: how much each did in a round; `ours`: which are ours, and what they should be of others (1.5: half as fast
    again).
    """
    rates = {name: [done[name] / t for t in found] for name, found in times.items()}
    for name, found in rates.items():
        yield Row(what, name, spread(found), unit, busy=busy)
    for name in ours:
        for peer in rates:
            if name in rates and peer not in ours:
                least = ours[name].get(peer)
                yield Row(what, name, ratios(rates[name], rates[peer]), least=least, against=peer, busy=busy)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are as wide as they must be."""
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    texts = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in (head, *lines)
    ]
    texts.insert(1, "| " + " | ".join("-" * w for w in widths) + " |")
    return "\n".join(texts)


def listed(rows: Sequence[Row]) -> str:
    """The rows one by one."""
    head = ("figure", "of", "median (lowest-highest)", "goal", "", "beside it", "others")
    return table(
        head,
        [
            (
                f"{r.what} / {r.against}" if r.against else r.what,
                r.who,
                r.value.text(r.unit),
                r.goal,
                r.verdict,
                r.beside,
                f"{r.busy or 0.0:.1f}",
            )
            for r in rows
        ],
    )
