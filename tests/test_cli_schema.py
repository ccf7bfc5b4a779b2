"""`depqueue migrate` and `depqueue grants`: what they print, and their exit codes."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, update

from kombu_depqueue import JobQueue
from kombu_depqueue.cli import main
from kombu_depqueue.migrating import Migrator
from kombu_depqueue.schema import SCHEMA_VERSION
from kombu_depqueue.testing.fixtures import Database


class Said(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Said]


@pytest.fixture
def cli(database_url: str) -> Cli:
    def run(*arguments: Any) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--url", database_url, *map(str, arguments)])
        return Said(code, out.getvalue(), err.getvalue())

    return run


@pytest.mark.bare
def test_migrate_needs_tables_and_names_the_command_that_makes_them(cli: Cli) -> None:
    said = cli("migrate")
    assert (said.code, said.out, said.err.count("\n")) == (3, "", 1)
    assert "depqueue init" in said.err


def test_back_and_forth(cli: Cli, queue: JobQueue) -> None:
    queue.enqueue("t")
    assert cli("migrate", "--check").code == 0
    assert "nothing to be done" in cli("migrate").out
    refused = cli("migrate", "--to", 1)
    assert refused.code == 2
    assert "--yes" in refused.err
    looked = cli("migrate", "--to", 1, "--dry-run")
    assert (looked.code, "to be done: back to version 1" in looked.out) == (0, True)
    assert cli("migrate", "--check").code == 0
    assert cli("migrate", "--to", 1, "--yes").code == 0
    checked = cli("migrate", "--check")
    assert (checked.code, "from version 1 to 2" in checked.out) == (1, True)
    assert cli("queues").code == 0  # this library works with it
    done = json.loads(cli("migrate", "--json").out)
    assert (done["version"], done["libraries"], done["left"]) == (SCHEMA_VERSION, [1, 3], [])
    assert cli("migrate", "--check").code == 0


def test_printed_statements_do_what_the_command_does(cli: Cli, queue: JobQueue, engine: Engine) -> None:
    queue.enqueue("t")
    for to in (1, 2):
        said = cli("migrate", "--to", to, "--sql")
        assert said.code == 0
        assert cli("migrate", "--to", to, "--check").code == 1  # nothing was done yet
        lines = [line for line in said.out.splitlines() if not line.startswith("--")]
        with engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            autocommit = getattr(raw, "autocommit", None)
            if callable(autocommit):
                autocommit(True)
            elif engine.dialect.name == "postgresql":
                raw.autocommit = True
            cursor = raw.cursor()
            for line in lines:
                cursor.execute(line.removesuffix(";"))
            raw.commit()
        assert cli("migrate", "--to", to, "--check").code == 0


def test_a_migration_that_was_cut_off_is_told(cli: Cli, queue: JobQueue, database_url: str) -> None:
    queue.queues()
    with Migrator(database_url) as migrator:
        migrator.run(1)
        before, _ = migrator._facts_around(migrator.plan(2)[0])
        with migrator.dialect.engine.connect() as connection:
            migrator._write(connection, before)
    checked = cli("migrate", "--check")
    assert (checked.code, "begun and not ended" in checked.out) == (1, True)
    assert json.loads(cli("migrate", "--check", "--json").out)["migrating"] == 2
    assert cli("migrate").code == 0
    assert cli("migrate", "--check").code == 0


def test_tables_of_a_newer_library_are_left_alone(cli: Cli, queue: JobQueue, engine: Engine) -> None:
    meta = queue._database.dialect.tables.meta
    queue.queues()
    with engine.begin() as connection:
        connection.execute(update(meta).where(meta.c.key == "schema_version").values(value="99"))
    for command in (["migrate"], ["migrate", "--to", "1", "--yes"], ["migrate", "--sql"], ["init"], ["queues"]):
        said = cli(*command)
        assert (said.code, said.out, said.err.count("\n")) == (3, "", 1), command
        assert "99" in said.err
        assert "upgrade kombu-depqueue" in said.err


@pytest.mark.parametrize(
    "wrong", [["--to", "0"], ["--to", "9"], ["--to", "x"], ["--check", "--sql"], ["--patience", "0"]]
)
def test_wrong_usage(wrong: list[str], cli: Cli, queue: JobQueue) -> None:
    queue.queues()
    said = cli("migrate", *wrong)
    assert (said.code, said.out) == (2, "")
    assert "Traceback" not in said.err


def test_grants_are_printed_for_each_role(cli: Cli, database: Database) -> None:
    assert cli("grants").code == 2
    said = cli("grants", "--publisher", "web", "--operator", "ops", "--json")
    if database.admin is None:
        assert said.code == 2
        assert "no roles" in said.err
        return
    texts = json.loads(said.out)["statements"]
    assert any("web" in t for t in texts)
    assert any("ops" in t for t in texts)
    assert all(t.startswith("GRANT ") for t in texts)
    assert all(line.endswith(";") for line in cli("grants", "--consumer", "work").out.splitlines())
    assert cli("grants", "--publisher", "").code == 2
    assert cli("grants", "--publisher", "a\nb").code == 2
