"""Kombu's own integration tests, from its published source distribution: none of their text is in this repository.

They are fetched once with pip (of the Kombu that is installed) into pytest's cache, and run by a pytest of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy

from kombu_depqueue.testing.fixtures import Database, Place

SUITE = [
    "BasicFunctionality",
    "BaseExchangeTypes",
    "BaseTimeToLive",
    "BasePriority",
    "BaseMessage",
    "BaseEventLoop",
    "BaseFailover",
]

NOT_FOR_US = {
    "BaseFailover::test_failover_switches_to_alternate_url": "it wants `connection.port` before connecting, and the "
    "raw scheme as the transport's name after: Kombu keeps the URL of a `+` scheme whole, as the host name",
}
"""What cannot hold for a URL like `depqueue+postgresql://`, and why."""

# Alternates of a failover list may have no query in Kombu (`parse_url` -> TypeError): options go beside the URL.
HEAD = """
import common
import kombu
import kombu_depqueue  # bare kombu.Connection, before anything needs a serializer
import pytest

ELSEWHERE = "depqueue+postgresql://localhost:1/nobody"


@pytest.fixture
def connection(request):
    return kombu.Connection(request.cls.url, transport_options=request.cls.options)


@pytest.fixture
def invalid_connection():
    return kombu.Connection(ELSEWHERE, connect_timeout=2)


@pytest.fixture
def failover_connection(request):
    urls = [ELSEWHERE, request.cls.url]
    return kombu.Connection(urls, transport_options=request.cls.options, connect_timeout=2)
"""
CLASS = """

class Test{name}(common.{name}):
    url = {url!r}
    options = {options!r}
"""


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with Kombu's test classes."""
    cache = getattr(request.config, "cache", None)
    name = f"kombu-{version('kombu')}"
    folder = cache.mkdir(f"{name}-t") if cache is not None else tmp_path_factory.mktemp(name)
    file = Path(folder) / "common.py"
    if file.exists():
        return file
    with TemporaryDirectory() as fetched:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", "kombu", "--dest", fetched, f"kombu=={version('kombu')}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        archives = list(Path(fetched).glob("*.tar.gz"))
        if done.returncode or not archives:
            reason = f"no source of {name} to be had: {done.stderr.strip().splitlines()[-1:]}"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
        with tarfile.open(archives[0]) as archive:
            source = archive.extractfile(f"{name}/t/integration/common.py")
            assert source is not None
            text = source.read()
    partly = file.with_suffix(f".{os.getpid()}")  # another process may be fetching too
    partly.write_bytes(text)
    partly.replace(file)
    return file


@pytest.fixture
def module(suite: Path, tmp_path: Path, place: Place, database: Database) -> Iterator[Path]:
    """A folder with subclasses of Kombu's classes, each with a file or schema of its own."""
    text = suite.read_text()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  env: x\n  flaky: x\n")
    classes, schemas = [], []
    for name in SUITE:
        if f"class {name}" not in text:
            continue  # older Kombus have fewer
        options: dict[str, object] = {"create": True}
        url = place.engine_url
        if place.schema:
            schemas.append(f"{place.schema}_{len(schemas)}")
            options["schema"] = schemas[-1]
        elif place.prefix:
            options["table_prefix"] = f"{place.prefix}{len(classes)}_"
        else:
            url += f"-{name}"
        classes.append(CLASS.format(name=name, url=f"depqueue+{url}", options=options))
    (tmp_path / "test_ours.py").write_text(HEAD + "".join(classes))
    yield tmp_path
    if database.admin is not None:
        with database.admin.connect() as connection:
            for schema in schemas:
                connection.execute(sqlalchemy.text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))


def test_kombus_own_tests(suite: Path, module: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-q", "-p", "no:cacheprovider"]
    for test in NOT_FOR_US:
        command += ["--deselect", f"test_ours.py::Test{test}"]
    done = subprocess.run(
        [*command, "test_ours.py"],
        cwd=module,
        env={**os.environ, "PYTHONPATH": str(suite.parent), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=115,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert f"{len(NOT_FOR_US)} deselected" in done.stdout
