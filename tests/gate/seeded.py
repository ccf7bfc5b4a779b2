"""Bugs put into a copy of the package, and the tests that must notice.

`bugs.toml` is the catalogue. A bug replaces text of the package that must be there exactly once: when the
product changes, the bug fails loudly until it is written anew. The package that is installed is never touched.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BUGS", "Bug", "Edit", "Verdict", "bugs", "copy_of_the_package", "run"]

ROOT = Path(__file__).parents[2]
PACKAGE = "kombu_depqueue"
COPIED = (PACKAGE, "tests", "adapters", "docs", "pyproject.toml", "README.md", "Makefile")
PATIENCE, LONGER = 200.0, 300.0
"""Seconds for the tests of one bug; and of one that is slow."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What is written instead of what, in a file of the package."""

    file: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """The text of the file with the bug. Raises AssertionError if what it replaces is not there exactly once."""
        found = text.count(self.old)
        assert found == 1, f"the product has changed: this is {found} times in {self.file}, not once:\n{self.old}"
        changed = text.replace(self.old, self.new)
        compile(changed, self.file, "exec")
        return changed


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake that somebody could make, and who has to notice."""

    name: str
    layer: str
    """Which of the layers of tests/layers.py must fail."""
    tests: tuple[str, ...]
    """These very tests of it."""
    edits: tuple[Edit, ...]
    databases: str
    because: tuple[str, ...]
    """The errors with which they may fail, by name; "Failed" is pytest's: what should have raised did not."""
    cells: str
    """Cells of chaos that are enough."""
    full: bool
    """Its tests are there with `--full` alone."""
    slow: bool
    """It takes too long for the handful of an ordinary run."""

    @property
    def options(self) -> tuple[str, ...]:
        """How pytest finds the tests."""
        cells = ["--cells", self.cells] if self.cells else []
        return ("--databases", self.databases, *["--full"] * self.full, *cells)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests said."""

    passed: int
    failures: tuple[dict[str, str], ...]
    """Each with test, when, error, message."""
    seconds: float
    said: str
    """What pytest printed."""

    def kills(self, because: Sequence[str]) -> dict[str, str] | None:
        """The failure that is about the bug, if there is one: none in preparing a test, no timeout, no NameError."""
        for one in self.failures:
            if one["when"] == "call" and one["error"] in because and not one["message"].startswith("Timeout (>"):
                return one
        return None


def bugs() -> dict[str, Bug]:
    """The catalogue, by name."""
    found = tomllib.loads(Path(__file__).with_name("bugs.toml").read_text(encoding="utf-8"))["bug"]
    made = [
        Bug(
            name=one.pop("name"),
            layer=one.pop("layer"),
            tests=tuple(one.pop("tests")),
            edits=tuple(Edit(**edit) for edit in one.pop("edit")),
            databases=one.pop("databases", "sqlite"),
            because=tuple(one.pop("because", ["AssertionError", "Failed"])),
            cells=one.pop("cells", ""),
            full=one.pop("full", False),
            slow=one.pop("slow", False),
        )
        for one in found
        if one
    ]
    assert not any(found), f"words that mean nothing: {[one for one in found if one]}"
    assert len({bug.name for bug in made}) == len(made), "two bugs have one name"
    return {bug.name: bug for bug in made}


BUGS = bugs()


def copy_of_the_package(root: Path, edits: Iterable[Edit] = ()) -> None:
    """Copy package and tests, and put a bug in."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, root / name)
    for edit in edits:
        path = root / PACKAGE / edit.file
        path.write_text(edit.applied(path.read_text(encoding="utf-8")), encoding="utf-8")


def run(root: Path, tests: Sequence[str], *options: str, patience: float = PATIENCE) -> Verdict:
    """Run tests against the package in `root`, up to the first that fails."""
    report = root / "verdict.json"
    # `pytest` itself, with the copy as its folder: what tests start finds the copy before the package that is installed.
    command = [str(Path(sys.executable).with_name("pytest")), *tests, *options, "-x", "-q", "--tb=short"]
    command += ["-p", "no:cacheprovider", "-p", "witness", "--benchmark-disable"]
    if all(test.startswith("tests/") for test in tests):
        command += ["--seed", "1"]  # always the same: a bug that was found once is found again
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    paths = os.pathsep.join([str(root), str(root / "tests" / "gate")])
    environment = {**kept, "PYTHONPATH": paths, "GATE_REPORT": str(report)}
    began = time.monotonic()
    with (root / "said").open("wb") as said:
        child = subprocess.Popen(command, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)  # so that it clears up
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
    told = json.loads(report.read_text()) if report.exists() else {"passed": 0, "failures": []}
    output = (root / "said").read_text(errors="replace")
    return Verdict(told["passed"], tuple(told["failures"]), time.monotonic() - began, output)
