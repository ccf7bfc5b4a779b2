"""Chaos cells, each with a verdict: two drawn by the seed and cut short, or with `--full` all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cell import BRIEF, FULL, run_cell
from cells import CELLS

from kombu_depqueue.testing.servers import ServerMissing


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_doubled_early_or_stuck_whatever_befalls(
    cell: str, seed: int, full: bool, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    try:
        report = run_cell(CELLS[cell], seed, tmp_path, FULL if full else BRIEF)
    except ServerMissing as missing:
        if missing.expected and os.environ.get("CI") == "true":
            pytest.fail(f"no {CELLS[cell].database} in CI: {missing}", pytrace=False)
        pytest.skip(f"no {CELLS[cell].database}: {missing}")
    print(report, report.kinds(), sep="\n    ")
    for unit, number in (("cells", 1), ("jobs", report.counts["acked"]), ("faults", report.faults.total())):
        record_property("figure", f"{number:,} {unit}")
    assert not report.violations, report.complaint()
