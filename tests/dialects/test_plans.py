"""The plans of all statements on large tables: each finds its rows by an index, whatever the statistics say."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event, text

from kombu_depqueue import JobMessage, JobQueue
from kombu_depqueue.dialects.lean import LeanCursor
from kombu_depqueue.dialects.postgresql import PostgreSQL
from kombu_depqueue.errors import DepQueueError
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.testing.fill import Filler
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import wait_until

LARGE = 30_000
BIG = ("job", "wait", "blocked", "dep", "done", "ended_body")
MOST_BLOCKS = 800
"""Blocks that one statement for about ten jobs may touch (the first INSERT after a vacuum looks at some hundred pages
for room, once); a walk over one large table is more than 1,500."""


def _fill(place: Place) -> Filler:
    filler = Filler(place)
    filler.leased(100)  # more of them are the cursor's matter, not the plan's
    filler.ready(LARGE)
    filler.delayed(LARGE)
    filler.blocked(LARGE)
    return filler


def _use_everything(queue: JobQueue) -> None:
    """All that is done while jobs flow, and what upkeep does; not `queues()`: it counts."""
    queue.enqueue("default", 1)
    queue.enqueue_many(JobMessage.new("default", n) for n in range(10))
    first = queue.enqueue("default", priority=9)
    then = queue.enqueue("default", depends_on=[first])
    waiting = queue.enqueue("default", delay=60)
    expiring = queue.enqueue("default", expires_in=0.001)
    queue.status(then)
    queue.why(then)
    held = queue.reserve_many(10, 0)
    held[0].ack({"result": 1})
    held[1].requeue()
    held[2].requeue(60)
    held[3].reject("so")
    held[4].extend(60)
    queue.ack_many(held[4:])
    by_id = queue.dequeue_by_id(queue.enqueue("default"))
    queue.finish(by_id.job_id)
    queue.cancel(waiting)
    queue.retry(held[3].job_id)
    queue.delete_job(waiting)
    queue.results_of_dependencies(then)
    queue.maintain()
    with pytest.raises(DepQueueError):
        queue.finish(expiring)


class Plans:
    """What EXPLAIN said of each statement."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.scans: dict[str, str] = {}
        self.blocks: dict[str, int] = {}

    def explain(self, cursor: Any, sql: str, values: Any) -> None:
        info = cursor.connection.info
        outside = info.transaction_status == TransactionStatus.IDLE
        before, behind = ("BEGIN", "ROLLBACK") if outside else ("SAVEPOINT plan", "ROLLBACK TO SAVEPOINT plan")
        asking = psycopg.Cursor(cursor.connection)
        asking.execute(before)
        asking.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", values)
        row = asking.fetchone()
        asking.execute(behind)
        assert row is not None
        found = row[0] if isinstance(row[0], list) else json.loads(row[0])
        plan = found[0]["Plan"]
        name = " ".join(sql.split())[:160]
        blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        self.blocks[name] = max(self.blocks.get(name, 0), blocks)
        for node in _nodes(plan):
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG:
                self.scans[name] = node["Relation Name"]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("analyzed", [False, True], ids=["never analyzed", "analyzed"])
def test_every_statement_finds_its_rows_by_an_index(
    make_queue: MakeQueue, place: Place, monkeypatch: pytest.MonkeyPatch, analyzed: bool
) -> None:
    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    filler = _fill(place)
    if analyzed:
        filler.settle()
    plans = Plans(place)

    class ExplainingCursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            if re.match(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b", query):
                plans.explain(self, query, params)
            return super().execute(query, params, **options)

    class ExplainingLean(LeanCursor):
        def execute(self, sql: str, values: Any = None) -> None:
            if re.match(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b", sql):
                plans.explain(self, sql, values)
            super().execute(sql, values)

    queue = make_queue(lease=1000, deadline=60)
    dialect = queue._database.dialect
    assert isinstance(dialect, PostgreSQL)

    @contextmanager
    def not_pipelined(connection: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(dialect, "pipelined", not_pipelined)

    @event.listens_for(dialect.engine, "connect")
    def use(connection: Any, record: object) -> None:
        connection.cursor_factory, connection.lean_factory = ExplainingCursor, ExplainingLean

    queue._database._connections.flush()
    dialect.engine.dispose()
    _use_everything(queue)
    assert len(plans.blocks) > 30
    assert plans.scans == {}
    assert {name: n for name, n in plans.blocks.items() if n > MOST_BLOCKS} == {}


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("analyzed", [False, True], ids=["never analyzed", "analyzed"])
def test_every_statement_of_sqlite_finds_its_rows_by_an_index(
    make_queue: MakeQueue, place: Place, engine: Engine, monkeypatch: pytest.MonkeyPatch, analyzed: bool
) -> None:
    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    filler = _fill(place)
    if analyzed:
        filler.run("ANALYZE")
    queue = make_queue(lease=1000, deadline=60)
    statements: set[str] = set()

    @event.listens_for(queue._database.dialect.engine, "connect")
    def trace(connection: sqlite3.Connection, record: object) -> None:
        connection.set_trace_callback(statements.add)

    queue._database._connections.flush()
    queue._database.dialect.engine.dispose()
    _use_everything(queue)
    scans = {}
    with engine.connect() as connection:
        for statement in statements:
            if not re.match(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b", statement):
                continue
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}"):
                if re.match(rf"SCAN depqueue_({'|'.join(BIG)})$", row.detail):
                    scans[" ".join(statement.split())[:160]] = row.detail
    assert len(statements) > 50
    assert scans == {}


@pytest.mark.only("postgresql")
def test_claims_update_in_place(make_queue: MakeQueue, engine: Engine, place: Place) -> None:
    """HOT: no index is touched, and dead versions go without a vacuum."""
    queue = make_queue()
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {place.schema}.job SET (autovacuum_enabled = false)"))
    for _ in range(10):
        queue.enqueue_many(JobMessage.new("default", "x" * 300) for _ in range(200))
        for _ in range(20):
            queue.ack_many(queue.reserve_many(10, 0))
    queue.close()
    statement = f"SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = '{place.schema}'"

    def counts() -> tuple[int, int]:
        with engine.connect() as connection:
            return tuple(connection.execute(text(f"{statement} AND relname = 'job'")).one())

    wait_until(lambda: counts()[0] >= 2000)  # a session tells its counts when it ends
    updated, hot = counts()
    assert hot / updated >= 0.95
