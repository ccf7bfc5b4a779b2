"""What was measured, as JSON, as Markdown tables, and as plots."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import plots
from catalogue import about
from contenders import OURS
from measure import CALM, Row, Spread, listed, number, table

__all__ = ["MARKS", "Report", "has_marks", "markdown", "short", "write"]

MARKS = ("<!-- figures: written by python -m benchmarks --into -->", "<!-- end of figures -->")


@dataclass
class Report:
    """A run: where, when, with whom, and every figure."""

    size: str
    machine: dict[str, str]
    settings: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each group took."""
    interrupted: bool = False
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def begun(cls, size: str) -> Report:
        """A new one, here and now."""
        facts = {
            "begun": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
            "load at the beginning": _load(),
            "Python": platform.python_version(),
            "SQLite": f"{sqlite3.sqlite_version}, WAL, synchronous=FULL",
        }
        return cls(size, facts)

    def end(self) -> None:
        """Note how it was at the end."""
        self.machine["load at the end"] = _load()

    @classmethod
    def read(cls, folder: Path) -> Report:
        """One that was written before. Raises OSError, ValueError, TypeError or KeyError if it is none."""
        data = json.loads((folder / "results.json").read_text())
        data["rows"] = [Row(**{**row, "value": Spread(**row["value"])}) for row in data["rows"]]
        return cls(**data)

    @property
    def noise(self) -> float:
        """The most cores that other programs used while something was measured."""
        return max((r.busy or 0.0 for r in self.rows), default=0.0)


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def write(report: Report, folder: Path, pages: Sequence[Path] = ()) -> None:
    """Write all of it, and the chief figures into some pages, between their marks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    drawn = plots.draw(report.rows, folder)
    (folder / "results.md").write_text(markdown(report, drawn))
    for page in pages:
        there = os.path.relpath(folder, page.parent)
        seen = "\n".join(f"![{Path(name).stem}]({there}/{name})" for name in drawn if name in SHOWN)
        text = f"{short(report)}\n\n{seen}\n\nAll figures of that run: [results]({there}/results.md)."
        before, _, rest = page.read_text().partition(MARKS[0])
        page.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")


def has_marks(page: Path) -> bool:
    """Whether the chief figures have a place in a page."""
    return page.is_file() and all(mark in page.read_text() for mark in MARKS)


def markdown(report: Report, drawn: Sequence[str] = ()) -> str:
    """The whole report."""
    parts = ["# Figures", "Medians of the rounds of one run, with the lowest and the highest in parentheses."]
    parts += _warnings(report)
    parts.append("\n".join(f"- {name}: {fact}" for name, fact in report.machine.items()))
    parts += [f"![{Path(name).stem}]({name})" for name in drawn]
    if goals := [r for r in report.rows if r.goal]:
        reached = sum(r.verdict == "reached" for r in goals)
        parts += ["## Goals", f"{reached} of {len(goals)} were reached.", _goals(goals)]
    for group in dict.fromkeys(r.group for r in report.rows):
        rows = [r for r in report.rows if r.group == group]
        parts += [f"## {group}", about(group), *_tables(rows)]
        busy = max(r.busy or 0.0 for r in rows)
        parts.append(f"{report.seconds.get(group, 0):.0f} s; others used up to {busy:.1f} cores.")
    parts.append("## Who took part")
    parts.append(
        table(("contender", "versions and settings"), [(n, s) for n, s in report.settings.items()] or [("-", "-")])
    )
    if report.left_out:
        parts.append("\n".join(f"- {name} was left out: {why}" for name, why in report.left_out.items()))
    return "\n\n".join(parts) + "\n"


def _warnings(report: Report) -> Iterator[str]:
    if report.size != "usual":
        yield f'**A run of the size "{report.size}".**'
    if report.interrupted:
        yield "**Interrupted: not all was measured.**"
    if report.noise > CALM:
        yield (
            f"**On a noisy machine: other programs used up to {report.noise:.1f} cores. "
            "Rates are too low, and ratios are less sure.**"
        )
    for name, why in report.failed.items():
        yield f"**{name} failed: {why}**"


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    """Who did how much; ours against the others; what changes along an axis; the rest, one by one."""
    along = [r for r in rows if r.at is not None]
    against = [r for r in rows if r.against]
    rest = [r for r in rows if r.at is None and not r.against]
    shared = {
        r.what for r in rest if len({o.who for o in rest if o.what == r.what}) > 1 and not r.goal and not r.beside
    }
    contest = [r for r in rest if r.what in shared]
    if contest:
        yield _pivot(contest, "contender", lambda r: r.who, lambda r: f"{r.what}, {r.unit}")
    for who in dict.fromkeys(r.who for r in against):
        yield _pivot([r for r in against if r.who == who], f"{who}, times", lambda r: r.what, lambda r: r.against)
    if along:
        yield _pivot(
            along,
            "",
            lambda r: f"{r.what}: {r.who}, {r.unit}",
            lambda r: f"{r.at:,.0f}" if r.at % 1 == 0 else f"{r.at:.2f}",
        )
    if others := [r for r in rest if r.what not in shared]:
        yield listed(others)


def _goals(rows: Sequence[Row]) -> str:
    """Each goal beside its figure; those that were missed are easy to find."""
    head = ("goal of", "of", "against", "median (lowest-highest)", "goal", "")
    marked = {"reached": "reached", "missed": "**missed**"}
    return table(
        head,
        [(r.what, r.who, r.against, r.value.text(r.unit), r.goal, marked[r.verdict]) for r in rows],
    )


def _pivot(rows: Sequence[Row], corner: str, line: Any, column: Any) -> str:
    names, heads = dict.fromkeys(map(line, rows)), dict.fromkeys(map(column, rows))
    cells = {(line(r), column(r)): _cell(r) for r in rows}
    return table((corner, *heads), [(n, *(cells.get((n, h), "") for h in heads)) for n in names])


def _cell(row: Row) -> str:
    goal = f" {row.verdict} ({row.goal})" if row.goal else ""
    return row.value.text(row.unit).replace(f" {row.unit}", "") + goal


SHORT = {
    "Celery tasks drained per second, one worker (solo, late ack)": ("drain, -P solo, late ack", "/s"),
    "the same, early ack": ("drain, -P solo, early ack", "/s"),
    "`apply_async` per second, one process": ("apply_async", "/s"),
    "from `apply_async` to the task, idle, median": ("latency, idle, p50", "ms"),
}
SHOWN = ("throughput.svg", "latency.svg", "snapshot.svg")
"""The plots on other pages."""
BESIDE = (OURS["postgresql"], OURS["sqlite"], "RabbitMQ", "RabbitMQ, confirms", "Redis, everysec", "sqla on PostgreSQL")


def short(report: Report) -> str:
    """The chief figures, for other pages."""
    found = {(r.what, r.who): r for r in report.rows if not r.against}
    whom = [w for w in BESIDE if any((what, w) in found for what, _ in SHORT.values())]
    lines = []
    for label, (what, unit) in SHORT.items():
        cells = [found.get((what, who)) for who in whom]
        if any(cells):
            lines.append(
                (f"{label}", *(f"{number(c.value.median, unit)} {unit}".replace(" /s", "") if c else "" for c in cells))
            )
    noisy = f" Others used up to {report.noise:.1f} cores meanwhile." if report.noise > CALM else ""
    said = f"{report.machine['machine']}; PostgreSQL {report.machine.get('PostgreSQL', '-')}.{noisy}"
    return f"{table(('', *whom), lines)}\n\n{said}" if lines else "(not measured)"
