"""A pytest plugin for the runs of the gate: says which package was tested, and why tests failed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import kombu_depqueue

_told: dict[str, Any] = {"passed": 0, "failures": []}


def pytest_configure(config: pytest.Config) -> None:
    package = Path(kombu_depqueue.__file__)
    assert package.is_relative_to(Path.cwd()), f"not the copy but {package} is imported"
    # That it fails is enough: the shortest way to it would be looked for for minutes.
    hypothesis.settings.register_profile(
        "gate", phases=[hypothesis.Phase.generate], report_multiple_bugs=False, database=None
    )
    hypothesis.settings.load_profile("gate")


def pytest_exception_interact(node: Any, call: Any, report: Any) -> None:
    error = call.excinfo.value
    first = (str(error).strip().splitlines() or [""])[0]
    when = getattr(report, "when", "collect")
    told = {"test": node.nodeid, "when": when, "error": type(error).__name__, "message": first[:300]}
    _told["failures"].append(told)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _told["passed"] += report.when == "call" and report.passed


def pytest_sessionfinish() -> None:
    Path(os.environ["GATE_REPORT"]).write_text(json.dumps(_told))
