"""`depqueue doctor`: each finding is provoked, as far as one can without harm to others on the server."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from command import Cli
from sqlalchemy import Engine, inspect, make_url, text

from kombu_depqueue import JobMessage, JobQueue, SchemaError, doctor
from kombu_depqueue.dialects import Severity, mysql_inspection, postgresql_inspection, sqlite_inspection
from kombu_depqueue.dialects.inspection import version_of
from kombu_depqueue.dialects.mysql_inspection import MySQLInspection
from kombu_depqueue.doctor import Doctor
from kombu_depqueue.migrating import Migrator
from kombu_depqueue.schema import SCHEMA_VERSION
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.versions import MIGRATING

pytestmark = pytest.mark.bare  # tables are changed here

OF_THE_SERVER = {
    "autovacuum",
    "idle-in-transaction",
    "long-transaction",
    "fsync",
    "full-page-writes",
    "max-allowed-packet",
}
"""What a server for tests may have, or others on it may do."""


class Patient:
    """A database under examination."""

    def __init__(self, queue: JobQueue, engine: Engine, place: Place) -> None:
        self.queue, self.engine, self.place = queue, engine, place
        queue.queues()

    def table(self, name: str) -> str:
        return f"{self.place.schema}.{name}" if self.place.schema else f"{self.prefix}{name}"

    @property
    def prefix(self) -> str:
        return "" if self.place.schema else self.place.prefix or "depqueue_"

    def run(self, *statements: str) -> None:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.execute(text(statement))

    def findings(self) -> dict[str, Any]:
        return {one.code: one for one in self.queue.examine().findings if one.code not in OF_THE_SERVER}

    def codes(self) -> set[str]:
        return set(self.findings())


@pytest.fixture
def patient(queue: JobQueue, engine: Engine, place: Place) -> Patient:
    return Patient(queue, engine, place)


@pytest.fixture
def cli(database_url: str) -> Cli:
    return Cli(database_url)


def test_a_healthy_database_has_nothing(patient: Patient) -> None:
    patient.queue.enqueue("mail")
    assert patient.findings() == {}
    report = patient.queue.examine()
    assert version_of(report.server) >= (3, 35)
    assert report.driver.split()[0] in ("psycopg", "pymysql", "pysqlite")


# tables


def test_tables_that_were_changed_are_told(patient: Patient) -> None:
    p, t = patient.prefix, patient.table
    index = f"{patient.place.schema}.{p}dep_job" if patient.place.schema else f"{p}dep_job"
    on = f" ON {t('dep')}" if "mysql" in patient.place.url else ""
    patient.run(f"DROP INDEX {index}{on}", f"ALTER TABLE {t('done')} ADD COLUMN mine INTEGER")
    found = patient.findings()
    assert {code: one.severity for code, one in found.items()} == {"missing-index": "warning", "extra-column": "note"}
    assert f"{p}dep_job" in found["missing-index"].found
    patient.run(f"ALTER TABLE {t('job')} DROP COLUMN meta", f"DROP TABLE {t('memo')}")
    found = patient.findings()
    assert {"missing-column", "missing-table"} <= set(found)
    assert found["missing-table"].severity is Severity.ERROR
    patient.run(found["missing-index"].cure, *found["missing-table"].cure.split("; "))
    assert patient.codes() == {"missing-column", "extra-column"}


def test_a_missing_table_is_told_though_it_is_needed(patient: Patient, cli: Cli) -> None:
    patient.run(f"DROP TABLE {patient.table('consumer')}")
    said = cli("doctor")
    assert said.code == 1
    assert f"ERROR missing-table: table {patient.prefix}consumer is missing" in said.out


@pytest.mark.only("postgresql")
def test_changed_columns_keys_and_indexes_are_told(patient: Patient) -> None:
    t, schema = patient.table, patient.place.schema
    patient.run(
        f"ALTER TABLE {t('wait')} ALTER COLUMN attempt TYPE bigint",
        f"ALTER TABLE {t('wait')} ALTER COLUMN body DROP NOT NULL",
        f"ALTER TABLE {t('memo')} DROP CONSTRAINT memo_pkey",
        f"DROP INDEX {schema}.job_id",
        f"CREATE INDEX job_id ON {t('job')} (job_id)",
        f"ALTER TABLE {t('queue')} DROP CONSTRAINT queue_name",
    )
    found = patient.findings()
    assert set(found) == {"column-type", "column-null", "primary-key", "index", "missing-constraint"}
    assert found["column-type"].found == "column wait.attempt is BIGINT, not INTEGER"
    assert found["column-null"].found == "column wait.body may be NULL"


@pytest.mark.only("postgresql")
def test_an_invalid_index_is_told(patient: Patient) -> None:
    patient.queue.enqueue("mail")
    patient.queue.enqueue("mail")
    with pytest.raises(Exception, match="could not create unique index"):
        patient.run(f"CREATE UNIQUE INDEX CONCURRENTLY half ON {patient.table('job')} (queue_id)")
    assert "half" in patient.findings()["invalid-index"].found


def test_other_schema_versions_are_told_and_are_no_drift(patient: Patient, database_url: str) -> None:
    with Migrator(database_url) as migrator:
        migrator.run(SCHEMA_VERSION - 1)
        assert {code: one.severity for code, one in patient.findings().items()} == {"schema-version": "note"}
        migrator.run(SCHEMA_VERSION)
    assert patient.codes() == set()
    values = f"('{MIGRATING}', '{SCHEMA_VERSION + 1}')"
    key = "`key`" if "mysql" in database_url else '"key"'
    patient.run(f"INSERT INTO {patient.table('meta')} ({key}, value) VALUES {values}")
    assert patient.codes() == {"half-migrated"}


def test_one_connection_is_enough(patient: Patient, make_queue: MakeQueue) -> None:
    alone = make_queue(pool_size=1, deadline=3.0)
    alone.enqueue("mail")  # it is kept at hand for the next call
    assert {one.code for one in alone.examine().findings} <= OF_THE_SERVER
    alone.drop_tables()
    with pytest.raises(SchemaError):
        patient.queue.queues()


# upkeep and clocks


def test_what_nobody_looks_after_is_told(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OVERDUE", 0.2)
    patient.queue._store.add_consumer(7, 0, "dead", -1.0, "", None)
    patient.queue.enqueue("mail")
    patient.queue.enqueue("mail", delay=0.001)
    wait_until(lambda: patient.codes() >= {"dead-consumers", "overdue-jobs"})
    patient.queue._store.leave([7])
    wait_until(lambda: patient.codes() == {"overdue-jobs", "nobody-consumes"})
    patient.queue.pause("mail")
    assert "nobody-consumes" not in patient.codes()
    patient.queue.maintain()
    assert patient.codes() == set()


def test_records_that_nobody_prunes_are_told(
    patient: Patient, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "COUNT_LIMIT", 20)
    queue = make_queue(retention=0.01)
    queue.enqueue_many([JobMessage.new("mail", n) for n in range(20)])
    queue.ack_many(queue.reserve_many(20, 5, queues=["mail"]))
    wait_until(lambda: "old-records" in patient.codes())


@pytest.mark.parametrize(("off", "says"), [(3600.0, "behind"), (-3600.0, "ahead of"), (0.5, None)])
def test_clocks_that_differ_are_told(patient: Patient, off: float, says: str | None) -> None:
    report = Doctor(patient.queue._store, lambda: datetime.now(UTC) + timedelta(seconds=off)).examine()
    [found] = [one.found for one in report.findings if one.code == "clock-skew"] or [None]
    assert (found is None) if says is None else (found is not None and says in found)


# PostgreSQL


def _options(url: str, settings: str) -> str:
    return make_url(url).update_query_dict({"options": settings}).render_as_string(hide_password=False)


@pytest.mark.only("postgresql")
@pytest.mark.parametrize(
    ("settings", "code", "severity"),
    [
        ("-c synchronous_commit=off", "synchronous-commit", "error"),
        ("-c default_transaction_read_only=on", "read-only", "error"),
    ],
)
def test_settings_of_the_session_are_told(
    patient: Patient, make_queue: MakeQueue, settings: str, code: str, severity: str
) -> None:
    queue = make_queue(url=_options(patient.place.url, settings), create=False)
    [found] = [one for one in queue.examine().findings if one.code == code]
    assert found.severity == severity


SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "synchronous_standby_names": ""}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, None),
        ({"fsync": "off"}, "fsync"),
        ({"full_page_writes": "off"}, "full-page-writes"),
        ({"synchronous_commit": "off"}, "synchronous-commit"),
        ({"synchronous_commit": "local"}, None),
        ({"synchronous_commit": "local", "synchronous_standby_names": "s1"}, "synchronous-commit"),
        ({"synchronous_commit": "remote_write", "synchronous_standby_names": "s1"}, "synchronous-commit"),
        ({"synchronous_commit": "remote_apply", "synchronous_standby_names": "s1"}, None),
    ],
)
def test_what_a_power_cut_takes_on_postgresql(changed: dict[str, str], code: str | None) -> None:
    found = list(postgresql_inspection.durability({**SAFE, **changed}))
    assert [one.code for one in found] == ([code] if code else [])


@pytest.mark.parametrize(
    ("names", "seen", "code"),
    [
        ("s1", (1, 1, 1), None),
        ("s1", (0, 0, 0), "synchronous-standby"),
        ("s1", (1, 1, 0), "synchronous-standby"),  # another, which commits do not wait for
        ("s1, s2", (1, 1, 1), None),
        ("ANY 2 (s1, s2, s3)", (3, 3, 3), None),
        ("ANY 2 (s1, s2, s3)", (1, 1, 1), "synchronous-standby"),
        ("first 1(s1)", (1, 1, 1), None),
        ("2 (s1, s2)", (2, 2, 1), "synchronous-standby"),
        ("s1", (1, 0, 0), None),  # we may not see which they are
        ("2 (s1, s2)", (1, 0, 0), "synchronous-standby"),
    ],
)
def test_standbys_that_commits_wait_for_in_vain(names: str, seen: tuple[int, int, int], code: str | None) -> None:
    facts = {**SAFE, "synchronous_standby_names": names, "client_min_messages": "warning"}
    assert [one.code for one in postgresql_inspection.standbys(facts, *seen)] == ([code] if code else [])
    unheard = {**facts, "client_min_messages": "error"}
    codes = [one.code for one in postgresql_inspection.standbys(unheard, *seen)]
    assert codes == [*([code] if code else []), "client-min-messages"]


@pytest.fixture
def role(patient: Patient) -> Iterator[str]:
    """A role that may read only; removed afterwards."""
    name = f"t_{uuid4().hex[:12]}"
    patient.run(
        f"CREATE ROLE {name} LOGIN",
        f"GRANT USAGE ON SCHEMA {patient.place.schema} TO {name}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {patient.place.schema} TO {name}",
    )
    yield name
    patient.run(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.mark.only("postgresql")
def test_a_role_that_lacks_privileges_is_told(patient: Patient, role: str, make_queue: MakeQueue) -> None:
    queue = make_queue(url=_options(patient.place.url, f"-c role={role}"), create=False)
    [found] = [one for one in queue.examine().findings if one.code == "privileges"]
    assert "binding: DELETE" in found.found
    assert "SELECT" not in found.found
    queue.close()


@pytest.mark.only("postgresql")
def test_a_pooler_is_told(patient: Patient, make_queue: MakeQueue) -> None:
    found = make_queue(prepared_statements=False).examine().findings
    assert "pooler" in {one.code for one in found}


@pytest.mark.only("postgresql")
def test_autovacuum_that_is_off_is_told(patient: Patient) -> None:
    patient.run(f"ALTER TABLE {patient.table('job')} SET (autovacuum_enabled = off)")
    [found] = [one for one in patient.queue.examine().findings if one.code == "autovacuum"]
    assert (found.severity, found.found) == ("error", "autovacuum is off for job")


@pytest.mark.only("postgresql")
def test_dead_rows_are_told(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_inspection, "DEAD", 20)
    patient.queue.enqueue_many([JobMessage.new("mail", n) for n in range(50)])
    patient.queue.purge("mail")
    wait_until(lambda: "dead-rows" in patient.codes(), 60)
    assert patient.findings()["dead-rows"].found.startswith("table job: about ")


@pytest.mark.only("postgresql")
def test_old_transactions_are_told(patient: Patient, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_inspection, "LONG", 0)
    with engine.connect() as connection:
        connection.execute(text(f"SELECT count(*) FROM {patient.table('job')}"))
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        found = [one for one in patient.queue.examine().findings if one.code == "idle-in-transaction"]
        assert any(f"session {pid} " in one.found for one in found)
        assert any(f"pg_terminate_backend({pid})" in one.cure for one in found)


@pytest.mark.only("postgresql")
def test_slots_that_nobody_uses_are_told(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_inspection, "BEHIND", -1)
    name = f"t_{uuid4().hex[:12]}"
    patient.run(f"SELECT pg_create_physical_replication_slot('{name}', true)")
    try:
        found = [one.found for one in patient.queue.examine().findings if one.code == "replication-slot"]
        assert any(name in one for one in found)
    finally:
        patient.run(f"SELECT pg_drop_replication_slot('{name}')")


# SQLite


@pytest.mark.only("sqlite")
def test_sqlite_that_is_not_durable_is_told(patient: Patient, make_queue: MakeQueue) -> None:
    found = make_queue(synchronous="NORMAL").examine().findings
    assert [(one.code, one.severity) for one in found] == [("synchronous", "warning")]


@pytest.mark.only("sqlite")
def test_a_file_without_a_write_ahead_log_is_told(tmp_path: Any) -> None:
    url = f"sqlite:///file:{tmp_path / 'dot.db'}?vfs=unix-dotfile&uri=true"  # locks as on a network disk
    with JobQueue(url, create=True) as queue:
        assert "journal-mode" in {one.code for one in queue.examine().findings}


@pytest.mark.only("sqlite")
def test_the_file_itself_is_looked_at(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    patient.queue.enqueue_many([JobMessage.new("mail", "x" * 4000) for _ in range(500)])
    patient.run(*(f"DELETE FROM {patient.table(name)}" for name in ("job", "done", "ended_body")))
    monkeypatch.setattr(sqlite_inspection, "BIG", 1000)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = patient.findings()
    assert {code: one.severity for code, one in found.items()} == {
        "read-only": "error",
        "big-journal": "warning",
        "free-pages": "note",
    }


# MariaDB and MySQL


@pytest.mark.only("mysql")
def test_a_table_in_another_engine_is_told(patient: Patient) -> None:
    patient.run(f"ALTER TABLE {patient.table('blocked')} ENGINE = MyISAM")
    assert patient.findings()["engine"].found == "not in InnoDB: blocked"


@pytest.mark.only("mysql")
def test_old_transactions_are_told_on_mysql(patient: Patient, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_inspection, "LONG", 1)
    with engine.connect() as connection:
        connection.execute(text(f"UPDATE {patient.table('meta')} SET value = value"))
        thread = connection.execute(text("SELECT CONNECTION_ID()")).scalar()

        def told() -> bool:
            found = [one.found for one in patient.queue.examine().findings if one.code == "long-transaction"]
            return any(f"connection {thread} " in one for one in found)

        wait_until(told, 30)


FLUSHED = {
    "innodb_flush_log_at_trx_commit": "1",
    "innodb_doublewrite": "ON",
    "log_bin": "1",
    "sync_binlog": "1",
    "read_only": "0",
}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, None),
        ({"innodb_flush_log_at_trx_commit": "2"}, "flush-log"),
        ({"innodb_doublewrite": "0"}, "doublewrite"),
        ({"sync_binlog": "0"}, "sync-binlog"),
        ({"sync_binlog": "0", "log_bin": "0"}, None),
        ({"read_only": "1"}, "read-only"),
    ],
)
def test_what_a_power_cut_takes_on_mysql(changed: dict[str, str], code: str | None) -> None:
    found = list(mysql_inspection.durability({**FLUSHED, **changed}))
    assert [one.code for one in found] == ([code] if code else [])


# versions


def test_old_servers_are_told(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    inspection = type(patient.queue._store.dialect.inspection())
    monkeypatch.setattr(inspection, "version", lambda self, tx: "3.8.1")
    assert patient.findings()["server-version"].severity == "error"


@pytest.mark.parametrize(
    ("version", "needs"),
    [("10.11.6-MariaDB-1", ""), ("10.5.2-MariaDB", "MariaDB 10.6"), ("8.0.36", ""), ("5.7.44-log", "MySQL 8")],
)
def test_mariadb_and_mysql_count_differently(version: str, needs: str) -> None:
    assert MySQLInspection.too_old(object.__new__(MySQLInspection), version) == needs


# the command


def test_the_command_says_what_is_wrong_and_what_to_do(patient: Patient, cli: Cli) -> None:
    patient.run(f"ALTER TABLE {patient.table('done')} ADD COLUMN mine INTEGER")
    said = cli("doctor")
    assert f"NOTE extra-column: column {patient.prefix}done.mine is none of ours\n" in said.out
    known = cli("doctor", "--json").json
    assert known["healthy"] is (said.code == 0)
    note = next(one for one in known["findings"] if one["code"] == "extra-column")
    assert set(note) == {"code", "severity", "found", "means", "cure"}
    ranks = [Severity(one["severity"]).rank for one in known["findings"]]
    assert ranks == sorted(ranks)


@pytest.mark.only("sqlite")
def test_the_exit_code_tells_how_bad_it_is(patient: Patient, cli: Cli) -> None:
    assert cli("doctor").out.endswith("nothing was found\n")
    assert cli("doctor", "--strict").code == 0
    assert cli("doctor", "-o", "synchronous=NORMAL").code == 0
    assert cli("doctor", "-o", "synchronous=NORMAL", "--strict").code == 1
    patient.run(f"DROP TABLE {patient.table('memo')}")
    assert cli("doctor").code == 1


def test_no_tables_are_no_finding(database_url: str) -> None:
    assert Cli(database_url)("-o", "create=false", "doctor").code == 3


# bench


def test_the_bench_measures_in_tables_of_its_own_and_drops_them(patient: Patient, cli: Cli, engine: Engine) -> None:
    patient.queue.enqueue("mail")

    def of_the_bench() -> list[str]:
        names = (*inspect(engine).get_table_names(schema=patient.place.schema), *inspect(engine).get_schema_names())
        return sorted(name for name in names if name.startswith("bench_"))

    before = of_the_bench()
    known = cli("bench", "--seconds", 2, "--json").json
    assert [one["what"].split(",")[0] for one in known["figures"]] == [
        "enqueue",
        "enqueue",
        "reserve and ack",
        "reserve and ack",
        "enqueue until a waiting consumer has it",
    ]
    for one in known["figures"]:
        assert one["jobs"] > 0, one
        assert one["per_second"] > 0, one
        assert 0 < one["p50_ms"] <= one["p99_ms"] <= one["most_ms"], one
    assert known["settings"]["server"].split()[0] in ("postgresql", "sqlite", "mysql")
    assert len(known["settings"]) >= 3
    assert of_the_bench() == before
    assert [q.name for q in patient.queue.queues()] == ["mail"]


@pytest.mark.only("sqlite")
def test_the_bench_clears_up_when_it_is_interrupted(patient: Patient, cli: Cli, engine: Engine) -> None:
    with cli.start("bench", "--seconds", 60) as running:
        wait_until(lambda: any(t.startswith("bench_") for t in inspect(engine).get_table_names()), 30)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
    assert not any(t.startswith("bench_") for t in inspect(engine).get_table_names())


def test_the_bench_makes_no_place(database_url: str) -> None:
    assert Cli(database_url)("-o", "create=false", "bench").code == 3


# the page


def test_the_page_names_every_finding_and_no_other() -> None:
    root = Path(__file__).parents[1]
    page = (root / "docs" / "operate.md").read_text(encoding="utf-8").partition("## What doctor finds")[2]
    rows = re.findall(r"^\| (`[^|]*) \|", page, re.MULTILINE)
    said = {code for row in rows for code in re.findall(r"`([a-z-]+)`", row)} - {"code"}
    package = root / "kombu_depqueue"
    sources = [*package.glob("dialects/*_inspection.py"), package / "doctor.py", package / "drift.py"]
    text = "\n".join(p.read_text(encoding="utf-8") for p in sources)
    made = set(re.findall(r"Finding\(\s*\"([a-z-]+)\"", text))
    made |= {"fsync", "full-page-writes", "long-transaction", "idle-in-transaction"}  # made of two words
    assert said == made
