"""The checker finds what breaks an invariant, and nothing in what is just within it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from book import Book
from checker import Record, Rules, check, judge
from faults.base import Scene
from grounds import Ground
from history import History, Reader
from soak import Sample, is_flat
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from tables import at_rest, final, records_of

from kombu_depqueue import JobQueue
from kombu_depqueue.testing.fixtures import Database, MakeQueue, Place
from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.testing.sessions import Sessions

SECOND = 1_000_000_000
JOB, OTHER, THIRD = "job", "other", "third"


class Tale:
    """A history made by hand: what is said takes place between two moments (seconds)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self._numbers = count()

    def _say(self, op: str, begin: float, end: float | None, how: str, source: str, facts: Any, answer: Any) -> Tale:
        number = next(self._numbers)
        self.lines.append((source, {"n": number, "at": begin * SECOND, "op": op, **facts}))
        if end is not None:
            self.lines.append((source, {"n": number, "at": end * SECOND, "is": how, **answer}))
        return self

    def publish(self, begin: float, end: float | None, job: str = JOB, how: str = "ok", **facts: Any) -> Tale:
        answer = {"error": facts.pop("error")} if "error" in facts else {}
        jobs = [{"id": job, "queue": "work", **facts}]
        return self._say("publish", begin, end, how, "p", {"jobs": jobs}, answer)

    def reserve(
        self, begin: float, end: float, attempt: int = 1, job: str = JOB, token: str | None = None, source: str = "w"
    ) -> Tale:
        given = [[job, token or f"t{attempt}", attempt, int(attempt > 1)]]
        return self._say("reserve", begin, end, "ok", source, {}, {"jobs": given})

    def settle(
        self,
        how: str,
        begin: float,
        end: float | None,
        attempt: int = 1,
        said: str = "ok",
        job: str = JOB,
        **facts: Any,
    ) -> Tale:
        lost = {"lost": [job]} if said == "lost" else {}
        facts["items"] = [[job, f"t{attempt}"]]
        return self._say("settle", begin, end, "ok" if lost else said, "w", {"how": how, **facts}, lost)

    def again(self, begin: float, end: float, said: str) -> Tale:
        return self._say("again", begin, end, said, "w", {"id": JOB, "token": "t1"}, {})

    def cancel(self, begin: float, end: float, did: bool = True) -> Tale:
        return self._say("cancel", begin, end, "ok", "o", {"id": JOB}, {"did": did})

    def run(self, begin: float, end: float | None, source: str = "c") -> Tale:
        return self._say("run", begin, end, "ok", source, {"id": JOB, "redelivered": 0}, {})

    def queue(self, what: str, begin: float, end: float) -> Tale:
        return self._say(what, begin, end, "ok", "o", {"queue": "work"}, {})

    def close(self, at: float) -> Tale:
        return self._say("close", at, None, "ok", "w", {}, {})

    def book(self) -> Book:
        made = Book()
        made.read(self.lines)
        return made


def tale() -> Tale:
    """A job that was published between 0 and 1."""
    return Tale().publish(0, 1)


def handed_out() -> Tale:
    return tale().reserve(2, 3)


def end(state: str, attempt: int = 1, **facts: Any) -> dict[str, Record]:
    return {JOB: Record(state, attempt, **facts)}


HOLD = Rules(hold=2.0)
ORDERED = Rules(one_consumer=True)

Case = tuple[str, Tale, Rules, dict[str, Record] | None]

BROKEN: dict[str, Case] = {
    "delivered, and nobody published it": ("I2", Tale().reserve(2, 3), HOLD, None),
    "delivered before it was published": ("I2", Tale().reserve(2, 3).publish(4, 5), HOLD, None),
    "delivered though each publish had failed": ("I2", Tale().publish(0, 1, how="fail").reserve(2, 3), HOLD, None),
    "a duplicate of what had failed": (
        "I2",
        Tale().publish(0, 1, how="fail").publish(2, 3, how="fail", error="Duplicate"),
        HOLD,
        None,
    ),
    "a task that nobody sent": ("I2", Tale().run(2, 3), HOLD, None),
    "one token twice": ("I3", handed_out().reserve(8, 9, attempt=2, token="t1"), HOLD, None),
    "given to another while the lease lasts": ("I4", handed_out().reserve(3, 3.9, attempt=2), HOLD, None),
    "a body that runs twice at once": ("I4", tale().run(2, None).run(3, 4, source="d"), HOLD, None),
    "an old token is believed": ("I5", handed_out().reserve(6, 7, 2).settle("requeue", 8, 9), HOLD, None),
    "an old lease is extended": ("I5", handed_out().reserve(6, 7, 2).settle("extend", 8, 9), HOLD, None),
    "delivered before its dependency was finished": (
        "I6",
        Tale().publish(0, 1, OTHER).publish(2, 3, deps=[OTHER]).reserve(4, 5).settle("ack", 6, 7, job=OTHER),
        HOLD,
        None,
    ),
    "delivered though its dependency only lost its lease": (
        "I6",
        Tale()
        .publish(0, 1, OTHER)
        .publish(0, 1, deps=[OTHER])
        .settle("ack", 2, 3, said="lost", job=OTHER)
        .reserve(4, 5),
        HOLD,
        None,
    ),
    "delivered early": ("I8", Tale().publish(0, 1, delay=5.0).reserve(4, 4.9), HOLD, None),
    "a task that runs early": ("I8", Tale().publish(0, 1, delay=5.0).run(4.9, 6), HOLD, None),
    "delivered early after it was given back": (
        "I8",
        handed_out().settle("requeue", 4, 5, delay=3.0).reserve(6, 6.9, 2),
        HOLD,
        None,
    ),
    "handed out after its end": ("I9", handed_out().settle("ack", 4, 5).reserve(6, 7, 2), HOLD, None),
    "ended, and handed out to another in between": (
        "I9",
        handed_out().settle("ack", 4, 9).reserve(6, 7, 2),
        HOLD,
        None,
    ),
    "handed out after it was canceled": ("I9", tale().cancel(2, 3).reserve(4, 5), HOLD, None),
    "settled after it was canceled": ("I9", handed_out().cancel(4, 5).settle("ack", 6, 7), HOLD, None),
    "ended twice by one": ("I10", handed_out().settle("ack", 4, 5).again(6, 7, "ok"), HOLD, None),
    "asked once more, another answer": (
        "I10",
        handed_out().settle("ack", 4, 5, said="info", result=1).settle("ack", 6, 7, said="lost", result=1),
        HOLD,
        end("succeeded", result=1),
    ),
    "a later one first": (
        "I11",
        tale().publish(2, 3, OTHER).reserve(4, 5, job=OTHER).reserve(6, 7),
        ORDERED,
        None,
    ),
    "two hand-outs of one number": ("I13", handed_out().reserve(6, 7, 1, token="u"), HOLD, None),
    "numbers that go back": ("I13", tale().reserve(2, 3, 2).reserve(6, 7, 1), HOLD, None),
    "two ended it": (
        "I14",
        handed_out().settle("ack", 4, 10).reserve(6, 7, 2).settle("fail", 8, 9, attempt=2),
        HOLD,
        None,
    ),
    "another result than was accepted": (
        "I14",
        handed_out().settle("ack", 4, 5, result=1),
        HOLD,
        end("succeeded", result=2),
    ),
    "another state than was accepted": ("I14", handed_out().settle("fail", 4, 5), HOLD, end("succeeded")),
    "canceled, and its record denies it": ("I14", handed_out().cancel(4, 5), HOLD, end("succeeded")),
    "handed out too often": ("I15", Tale().publish(0, 1, most=1).reserve(2, 3).reserve(7, 8, 2), HOLD, None),
    "handed out while its queue was paused": (
        "paused",
        Tale().queue("pause", 0, 1).publish(2, 3).reserve(4, 5).queue("resume", 6, 7),
        HOLD,
        None,
    ),
}

LEGAL: dict[str, Case] = {
    "delivered before its publish had returned": ("I2", Tale().publish(0, 9).reserve(2, 3), HOLD, None),
    "delivered though its publisher was killed": ("I2", Tale().publish(0, None).reserve(2, 3), HOLD, None),
    "a duplicate of what was unsure": (
        "I2",
        Tale().publish(0, 1, how="info").publish(2, 3, how="fail", error="Duplicate"),
        HOLD,
        None,
    ),
    "two tokens": ("I3", handed_out().reserve(8, 9, attempt=2), HOLD, None),
    "given to another when the lease was over": ("I4", handed_out().reserve(3, 4, attempt=2), HOLD, None),
    "given to another when it had been given back": (
        "I4",
        handed_out().settle("requeue", 3, None).reserve(3, 3.5, attempt=2),
        HOLD,
        None,
    ),
    "given to another when its process had closed": ("I4", handed_out().close(3).reserve(3, 3.5, 2), HOLD, None),
    "a body that ran, and runs again": ("I4", tale().run(2, 2.5).run(3, 4, source="d"), HOLD, None),
    "an old token is believed before another has one": (
        "I5",
        handed_out().settle("requeue", 6.5, 9).reserve(6, 7, 2),
        HOLD,
        None,
    ),
    "an old token is refused": ("I5", handed_out().reserve(6, 7, 2).settle("ack", 8, 9, said="lost"), HOLD, None),
    "delivered while its dependency was being finished": (
        "I6",
        Tale().publish(0, 1, OTHER).publish(0, 1, deps=[OTHER]).settle("ack", 4, None, job=OTHER).reserve(4, 5),
        HOLD,
        None,
    ),
    "delivered on time": ("I8", Tale().publish(0, 1, delay=4.0).reserve(2, 4.5), HOLD, None),
    "delivered on time by another's clock": (
        "I8",
        Tale().publish(0, 1, delay=5.0).reserve(2, 3),
        Rules(clock_jumps=True),
        None,
    ),
    "delivered on time after it was given back": (
        "I8",
        handed_out().settle("requeue", 4, 5, delay=1.0).reserve(4, 5.5, 2),
        HOLD,
        None,
    ),
    "handed out when the end was refused": (
        "I9",
        handed_out().reserve(6, 7, 2).settle("ack", 8, 9, said="lost"),
        HOLD,
        None,
    ),
    "handed out while it was being canceled": ("I9", tale().reserve(2, 4).cancel(2, 3), HOLD, None),
    "canceled when it had ended": ("I9", tale().cancel(2, 3, did=False).reserve(4, 5).settle("ack", 6, 7), HOLD, None),
    "not ended twice": ("I10", handed_out().settle("ack", 4, 5).again(6, 7, "fail"), HOLD, None),
    "asked once more, the same answer": (
        "I10",
        handed_out().settle("ack", 4, 5, said="info", result=1).settle("ack", 6, 7, result=1),
        HOLD,
        end("succeeded", result=1),
    ),
    "asked once more when another had it": (
        "I10",
        handed_out().settle("ack", 4, 5, said="info").reserve(6, 7, 2).settle("ack", 8, 9, said="lost"),
        HOLD,
        end("failed", 2),
    ),
    "one first whose publish overlapped": (
        "I11",
        tale().publish(0.5, 3, OTHER).reserve(4, 5, job=OTHER).reserve(6, 7),
        ORDERED,
        None,
    ),
    "the later one first, being handed out again": (
        "I11",
        tale().publish(2, 3, OTHER).reserve(4, 5, job=OTHER).reserve(6, 7, attempt=2),
        ORDERED,
        None,
    ),
    "numbers that rise while windows overlap": ("I13", tale().reserve(2, 9, 1).reserve(6, 8, 2), Rules(), None),
    "one ended it": (
        "I14",
        handed_out()
        .reserve(6, 7, 2)
        .settle("ack", 8, 9, attempt=2, result=1)
        .settle("ack", 8, 9, said="lost", result=2),
        HOLD,
        end("succeeded", 2, result=1),
    ),
    "unsure which of two results": (
        "I14",
        handed_out().settle("ack", 4, None, result=1),
        HOLD,
        end("succeeded", result=1),
    ),
    "handed out as often as it may be": (
        "I15",
        Tale().publish(0, 1, most=2).reserve(2, 3).reserve(7, 8, 2),
        HOLD,
        None,
    ),
    "handed out while its queue was being paused": (
        "paused",
        Tale().publish(0, 1).queue("pause", 2, 3).reserve(2.5, 5).queue("resume", 6, 7),
        HOLD,
        None,
    ),
    "handed out while its queue was being resumed": (
        "paused",
        Tale().publish(0, 1).queue("pause", 2, 3).queue("resume", 4, 7).reserve(3.5, 5),
        HOLD,
        None,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_an_invariant_is_found(name: str) -> None:
    rule, story, rules, records = BROKEN[name]
    found = check(story.book(), rules, records)
    assert rule in {v.rule.split()[0] for v in found}


@pytest.mark.parametrize("name", LEGAL)
def test_what_is_just_within_an_invariant_is_none(name: str) -> None:
    _, story, rules, records = LEGAL[name]
    assert check(story.book(), rules, records) == []


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
