"""Schema versions: which library works with which tables, and how these change while they are in use."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Column, Engine, MetaData, SmallInteger, Table, inspect, text, update

from kombu_depqueue import JobQueue, SchemaError, StorageError
from kombu_depqueue.changes import AddColumn, Change, DropColumn
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.migrating import LOCK_WAIT, Migrator
from kombu_depqueue.migrations import MIGRATIONS, Migration
from kombu_depqueue.schema import SCHEMA_VERSION
from kombu_depqueue.testing.fixtures import MakeQueue, Place, RunProcess
from kombu_depqueue.testing.helpers import drain, in_threads, wait_until
from kombu_depqueue.versions import Facts, facts_of, refusal

pytestmark = pytest.mark.bare  # tables are changed here


@pytest.fixture
def migrator(database_url: str, queue: JobQueue) -> Iterator[Migrator]:
    """For this test's database, whose tables are there."""
    with Migrator(database_url) as made:
        yield made


def trial_column(there: Table) -> Column[Any]:
    """A column that no version has."""
    table = Table(there.name, MetaData(), Column("trial", SmallInteger), schema=there.schema)
    return table.c.trial


TRIAL = Migration(
    SCHEMA_VERSION + 1,
    "a column on trial",
    lambda t: [AddColumn(trial_column(table)) for table in (t.job, t.wait, t.done)],
    lambda t: [DropColumn(trial_column(table)) for table in (t.job, t.wait, t.done)],
)


# which library works with which tables


@pytest.mark.parametrize(
    ("version", "libraries", "words"),
    [
        (SCHEMA_VERSION, None, None),
        (SCHEMA_VERSION - 1, None, None),
        (SCHEMA_VERSION + 1, None, None),
        (SCHEMA_VERSION + 1, f"{SCHEMA_VERSION + 1}-{SCHEMA_VERSION + 2}", "upgrade kombu-depqueue"),
        (SCHEMA_VERSION + 2, None, "upgrade kombu-depqueue"),
        (SCHEMA_VERSION + 2, f"1-{SCHEMA_VERSION + 9}", "upgrade kombu-depqueue"),
        (SCHEMA_VERSION - 2, None, "depqueue migrate"),
    ],
)
def test_a_library_works_with_its_neighbours_unless_they_leave_it_out(
    version: int, libraries: str | None, words: str | None
) -> None:
    rows = [("schema_version", str(version)), *([("schema_libraries", libraries)] if libraries else [])]
    facts = facts_of(rows)
    assert facts is not None
    problem = refusal(facts)
    assert (problem is None) is (words is None)
    if problem is not None:
        assert words in str(problem)
        assert f"version {version}" in str(problem)
        assert f"{SCHEMA_VERSION}" in str(problem)


def test_both_numbers_and_the_command_are_named(migrator: Migrator, queue: JobQueue, database_url: str) -> None:
    meta = migrator.tables.meta
    with migrator.dialect.engine.connect() as connection:
        connection.execute(update(meta).where(meta.c.key == "schema_version").values(value="0"))
    with JobQueue(database_url) as late, pytest.raises(SchemaError, match=r"version 0.*depqueue migrate") as refused:
        late.enqueue("t")
    assert (refused.value.found, refused.value.wanted) == (0, (1, 2, 3))


def test_the_version_is_read_once_and_a_publish_asks_for_nothing_more(queue: JobQueue) -> None:
    queue.enqueue("t")
    reads: list[object] = []
    real = queue._database.schema_facts
    queue._database.schema_facts = lambda: reads.append(1) or real()  # type: ignore[method-assign,func-returns-value]
    for _ in range(3):
        queue.enqueue("t")
        queue.reserve(0, queues=["t"]).ack()
    assert reads == []


# up and down


def shape(engine: Engine, place: Place) -> dict[str, Any]:
    """Columns and indexes of all tables."""
    with engine.connect() as connection:
        look = inspect(connection)
        names = [n for n in look.get_table_names(place.schema) if n.startswith(place.prefix)]
        return {
            name: (
                {c["name"]: str(c["type"]) for c in look.get_columns(name, place.schema)},
                sorted(str(i["name"]) for i in look.get_indexes(name, place.schema)),
            )
            for name in names
        }


def test_down_and_up_again_gives_the_tables_that_are_created_at_once(
    migrator: Migrator, engine: Engine, place: Place
) -> None:
    created = shape(engine, place)
    for version in range(SCHEMA_VERSION - 1, 0, -1):
        assert migrator.run(version)
        assert migrator.facts() == Facts(version, max(version - 1, 1), version + 1, None)
        assert shape(engine, place) != created
    assert [step.to for step in migrator.run(SCHEMA_VERSION)] == list(range(2, SCHEMA_VERSION + 1))
    assert shape(engine, place) == created
    assert migrator.facts() == Facts(SCHEMA_VERSION, SCHEMA_VERSION - 1, SCHEMA_VERSION + 1, None)
    assert migrator.run(SCHEMA_VERSION) == []


def test_an_application_with_one_connection_can_be_migrated(queue: JobQueue, database_url: str) -> None:
    with Migrator(database_url, pool_size=1, deadline=3.0) as migrator:
        for version in (SCHEMA_VERSION - 1, SCHEMA_VERSION):
            assert len(migrator.run(version)) == 1


@pytest.mark.parametrize("steps", [(1, 2), (1, 2, 1)])
def test_jobs_in_every_state_live_through_it(migrator: Migrator, queue: JobQueue, steps: tuple[int, ...]) -> None:
    ended = queue.enqueue("ended", 1)
    queue.reserve(0, queues=["ended"]).ack({"given": 1})
    dead = queue.enqueue("dead", 2)
    queue.reserve(0, queues=["dead"]).reject()
    first = queue.enqueue("first")
    blocked, later = queue.enqueue("blocked", depends_on=[first, ended]), queue.enqueue("later", delay=3600)
    held = queue.enqueue("held")
    mine = queue.reserve(0, queues=["held"])
    before = {i: queue.status(i) for i in (ended, dead, first, blocked, later, held)}
    for version in steps:
        migrator.run(version)
        assert {i: queue.status(i) for i in before} == before
    mine.ack()
    queue.reserve(0, queues=["first"]).ack()
    assert drain(queue, ["blocked"]) == [blocked]
    assert queue.retry(dead)
    assert drain(queue, ["dead"]) == [dead]


def test_queues_opened_before_between_and_after_go_on(
    migrator: Migrator, queue: JobQueue, make_queue: MakeQueue
) -> None:
    queue.enqueue("t")
    assert drain(queue, ["t"])
    assert queue._database.works_as == 2
    migrator.run(1)
    # What it knew of the tables is not true any more: it looks again, and goes on.
    queue.register_worker("some worker")
    job_id = queue.enqueue("t")
    assert drain(queue, ["t"]) == [job_id]
    assert queue._database.works_as == 1
    between = make_queue()
    assert between.enqueue("t")
    assert between._database.works_as == 1
    migrator.run(2)
    for one in (queue, between, make_queue()):
        job_id = one.enqueue("u")
        assert drain(one, ["u"]) == [job_id]


def test_columns_of_a_version_to_come_disturb_nobody(migrator: Migrator, database_url: str, queue: JobQueue) -> None:
    def all_ways() -> None:
        first = queue.enqueue("t", 1)
        bound = queue.enqueue("t", depends_on=[first])
        lost = queue.enqueue("t", depends_on=[bound], dependency_policy="failed")
        late = queue.enqueue("t", delay=0.01)
        assert queue.enqueue_many([JobMessage.new("many", n) for n in range(5)]) == 5
        assert len(drain(queue, ["many"])) == 5
        done: list[Any] = []
        while len(done) < 3:
            reservation = queue.reserve(20, queues=["t"])
            reservation.ack()
            done.append(reservation.job_id)
        assert set(done) == {first, bound, late}
        assert queue.status(lost).state is JobState.CANCELED

    all_ways()  # what is prepared now is prepared for the tables as they are
    with Migrator(database_url, migrations=(*MIGRATIONS, TRIAL)) as further:
        further.run(TRIAL.version)
        all_ways()
        further.run(SCHEMA_VERSION)
        all_ways()


def test_consumers_say_what_they_work_with(migrator: Migrator, make_queue: MakeQueue) -> None:
    consumer = migrator.tables.consumer.c
    migrator.run(1)
    old = make_queue(name="old")
    drain(old)
    migrator.run(2)
    new = make_queue(name="new")
    drain(new)
    with migrator.dialect.engine.connect() as connection:
        rows = connection.execute(
            consumer.name.table.select().with_only_columns(consumer.name, consumer.schema_version)
        )
        assert dict(rows.fetchall()) == {"old": None, "new": 2}


def test_consumers_that_would_be_left_behind_are_named(
    migrator: Migrator, database_url: str, make_queue: MakeQueue
) -> None:
    migrator.run(1)
    old = make_queue(name="old-worker")
    drain(old)
    with Migrator(database_url, migrations=(*MIGRATIONS, TRIAL)) as further:
        with pytest.raises(SchemaError, match=r"1 consumers at work cannot use schema version 3.*old-worker"):
            further.run(3)
        assert further.facts() == Facts(2, 1, 3, None)
        old.close()
        assert [step.to for step in further.run(3)] == [3]
        assert further.run(2)


def test_versions_that_are_none_and_tables_of_the_future(migrator: Migrator) -> None:
    for version in (0, -1, SCHEMA_VERSION + 1):
        with pytest.raises(InvalidJob, match=f"1 to {SCHEMA_VERSION}"):
            migrator.run(version)
    with Migrator(migrator.database.settings.url, migrations=(*MIGRATIONS, TRIAL), **names(migrator)) as further:
        further.run(SCHEMA_VERSION + 1)
    with pytest.raises(SchemaError, match="upgrade kombu-depqueue"):
        migrator.run(SCHEMA_VERSION)


def names(migrator: Migrator) -> dict[str, Any]:
    settings = migrator.database.settings
    return {"schema": settings.schema} if settings.schema else {"table_prefix": settings.table_prefix}


def test_without_tables_the_error_names_the_command(database_url: str) -> None:
    with Migrator(database_url) as migrator, pytest.raises(SchemaError, match="depqueue init"):
        migrator.run(SCHEMA_VERSION)


# cut off midway


class Stuck(Change):
    """A change that fails."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __str__(self) -> str:
        return "stuck"

    def is_made(self, look: Any) -> bool:
        raise KeyboardInterrupt


def test_what_was_cut_off_is_told_and_continued(
    migrator: Migrator, database_url: str, engine: Engine, place: Place
) -> None:
    created = shape(engine, place)
    migrator.run(1)
    before = shape(engine, place)
    real = MIGRATIONS[0]
    cut = real._replace(upgrade=lambda t: [next(iter(real.upgrade(t))), Stuck(t.job)])
    with Migrator(database_url, migrations=(cut,)) as broken, pytest.raises(KeyboardInterrupt):
        broken.run(2)
    whole_or_not = migrator.dialect.one_writer  # there it is one transaction
    assert migrator.facts() == Facts(1, 1, 2, None if whole_or_not else 2)
    assert (shape(engine, place) == before) is whole_or_not
    with JobQueue(database_url) as queue:  # either can use the tables as they are
        job_id = queue.enqueue("t")
        assert drain(queue, ["t"]) == [job_id]
    assert [step.to for step in migrator.run(2)] == [2]
    assert shape(engine, place) == created
    assert migrator.facts().migrating is None


def test_what_was_cut_off_can_be_taken_back(
    migrator: Migrator, database_url: str, engine: Engine, place: Place
) -> None:
    migrator.run(1)
    before = shape(engine, place)
    cut = MIGRATIONS[0]._replace(upgrade=lambda t: [next(iter(MIGRATIONS[0].upgrade(t))), Stuck(t.job)])
    with Migrator(database_url, migrations=(cut,)) as broken, pytest.raises(KeyboardInterrupt):
        broken.run(2)
    migrator.run(1)
    assert shape(engine, place) == before
    assert migrator.facts() == Facts(1, 1, 2, None)


def test_an_index_that_was_given_up_midway_is_made_anew(migrator: Migrator, engine: Engine, place: Place) -> None:
    if migrator.dialect.name != "postgresql":
        pytest.skip("only PostgreSQL leaves such an index behind")
    migrator.run(1)
    index = next(i for i in migrator.tables.done.indexes if str(i.name).endswith("done_failed"))
    valid = f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{place.schema}.{index.name}'::regclass"
    made = f"CREATE INDEX CONCURRENTLY {index.name} ON {place.schema}.done (finished_at) WHERE status = 2"
    with engine.connect() as reader, engine.connect() as maker:
        reader.execute(text("BEGIN ISOLATION LEVEL REPEATABLE READ"))
        reader.execute(text("SELECT 1"))
        raw = maker.connection.dbapi_connection
        raw.autocommit = True
        raw.execute("SET statement_timeout = 500")
        with pytest.raises(Exception, match="statement timeout"):
            raw.execute(made)
        reader.rollback()
        assert raw.execute(valid).fetchone() == (False,)
        migrator.run(2)
        assert raw.execute(valid).fetchone() == (True,)


# several at once


def test_of_two_who_migrate_at_once_each_change_is_made_by_one(migrator: Migrator, database_url: str) -> None:
    migrator.run(1)
    said: list[str] = []

    def run() -> int:
        with Migrator(database_url) as mine:
            return len(mine.run(2, say=said.append))

    assert all(n in (0, 1) for n in in_threads([run] * 4))
    made = Counter(line for line in said if line.startswith("  "))
    assert made
    assert set(made.values()) == {1}
    assert migrator.facts().version == 2


def test_whoever_finds_another_migrating_gives_up_in_time(migrator: Migrator, database_url: str) -> None:
    migrator.run(1)
    with (
        Migrator(database_url) as other,
        other._alone(time.monotonic() + 30),
        pytest.raises(StorageError, match=r"another `depqueue migrate`|others write"),
    ):
        migrator.run(2, patience=1)
    assert migrator.run(2)


def test_many_who_create_the_tables_at_once(database_url: str) -> None:
    def create() -> bool:
        with JobQueue(database_url, create=True) as queue:
            return bool(queue.enqueue("t"))

    assert in_threads([create] * 8) == [True] * 8
    with JobQueue(database_url) as queue:
        assert len(drain(queue, ["t"])) == 8


def test_no_lock_that_anybody_may_hold_keeps_the_tables_from_being_made(database_url: str, engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("PostgreSQL's advisory locks")
    with engine.connect() as hostile:
        hostile.execute(text("SELECT pg_advisory_lock(7061951428376)"))
        with JobQueue(database_url, create=True, deadline=15) as queue:
            assert queue.enqueue("t")


# no publish is held up for long


def test_a_long_reader_delays_the_migration_and_no_publish(
    migrator: Migrator, database_url: str, queue: JobQueue, engine: Engine, record_property: Callable[..., None]
) -> None:
    """Somebody has read `job` in a transaction, and holds it open while a column is added there."""
    if migrator.dialect.one_writer:
        pytest.skip("readers hold up nobody here")
    job = migrator.tables.job
    queue.enqueue("t")
    stalls: list[float] = []
    stop, over = threading.Event(), threading.Event()

    def publish() -> None:
        while not stop.is_set():
            started = time.monotonic()
            queue.enqueue("t")
            stalls.append(time.monotonic() - started)

    def migrate() -> None:
        with Migrator(database_url, migrations=(*MIGRATIONS, TRIAL)) as further:
            further.run(TRIAL.version, patience=90)
        over.set()

    threads = [threading.Thread(target=publish), threading.Thread(target=migrate)]
    with engine.connect() as reader:
        reader.execute(job.select().limit(1))
        for thread in threads:
            thread.start()
        try:
            # It has waited, and let others pass, several times.
            wait_until(lambda: sum(s > LOCK_WAIT / 2 for s in stalls) >= 2, 60)
            assert not over.is_set()
            reader.rollback()
            assert over.wait(60)
        finally:
            reader.rollback()
            stop.set()
            for thread in threads:
                thread.join(60)
    record_property("longest publish", max(stalls))
    print(f"longest of {len(stalls)} publishes: {max(stalls):.2f} s")
    assert max(stalls) < LOCK_WAIT + 4  # on a busy machine; alone: 1.0 s
    with Migrator(database_url, migrations=(*MIGRATIONS, TRIAL)) as further:
        assert further.facts().version == TRIAL.version


def test_locks_that_cannot_be_had_end_it_in_time_and_the_next_run_goes_on(
    migrator: Migrator, queue: JobQueue, engine: Engine
) -> None:
    if migrator.dialect.one_writer:
        pytest.skip("readers hold up nobody here")
    migrator.run(1)
    with engine.connect() as reader:
        reader.execute(migrator.tables.consumer.select().with_only_columns(migrator.tables.consumer.c.id))
        with pytest.raises(StorageError, match="add column schema_version"):
            migrator.run(2, patience=1)
        reader.rollback()
    assert migrator.facts().migrating == 2
    assert migrator.run(2)


# a rehearsal: old and new code on the same tables

PROGRAM = """
import sys, threading
url, kind, age = sys.argv[1:]
if age == "old":  # a library whose own schema version is the one before
    import kombu_depqueue.schema
    kombu_depqueue.schema.SCHEMA_VERSION -= 1
from kombu_depqueue import Empty, JobQueue
from kombu_depqueue.testing.helpers import hear, say

stop = threading.Event()
threading.Thread(target=lambda: (hear(), stop.set()), daemon=True).start()
with JobQueue(url, create=False, poll_interval=0.1, name=age) as queue:
    last = None
    while not stop.is_set():
        if kind == "publisher":
            free = queue.enqueue("work")
            say(["published", str(free)])
            bound = queue.enqueue("work", depends_on=[free])
            say(["published", str(bound)])
        else:
            try:
                job = queue.reserve(0.5, queues=["work"])
            except Empty:
                continue
            job.ack()
            say(["acked", str(job.job_id)])
    say(["worked as", queue._database.works_as])
"""


class Crew:
    """Processes that publish and work, and all that they have said."""

    def __init__(self, run_process: RunProcess, url: str) -> None:
        self.run_process, self.url = run_process, url
        self.running: dict[tuple[str, str], Any] = {}
        self.said: list[list[Any]] = []

    def start(self, *ages: str) -> None:
        for age in ages:
            for kind in ("publisher", "worker"):
                self.running[kind, age] = self.run_process(PROGRAM, self.url, kind, age)

    def progress(self) -> None:
        """Each of them does something more."""
        for process in self.running.values():
            for _ in range(5):
                self.said.append(process.heard(60))

    def stop(self, *ages: str, kind: str) -> list[int]:
        """End them; returns which schema versions they worked with."""
        worked = []
        for key in [key for key in self.running if key[1] in ages and key[0] == kind]:
            process = self.running.pop(key)
            process.tell()
            rest = process.heard_until_end(60)
            process.wait()
            self.said += rest
            worked.append(rest[-1][1])
        return worked

    def count(self, word: str) -> Counter[str]:
        return Counter(said for heard, said in self.said if heard == word)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_old_and_new_code_work_together_while_the_tables_change(
    migrator: Migrator, queue: JobQueue, run_process: RunProcess, database_url: str
) -> None:
    """Expand, roll the code back, go back: nothing is lost, nothing is done twice.

    The old code is this code where it believes its own version to be the one before: which tables it accepts, and
    which statements it chooses, are those of the older library.
    """
    crew = Crew(run_process, database_url)
    migrator.run(SCHEMA_VERSION - 1)
    crew.start("old", "new")
    crew.progress()
    migrator.run(SCHEMA_VERSION)
    crew.progress()
    # The code is rolled back: the new one goes, the old one starts on the new tables.
    worked = crew.stop("new", kind="publisher") + crew.stop("new", kind="worker")
    assert worked == [SCHEMA_VERSION - 1] * 2  # they had seen the old tables, and go on so
    crew.start("new")
    crew.progress()
    assert crew.stop("old", kind="worker") == [SCHEMA_VERSION - 1]
    assert crew.stop("old", kind="publisher") == [SCHEMA_VERSION - 1]
    crew.start("old")
    crew.progress()
    assert crew.stop("new", kind="publisher") + crew.stop("new", kind="worker") == [SCHEMA_VERSION] * 2
    crew.progress()
    migrator.run(SCHEMA_VERSION - 1)
    crew.progress()
    crew.stop("old", kind="publisher")
    wait_until(lambda: not sum((q.ready, q.blocked, q.leased)[n] for q in queue.queues() for n in range(3)), 120)
    crew.stop("old", kind="worker")
    published, acked = crew.count("published"), crew.count("acked")
    assert len(published) > 20
    assert set(published.values()) == {1}
    assert acked == published
    assert all(queue.status(i).state is JobState.SUCCEEDED for i in published)
