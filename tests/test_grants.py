"""Least privilege: each role does its work with what `depqueue grants` gives it, and nothing more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from kombu import Connection, Exchange, Producer, Queue
from roles import As, execute, granted
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sweep.breaking import BREAKERS

from kombu_depqueue import Duplicate, JobMessage, JobQueue, JobState, QueueFull, StorageError
from kombu_depqueue.dialects import dialect_for
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.grants import ROLES
from kombu_depqueue.migrating import Migrator
from kombu_depqueue.settings import parse
from kombu_depqueue.testing.fixtures import Database, Place
from kombu_depqueue.testing.helpers import drain

pytestmark = pytest.mark.bare  # tables are changed here


@pytest.fixture
def attempt(database: Database, place: Place) -> Callable[[str, str], bool]:
    """Whether a role may execute a statement; `{job}` is the table's name."""

    def try_it(url: str, statement: str) -> bool:
        dialect = dialect_for(parse(url))
        names = {n: t.fullname for n, t in vars(dialect.tables).items() if hasattr(t, "fullname")}
        try:
            with dialect.engine.connect() as connection:
                connection.exec_driver_sql(statement.format(**names))
        except DBAPIError as error:
            said = str(error.orig).lower()
            assert "denied" in said or "must be owner" in said, said
            return False
        finally:
            dialect.engine.dispose()
        return True

    return try_it


def skip_if_locks_are_rows(statement: str, database: Database) -> None:
    if database.name == "mysql" and statement.startswith("UPDATE {meta}"):
        pytest.skip("locks on ids are rows of `meta` there: docs/upgrade.md says so")


def test_a_publisher_enqueues_in_every_way(as_role: As, queue: JobQueue) -> None:
    queue.enqueue("t")
    failed = queue.enqueue("failed")
    queue.reserve(0, queues=["failed"]).fail()
    done = queue.enqueue("done")
    queue.reserve(0, queues=["done"]).ack({"a": 1})
    with JobQueue(as_role("publisher")) as publisher:
        plain = publisher.enqueue("t", {"n": 1}, priority=3)
        own = JobMessage.new("t").job_id
        assert publisher.enqueue("t", job_id=own) == own
        with pytest.raises(Duplicate):
            publisher.enqueue("t", job_id=own)
        later = publisher.enqueue("t", delay=3600)
        bound = publisher.enqueue("t", depends_on=[plain, done])
        hopeless = publisher.enqueue("t", depends_on=[failed], dependency_policy="succeeded")
        assert publisher.enqueue_many([JobMessage.new("t", n) for n in range(10)]) == 10
        assert publisher.enqueue_many([JobMessage.new("t", n, delay=60) for n in range(3)]) == 3
        assert publisher.enqueue("new type")
    states = [queue.status(i).state for i in (plain, own, later, bound, hopeless)]
    assert states == [JobState.READY, JobState.READY, JobState.SCHEDULED, JobState.BLOCKED, JobState.CANCELED]
    assert len(drain(queue, ["t"])) == 14


def test_a_publisher_publishes_through_kombu_where_all_is_declared(
    as_role: As, queue: JobQueue, database_url: str
) -> None:
    where = Queue("tasks", Exchange("tasks", type="direct"), routing_key="tasks")
    with Connection(f"depqueue+{database_url}") as mine:
        where(mine).declare()
        Queue("bare")(mine).declare()
    first = queue.enqueue("t")
    with Connection(f"depqueue+{as_role('publisher')}") as connection, Producer(connection) as producer:
        for n in range(2):
            task = {"task": "a.task", "id": str(JobMessage.new("t").job_id)}
            common = {"exchange": where.exchange, "routing_key": "tasks", "declare": [where]}
            producer.publish({"n": n}, headers=task, **common)
            later = {**task, "id": str(JobMessage.new("t").job_id), "eta": "2999-01-01T00:00:00+00:00"}
            producer.publish({"n": n}, headers=later, **common)
            bound = {**task, "id": str(JobMessage.new("t").job_id), "depends_on": [str(first)]}
            producer.publish({"n": n}, headers=bound, **common)
            producer.publish({"n": n}, exchange="", routing_key="bare", headers={"x-job-id": task["id"][::-1]})
    [tasks] = [q for q in queue.queues() if q.name == "tasks"]
    assert (tasks.ready, tasks.scheduled + tasks.blocked) == (2, 4)


@pytest.mark.parametrize("fault", ["cut before", "cut after"])
def test_a_publisher_may_do_what_the_second_try_of_a_call_takes(
    fault: str, as_role: As, queue: JobQueue, database: Database, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever statement its connection is lost at: nothing is lost, nothing is there twice, and nobody is told."""
    first = queue.enqueue("first")
    queue.resume("t")
    with (
        closing(BREAKERS[database.name](engine)) as breaker,
        Connection(f"depqueue+{as_role('publisher')}") as connection,
    ):
        channel = connection.default_channel
        publisher = connection.transport.queue

        def task(job_id: str) -> None:
            message = channel.prepare_message("[]", content_type="application/json")
            message["headers"] = {"task": "a.task", "id": job_id}
            channel.basic_publish(message, "", "t")

        def given() -> str:
            return str(JobMessage.new("t").job_id)

        calls: list[Callable[[], object]] = [
            lambda: publisher.enqueue("t"),
            lambda: publisher.enqueue("t", job_id=given()),
            lambda: publisher.enqueue("t", delay=60),
            lambda: publisher.enqueue("t", depends_on=[first]),
            lambda: task(given()),
            lambda: publisher.enqueue_many([JobMessage.new("t"), JobMessage.new("t")]),
        ]
        for call in calls:
            call()  # finds out what it asks only once
        breaker.attach(publisher._database.dialect, monkeypatch)
        publisher._database._connections.flush()
        publisher._database.dialect.engine.dispose()
        made = len(calls) + 1
        for call in calls:
            breaker.arm()
            call()
            statements = breaker.count
            for at in range(1, statements + 1):
                breaker.arm(at, fault)
                call()
                assert breaker.broken
            made += (1 + statements) * (2 if call is calls[-1] else 1)
    found = [q for q in queue.queues() if q.name == "t"]
    assert [q.ready + q.scheduled + q.blocked for q in found] == [made]


def test_a_publisher_is_told_that_a_queue_is_full(as_role: As, queue: JobQueue) -> None:
    queue.limit("small", max_length=2)
    with JobQueue(as_role("publisher")) as publisher:
        assert publisher.enqueue_many([JobMessage.new("small"), JobMessage.new("small", delay=60)]) == 2
        with pytest.raises(QueueFull):
            publisher.enqueue("small")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT body FROM {job}",
        "SELECT envelope FROM {job}",
        "SELECT * FROM {wait}",
        "SELECT result FROM {done}",
        "SELECT body FROM {ended_body}",
        "SELECT value FROM {memo}",
        "SELECT name FROM {consumer}",
        "DELETE FROM {job}",
        "DELETE FROM {wait}",
        "DELETE FROM {done}",
        "UPDATE {job} SET consumer_id = 1",
        "UPDATE {job} SET body = ''",
        "UPDATE {done} SET status = 1",
        "UPDATE {queue} SET paused = true",
        "UPDATE {meta} SET value = '9'",
        "INSERT INTO {consumer} (id) VALUES (1)",
        "DROP TABLE {job}",
    ],
)
def test_a_publisher_may_not(
    statement: str, as_role: As, attempt: Callable[[str, str], bool], queue: JobQueue, database: Database
) -> None:
    skip_if_locks_are_rows(statement, database)
    queue.queues()
    url = as_role("publisher")
    assert attempt(url, "SELECT job_id FROM {job}")
    assert not attempt(url, statement)


def test_a_consumer_works(as_role: As, queue: JobQueue) -> None:
    first = queue.enqueue("t", 1)
    bound = queue.enqueue("t", depends_on=[first])
    queue.enqueue("t", delay=0.05)
    with JobQueue(as_role("consumer", lease=5)) as consumer:
        done = []
        while len(done) < 3:
            reservation = consumer.reserve(20, queues=["t"])
            reservation.extend(10)
            done.append(reservation.job_id)
            reservation.ack({"done": True})
        assert set(done) >= {first, bound}
        again = consumer.enqueue("t", depends_on=[first])
        consumer.reserve(5, queues=["t"]).requeue(0)
        consumer.reserve(5, queues=["t"]).reject()
        assert consumer.status(again).state is JobState.FAILED
        consumer.register_worker("w")
        consumer.maintain()


def test_a_consumer_consumes_through_kombu(as_role: As, queue: JobQueue, database_url: str) -> None:
    queue.queues()
    with Connection(f"depqueue+{as_role('consumer')}") as connection:
        simple = connection.SimpleQueue("simple")
        simple.put({"n": 1})
        message = simple.get(timeout=20)
        assert message.payload == {"n": 1}
        message.ack()
        simple.close()


@pytest.mark.parametrize("role", ["consumer", "operator"])
@pytest.mark.parametrize("statement", ["DROP TABLE {job}", "UPDATE {meta} SET value = '9'", "DELETE FROM {meta}"])
def test_workers_and_operators_may_not(
    role: str,
    statement: str,
    as_role: As,
    attempt: Callable[[str, str], bool],
    queue: JobQueue,
    database: Database,
) -> None:
    skip_if_locks_are_rows(statement, database)
    queue.queues()
    url = as_role(role)
    assert attempt(url, "SELECT body FROM {job}")
    assert not attempt(url, statement)


def test_only_operators_pause(as_role: As, queue: JobQueue) -> None:
    queue.enqueue("t")
    with JobQueue(as_role("consumer")) as consumer, pytest.raises(StorageError, match="denied"):
        consumer.pause("t")
    with JobQueue(as_role("operator")) as operator:
        operator.pause("t")
    assert queue.queues()[0].paused


def test_an_operator_looks_and_mends(as_role: As, queue: JobQueue) -> None:
    from kombu_depqueue.cli import main

    failed, dead, waiting = queue.enqueue("t", 1), queue.enqueue("t", 2), queue.enqueue("t", delay=3600)
    queue.dequeue_by_id(failed).fail()
    queue.dequeue_by_id(dead).reject()
    held = queue.enqueue("t", depends_on=[])
    queue.dequeue_by_id(held)
    url = as_role("operator")
    for command in (
        ["queues"],
        ["jobs"],
        ["show", str(failed), "--payload"],
        ["why", str(waiting)],
        ["graph", str(waiting)],
        ["workers"],
        ["health"],
        ["enqueue", "t", "1"],
        ["retry", str(failed)],
        ["retry", "--all-dead", "--yes"],
        ["cancel", str(waiting), "--yes"],
        ["discard", str(waiting), "--yes"],
        ["requeue", str(held)],
        ["pause", "t"],
        ["resume", "t"],
        ["purge", "t", "--yes"],
        ["prune", "--yes"],
        ["migrate", "--check"],
    ):
        assert main(["--url", url, *command]) == 0, command
    assert main(["--url", url, "doctor"]) in (0, 1)  # 3 would be an error


def test_a_migrator_changes_the_tables_and_others_do_not(as_role: As, queue: JobQueue) -> None:
    queue.enqueue("t")
    for role in ("publisher", "consumer", "operator"):
        with Migrator(as_role(role)) as migrator, pytest.raises(StorageError, match=r"denied|must be owner"):
            migrator.run(1)
    queue.close()
    with Migrator(as_role("migrator")) as migrator:
        assert migrator.run(1)
        assert migrator.run(2)


def test_a_migrator_creates_them(database: Database, as_role: As, place: Place, queue: JobQueue) -> None:
    if database.name != "postgresql":
        pytest.skip("elsewhere the rights are those on tables by their names")
    queue.close()
    url = as_role("migrator")
    with JobQueue(url.replace("create=false", "create=true"), create=True) as made:
        assert made.enqueue("t")


def test_a_name_is_quoted_and_a_file_has_no_roles(database_url: str, database: Database) -> None:
    if database.admin is None:
        for role in ROLES:
            with pytest.raises(InvalidJob, match="no roles"):
                granted(database_url, role, "web")
        return
    for bad in ("", "x" * 64, "a\nb", "a\0b"):
        with pytest.raises(InvalidJob):
            granted(database_url, "publisher", bad)
    if database.name == "postgresql":
        assert 'TO "a""; DROP TABLE x; --"' in granted(database_url, "publisher", 'a"; DROP TABLE x; --')[0]


# whose objects are used


def test_objects_of_the_same_names_elsewhere_are_not_touched(
    database: Database, queue: JobQueue, engine: Engine, database_url: str, place: Place
) -> None:
    """A hostile schema comes first in the search path, with tables and functions called like ours and the server's."""
    if database.name != "postgresql":
        pytest.skip("PostgreSQL's search path")
    queue.enqueue("t")
    hostile = f"{place.schema}_evil"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {hostile}"))
        for table in queue._database.dialect.tables.metadata.tables.values():
            connection.execute(text(f"CREATE TABLE {hostile}.{table.name} (LIKE {table.fullname} INCLUDING ALL)"))
        connection.execute(text(f"CREATE SEQUENCE {hostile}.seq"))
        connection.commit()
    try:
        url = make_url(database_url).update_query_dict({"options": f"-c search_path={hostile},public"})
        with JobQueue(url) as mine:
            first = mine.enqueue("t", 1)
            bound = mine.enqueue("t", depends_on=[first])
            assert mine.enqueue_many([JobMessage.new("t") for _ in range(3)]) == 3
            assert len(drain(mine, ["t"])) == 6
            assert mine.status(bound).state is JobState.SUCCEEDED
        with Migrator(url) as migrator:
            migrator.run(1)
            migrator.run(2)
        with engine.connect() as connection:
            for table in queue._database.dialect.tables.metadata.tables.values():
                count = text(f"SELECT count(*) FROM {hostile}.{table.name}")
                assert connection.execute(count).scalar() == 0, table.name
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP SCHEMA {hostile} CASCADE"))
            connection.commit()


def test_two_queues_in_one_database_do_not_meet(database: Database, place: Place, queue: JobQueue) -> None:
    """By prefix on every database; by schema, or both, where there are schemas."""
    prefix = f"{place.prefix}x_"[-30:]
    others: list[dict[str, str]] = [{"table_prefix": prefix}]
    if database.name == "postgresql":
        others.append({"schema": f"{place.schema}_x"})
    mine = queue.enqueue("t")
    try:
        for options in others:
            with JobQueue(place.url, **{**options, "create": True}) as other:
                theirs = other.enqueue("t", job_id=mine)  # the same id is another job there
                assert theirs == mine
                other.pause("t")
                assert not queue.queues()[0].paused
                other.resume("t")
                assert drain(other, ["t"]) == [theirs]
                assert queue.status(mine).state is JobState.READY
        assert drain(queue, ["t"]) == [mine]
    finally:
        if database.name == "postgresql" and database.admin is not None:
            execute(database.admin, f"DROP SCHEMA IF EXISTS {place.schema}_x CASCADE")


def test_limits_are_an_operators_to_set_and_hold_for_a_publisher(as_role: As, queue: JobQueue) -> None:
    queue.enqueue("t")
    with JobQueue(as_role("operator")) as operator:
        operator.limit("t", max_length=2)
        assert operator.figures().queues[0].ready == 1
        assert "privileges" in {one.code for one in operator.examine().findings}  # it declares no exchange
    with JobQueue(as_role("publisher")) as publisher:
        publisher.enqueue("t")
        with pytest.raises(QueueFull):
            publisher.enqueue("t")
        with pytest.raises(StorageError):
            publisher.limit("t")
