"""The table of the layers: every test belongs to one, figures are summed, runs are added up, the page is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import layers
import pytest
from layers import BEGIN, END, LAYERS, Counting, Tally, layer_of, written

ROOT = Path(__file__).parents[1]


def _report(test: str, when: str = "call", outcome: str = "passed", **more: Any) -> Any:
    given = {"nodeid": test, "when": when, "duration": 1.5, "user_properties": [], **more}
    return SimpleNamespace(**given, **{kind: outcome == kind for kind in ("passed", "failed", "skipped")})


def test_every_test_belongs_to_a_layer_and_every_layer_has_tests() -> None:
    folders = ("tests", "adapters/celery/tests", "kombu_depqueue/testing/conformance")
    files = [str(f.relative_to(ROOT)) for folder in folders for f in (ROOT / folder).rglob("test_*.py")]
    assert {layer_of(file) for file in files} == set(LAYERS)


def test_the_longest_beginning_counts() -> None:
    assert layer_of("tests/transport/test_channel_jobs.py::test_x") == "L1"
    assert layer_of("tests/transport/test_celery_workers.py::test_x[a]@group") == "L7"
    assert layer_of("tests/transport/test_celery_chaos.py::test_x") == "L5"
    with pytest.raises(AssertionError, match="no layer"):
        layer_of("elsewhere/test_x.py")


def test_figures_are_summed_by_their_unit_and_runs_added_up(tmp_path: Path) -> None:
    file = tmp_path / "layers.json"
    for _ in range(2):
        counting = Counting(SimpleNamespace())  # type: ignore[arg-type]
        for figure in ("1,200 steps", "34 steps", "2 cells"):
            counting.pytest_runtest_logreport(_report("tests/model/x"))
            told = [("figure", figure), ("tally", "whatever")]
            counting.pytest_runtest_logreport(_report("tests/model/x", "teardown", user_properties=told))
        counting.pytest_runtest_logreport(_report("tests/gate/x", outcome="failed"))
        counting.pytest_runtest_logreport(_report("tests/gate/x", "setup", outcome="skipped"))
        layers._add_up(file, counting.tallies)
    found = layers._read(file)
    assert found["L2"] == Tally(6, 0, 0, 18.0, {"steps": 2468, "cells": 4})
    assert found["L10"] == Tally(0, 2, 2, 6.0)
    lines = layers.table(found)
    assert f"| L2 | {LAYERS['L2'].what} | 6 | 4 cells, 2,468 steps | 0.3 |" in lines
    assert "| all | | 6, 2 failed, 2 skipped | | 0.4 |" in lines


def test_processes_of_xdist_are_counted_once(tmp_path: Path) -> None:
    file, test = tmp_path / "layers.json", "tests/test_layers.py::test_the_longest_beginning_counts"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--benchmark-disable", "--layers", str(file), test]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: tally.tests for name, tally in layers._read(file).items()} == {"L1": 1}


def test_a_figure_is_a_number_and_a_unit() -> None:
    with pytest.raises(AssertionError, match="a figure is"):
        Tally().note(_report("tests/x", "teardown", user_properties=[("figure", "many steps")]))


def test_the_table_stands_between_the_marks_of_the_page() -> None:
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    once = written(page, ["| a |", "| b |"])
    assert f"\n{BEGIN}\n| a |\n| b |\n{END}\n" in once
    assert written(written(once, ["| c |"]), ["| a |", "| b |"]) == once
    with pytest.raises(AssertionError, match="no mark"):
        written("a page", [])
