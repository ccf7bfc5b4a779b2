"""Chaos cells: see `cell` for how one runs, `cells` for what there is."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for this folder's own modules, in the cells' processes too

from cells import CELLS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        option = metafunc.config.option
        names = list(CELLS) if option.full else sorted(random.Random(option.seed).sample(list(CELLS), 2))
        metafunc.parametrize("cell", names if option.cells is None else option.cells.split(","))


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One cell at a time: they would disturb each other more than the faults do."""
    for item in items:
        if item.path.name == "test_cells.py":
            item.add_marker(pytest.mark.xdist_group("chaos"))
