"""The layers of the tests against faults: which tests belong to which, how many they were and how long they took.

A plugin of pytest, loaded by conftest.py: with `--full` it prints the table at the end. A test adds a figure by
`record_property("figure", "12,345 steps")`; figures of one layer with the same unit are summed. With `--layers FILE`
the runs of one FILE are added up in it, and `python tests/layers.py FILE PAGE` writes the table into a page.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

__all__ = ["LAYERS", "Layer", "Tally", "layer_of", "table"]

BEGIN, END = "<!-- layers: written by make trust -->", "<!-- end of layers -->"


class Layer(NamedTuple):
    """Tests of one kind."""

    what: str
    paths: tuple[str, ...]
    """How the ids of its tests begin; of several layers that claim a test the longest such beginning counts."""


LAYERS = {
    "L1": Layer(
        "the contract: each promise, on every database, natively and through Kombu",
        ("kombu_depqueue/testing/conformance/", "tests/transport/", "tests/dialects/", "tests/", "adapters/"),
    ),
    "L2": Layer("a model: operations drawn by lot, all tables compared with it", ("tests/model/",)),
    "L3": Layer(
        "all interleavings of operations that may collide, statement by statement",
        ("tests/dialects/test_interleavings.py", "tests/dialects/test_isolation.py"),
    ),
    "L4": Layer(
        "one fault at every place: each statement of each operation fails; servers freeze, vanish, fill up",
        (
            "tests/dialects/test_cuts.py",
            "tests/dialects/test_cut_migrations.py",
            "tests/dialects/test_undone_tries.py",
            "tests/test_faults.py",
            "tests/chaos/test_faults_frozen.py",
        ),
    ),
    "L5": Layer(
        "chaos: real processes, faults all the time, the history checked afterwards",
        ("tests/chaos/", "tests/transport/test_celery_chaos.py"),
    ),
    "L6": Layer("high availability: standbys promoted, a cluster that fails over", ("tests/availability/",)),
    "L7": Layer(
        "real Celery workers: pools, shutdowns, kill -9, restarts of the server",
        ("tests/transport/test_celery_", "adapters/celery/tests/"),
    ),
    "L8": Layer(
        "threats: each row of [Security](security.md#what-has-been-tried)",
        (
            "tests/test_threats.py",
            "tests/test_grants.py",
            "tests/test_tls.py",
            "tests/transport/test_bad_messages.py",
            "tests/transport/test_signed_messages.py",
            "tests/transport/test_registration.py::test_the_password",
            "kombu_depqueue/testing/conformance/test_bad_input.py",
            "kombu_depqueue/testing/conformance/test_signing.py",
        ),
    ),
    "L9": Layer(
        "upgrades: old and new code at once, migrated while jobs flow",
        ("tests/test_migrations.py", "tests/test_embedding.py"),
    ),
    "L10": Layer("the gate: bugs put in on purpose, each found by the layer named for it", ("tests/gate/",)),
    "counts": Layer("round trips, rows, bytes of WAL and memory for each job, counted", ("tests/test_counts.py",)),
}


def layer_of(test: str) -> str:
    """The layer that a test belongs to, by its id."""
    found = [(len(path), name) for name, layer in LAYERS.items() for path in layer.paths if test.startswith(path)]
    assert found, f"{test} belongs to no layer"
    return max(found)[1]


@dataclass
class Tally:
    """What is known of the tests of a layer."""

    tests: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    figures: dict[str, int] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Another run's."""
        self.tests, self.failed = self.tests + other.tests, self.failed + other.failed
        self.skipped, self.seconds = self.skipped + other.skipped, self.seconds + other.seconds
        for unit, number in other.figures.items():
            self.figures[unit] = self.figures.get(unit, 0) + number

    def note(self, report: pytest.TestReport) -> None:
        """One stage of a test."""
        self.seconds += report.duration
        self.tests += report.when == "call" and report.passed
        self.failed += report.failed
        self.skipped += report.skipped
        if report.when == "teardown":
            for name, value in report.user_properties:
                if name == "figure":
                    match = re.fullmatch(r"([\d,]+) (.+)", str(value))
                    assert match, f"{report.nodeid}: a figure is a number and its unit, not {value!r}"
                    self.add(Tally(figures={match[2]: int(match[1].replace(",", ""))}))


def table(tallies: dict[str, Tally]) -> list[str]:
    """The table in Markdown."""
    lines = ["| layer | what it does | tests | in them | minutes |", "| --- | --- | --- | --- | --- |"]
    whole = Tally()
    for name, layer in LAYERS.items():
        if name in tallies:
            one = tallies[name]
            whole.add(one)
            figures = ", ".join(f"{number:,} {unit}" for unit, number in sorted(one.figures.items()))
            lines.append(f"| {name} | {layer.what} | {_tests(one)} | {figures} | {one.seconds / 60:.1f} |")
    return [*lines, f"| all | | {_tests(whole)} | | {whole.seconds / 60:.1f} |"]


def _tests(tally: Tally) -> str:
    others = {"failed": tally.failed, "skipped": tally.skipped}
    return ", ".join([f"{tally.tests:,}", *(f"{number:,} {what}" for what, number in others.items() if number)])


# -- the plugin ---------------------------------------------------------------------------


class Counting:
    """Counts what the reports say: under xdist those of all processes, on the one that collects them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.tallies: dict[str, Tally] = {}
        self.gate: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tallies.setdefault(layer_of(report.nodeid), Tally()).note(report)
        if report.when == "teardown":
            self.gate += [str(value) for name, value in report.user_properties if name == "bug"]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.gate:
            terminalreporter.section("seeded bugs")
            terminalreporter.write_line("\n".join(sorted(self.gate)))
        if self.config.option.full:
            terminalreporter.section("layers (minutes of all processes together)")
            terminalreporter.write_line("\n".join(table(self.tallies)))
        if self.config.option.layers is not None:
            _add_up(Path(self.config.option.layers), self.tallies)


def _read(path: Path) -> dict[str, Tally]:
    return {name: Tally(**one) for name, one in json.loads(path.read_text()).items()} if path.exists() else {}


def _add_up(path: Path, tallies: dict[str, Tally]) -> None:
    known = _read(path)
    for name, one in tallies.items():
        known.setdefault(name, Tally()).add(one)
    path.write_text(json.dumps({name: asdict(one) for name, one in known.items()}, indent=1))


# -- the page -----------------------------------------------------------------------------


def written(page: str, lines: Iterable[str]) -> str:
    """A page with the lines between the marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"there is no mark {BEGIN}"
    assert end, f"there is no mark {END}"
    return "\n".join([f"{before}{begin}", *lines, f"{end}{after}"])


def main(counted: str, page: str) -> None:
    """Write what was counted into a page, and print it."""
    python, cores = platform.python_version(), os.cpu_count()
    said = f"A full run on {cores} cores with Python {python}; the minutes of its processes are added up:"
    lines = [said, "", *table(_read(Path(counted)))]
    print("\n".join(lines))
    path = Path(page)
    path.write_text(written(path.read_text(encoding="utf-8"), lines), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
