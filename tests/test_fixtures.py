"""On which databases which tests run, and what becomes of those whose server is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

TESTS = """
import pytest

def test_plain(queue):
    assert queue.enqueue("default") == queue.reserve(0).job_id

def test_empty_again(queue):
    assert queue.queues() == []

@pytest.mark.bare
def test_bare(place, database):
    from sqlalchemy import create_engine, inspect
    with create_engine(place.engine_url).connect() as connection:
        found = inspect(connection).get_table_names(schema=place.schema)
    assert [name for name in found if name.startswith(place.prefix)] == []

@pytest.mark.slow
def test_slow(queue):
    pass

@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.variant)])
def test_sizes(queue, size):
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_some.py").write_text(TESTS)
    return tmp_path


def run(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "kombu_depqueue.testing.fixtures", "-p", "no:cacheprovider"]
    kept = {name: value for name, value in os.environ.items() if not re.match("DEPQUEUE_TEST_|CI$|PYTEST_", name)}
    return subprocess.run(
        [*command, *options], cwd=folder, env=kept | environment, capture_output=True, text=True, timeout=110
    )


def test_what_mariadb_is_spared_unless_it_is_named(folder: Path) -> None:
    collected = run(folder, "--collect-only").stdout
    for database in ("sqlite", "postgresql"):
        assert collected.count(f"[{database}") == 6
    assert re.findall(r"::(\S+mysql\S*)", collected) == [
        "test_plain[mysql]",
        "test_empty_again[mysql]",
        "test_bare[mysql]",
        "test_sizes[mysql-1]",
    ]
    assert run(folder, "--collect-only", "--databases", "mysql").stdout.count("[mysql") == 6


@pytest.mark.parametrize(("name", "url"), [("mysql", "mysql://u@127.0.0.1:1/test"), ("url", "no:url")])
def test_a_server_that_is_named_and_missing_fails_in_ci_alone(folder: Path, name: str, url: str) -> None:
    there = {f"DEPQUEUE_TEST_{name.upper()}": url}
    done = run(folder, "--databases", f"sqlite,{name}", **there)
    assert (done.returncode, "6 passed, 6 skipped" in done.stdout) == (0, True), done.stdout
    done = run(folder, "--databases", f"sqlite,{name}", CI="true", **there)
    assert (done.returncode, "6 passed, 6 errors" in done.stdout) == (1, True), done.stdout
    assert f"no {name} in CI: DEPQUEUE_TEST_{name.upper()}:" in done.stdout


def test_any_other_database_by_its_url(folder: Path) -> None:
    file = folder / "mine.db"
    done = run(folder, "--databases", "url", DEPQUEUE_TEST_URL=f"sqlite:///{file}")
    assert (done.returncode, "6 passed" in done.stdout) == (0, True), done.stdout
    assert file.exists()
    assert inspect(create_engine(f"sqlite:///{file}")).get_table_names() == []


def test_each_test_finds_its_place_empty(folder: Path, database: object) -> None:
    if getattr(database, "admin", None) is None:
        pytest.skip("a file for each test")
    url = database.admin.url.render_as_string(hide_password=False)  # type: ignore[attr-defined]
    done = run(folder, "--databases", "url", DEPQUEUE_TEST_URL=url)
    assert (done.returncode, "6 passed" in done.stdout) == (0, True), done.stdout
