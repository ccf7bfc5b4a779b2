"""What the tables, the sessions and the files say is found too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from book import Book
from checker import judge
from faults.base import Scene
from grounds import Ground
from history import History, Reader
from soak import Sample, is_flat
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from tables import at_rest, final, records_of
from tales import HOLD, JOB, OTHER, Tale

from kombu_depqueue import JobQueue
from kombu_depqueue.testing.fixtures import Database, MakeQueue, Place
from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.testing.sessions import Sessions

# what the tables say


@pytest.fixture
def rules_of(queue: JobQueue) -> Callable[[Tale, set[str]], set[str]]:
    """The rules that are broken by a tale and what is in the tables."""

    def found(story: Tale, business: set[str]) -> set[str]:
        violations = final(queue, story.book(), records_of(queue), business)
        return {v.rule for v in violations}

    return found


Found = Callable[[Tale, set[str]], set[str]]


@pytest.mark.only("sqlite")
def test_what_the_tables_lack_is_found(queue: JobQueue, rules_of: Found) -> None:
    stuck = str(queue.enqueue("t"))
    queue.dequeue_by_id(stuck)
    assert rules_of(Tale().publish(0, 1, stuck), set()) == {"I7 stuck"}
    assert rules_of(Tale().publish(0, 1, stuck).publish(0, 1, "gone"), set()) == {"I7 stuck", "I1 lost"}
    assert rules_of(Tale().publish(0, 1, stuck).publish(0, 1, "gone", how="info"), set()) == {"I7 stuck"}


@pytest.mark.only("sqlite")
def test_ends_that_nobody_caused_are_found(queue: JobQueue, rules_of: Found) -> None:
    done, failed, canceled = (str(queue.enqueue("t")) for _ in range(3))
    queue.dequeue_by_id(done).ack()
    queue.dequeue_by_id(failed).fail("no")
    queue.cancel(canceled)
    published = Tale().publish(0, 1, done).publish(0, 1, failed).publish(0, 1, canceled)
    found = final(queue, published.book(), records_of(queue), set())
    assert {(v.rule, v.job_id) for v in found} == {("I1 lost", i) for i in (done, failed, canceled)}
    caused = published.settle("ack", 2, 3, job=done).settle("fail", 2, 3, job=failed).queue("purge", 2, 3)
    assert final(queue, caused.book(), records_of(queue), set()) == []


@pytest.mark.only("sqlite")
def test_half_of_a_transaction_is_found(queue: JobQueue, rules_of: Found) -> None:
    job = str(queue.enqueue("t"))
    queue.dequeue_by_id(job).ack()
    story = Tale().publish(0, 1, job).settle("ack", 2, 3, job=job)
    assert rules_of(story, {job}) == set()
    assert rules_of(story, {job, str(uuid4())}) == {"I1 torn"}
    story.lines[0][1]["business"] = True
    assert rules_of(story, set()) == {"I1 torn"}


def test_counters_that_are_wrong_are_found(make_queue: MakeQueue) -> None:
    queue = make_queue()
    first = queue.enqueue("t")
    waits = queue.enqueue("t", depends_on=[first, queue.enqueue("t")])
    queue.dequeue_by_id(first).ack()
    assert at_rest(queue) == []
    blocked = queue._database.dialect.tables.blocked
    with queue._database.opened() as connection:
        connection.execute(blocked.update().values(pending=2))
    assert [(v.rule, v.job_id) for v in at_rest(queue)] == [("I7 counter", str(waits))]


@pytest.mark.only("postgresql", "mysql")
def test_a_session_that_is_left_in_a_transaction_is_found(database: Database, place: Place, sessions: Sessions) -> None:
    ground = Ground(Scene("", ""), place, sessions, database.admin)
    engine = create_engine(sessions.url.difference_update_query(["schema", "table_prefix"]), poolclass=NullPool)
    with engine.connect() as connection:
        kind = "TABLE" if database.is_mysql else "TEMPORARY TABLE"  # there in a database of our own
        connection.execute(text(f"CREATE {kind} mine (id INT)"))
        connection.execute(text("COMMIT"))
        assert ground.idle_transactions() == []
        connection.execute(text("BEGIN"))
        connection.execute(text("INSERT INTO mine VALUES (1)"))
        assert "idle in transaction" in str(wait_until(ground.idle_transactions, 10, interval=0.3))
    engine.dispose()


# hours


def test_what_grows_is_found() -> None:
    flat = [Sample(seconds=n, table_mb=min(n, 30) + n % 3 * 0.1, rss_mb=100.0 + n % 2) for n in range(100)]
    assert is_flat(flat, "table_mb")
    assert is_flat(flat, "rss_mb")
    assert not is_flat([Sample(seconds=n, rss_mb=100.0 + n * 0.3) for n in range(100)], "rss_mb")
    assert not is_flat([], "rss_mb")


def test_what_was_forgotten_still_tells_when_it_may_have_ended() -> None:
    for begin, end, broken in ((4, 6, set()), (3, 3.5, {"I6 blocked delivered"})):
        story = Tale().publish(0, 1).reserve(2, 3).settle("ack", 4, 5).publish(2, 3, OTHER, deps=[JOB])
        book = story.reserve(begin, end, job=OTHER).book()
        book.forget(book.jobs[JOB], before=0.0)
        assert {v.rule for v in judge(book.jobs[OTHER], book, HOLD)} == broken


# the files


def test_a_history_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    history, reader = History(tmp_path, "p"), Reader(tmp_path)
    op = history.invoke("cancel", id=JOB)
    book = Book()
    book.read(reader.new())
    assert book.jobs[JOB].cancels[0].complete == float("inf")
    with history.path.open("ab") as file:  # killed while it wrote
        file.write(b'{"n":0,')
        file.flush()
        assert list(reader.new()) == []
        file.truncate(file.tell() - 7)
    op.ok(did=True)
    book.read(reader.new())
    assert book.jobs[JOB].cancels[0].outcome == "ok"
    history.close()
