"""What the benchmarks share: how much to do, and tables filled by SQL.

With `--benchmark-disable` each runs once with a handful of rows: a smoke test.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kombu_depqueue.testing.fixtures import MakeQueue, Place

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this one; pytest's importlib mode adds nothing

from scene import Site

from kombu_depqueue.testing.fill import Filler

Pick = Callable[[int, int], int]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "smoke: not run when it is measured, without --benchmark-disable")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name.startswith("bench_"):
            item.add_marker(pytest.mark.timeout(900))
    if not config.getoption("--benchmark-disable"):
        items[:] = [item for item in items if item.get_closest_marker("smoke") is None]


@pytest.fixture
def pick(request: pytest.FixtureRequest) -> Pick:
    """Choose a number: the first to measure, the second to smoke-test."""
    smoke = bool(request.getfixturevalue("benchmark").disabled)
    return lambda measured, smoked: smoked if smoke else measured


@pytest.fixture
def site(place: Place, make_queue: MakeQueue) -> Site:
    """A JobQueue on a fresh place, and a Filler for its tables."""
    return Site(make_queue(), Filler(place))
