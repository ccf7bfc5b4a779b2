"""All interleavings of pairs of operations that may collide, statement by statement, on real sessions of a server.

`interleave/pairs.py` has the operations, `interleave/stepper.py` runs them, and after each
interleaving `interleave/truth.py` looks at the tables. Where a pair has more than a hundred
interleavings, as many are drawn by lot; without `--full`, fewer.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import psycopg
import pytest
from interleave.pairs import PAIRS, Scene
from interleave.stepper import explore, gate
from interleave.truth import Truth
from sqlalchemy import Engine

from kombu_depqueue import JobQueue, JobState, NotExist, cursor, inserting, limits
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.testing.fixtures import Database, MakeQueue, Place

MOST = 100
"""So many interleavings of a pair, where all are wanted: all of them, if there are no more."""
DRAWN = 4
SHARDS = 4


@pytest.fixture
def scene(place: Place, engine: Engine, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Three JobQueues on one database, whose transactions are sent statement by statement."""
    if database.name == "sqlite":
        pytest.skip("SQLite lets one transaction write at a time: nothing interleaves")
    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    monkeypatch.setattr(limits, "FRESH", 1e9)  # an enqueue takes as many statements in each schedule
    monkeypatch.setattr(cursor, "SLOW", float("inf"))
    options: dict[str, Any] = {"prepared_statements": False, "lease": 600.0, "notify": False, "orphan_after": 1000}
    with ExitStack() as opened:
        JobQueue(place.url, create=True).close()
        queues = [MessageQueue(place.url, **options) for _ in range(3)]
        for queue in queues:
            opened.callback(queue.close)
            queue.numbers(["x", "d", "letters"])
            queue.limits("x")
        watching = opened.enter_context(engine.connect().execution_options(isolation_level="AUTOCOMMIT"))
        gate(monkeypatch)
        yield Scene(*queues, Truth(watching, queues[0]._database.dialect.tables))


def mine(shard: int) -> list[str]:
    return sorted(PAIRS)[shard::SHARDS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Some pairs in one test, or, where all of their interleavings are wanted, each in a test of its own."""
    if "names" in metafunc.fixturenames:
        together = {str(shard): mine(shard) for shard in range(SHARDS)}
        some = {name: [name] for name in sorted(PAIRS)} if metafunc.config.option.full else together
        metafunc.parametrize("names", some.values(), ids=some)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_operations_that_collide_do_what_one_after_the_other_would(
    names: list[str],
    scene: Scene,
    database: Database,
    full: bool,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    counts: dict[str, str] = {}
    problems, total = [], 0
    lot = random.Random(f"{seed} {names}")
    for name in names:
        try:
            count, whole = interleavings(scene, name, MOST if full else DRAWN, lot)
            total += count
            counts[name] = f"{'all ' if whole else ''}{count}"
        except AssertionError as error:
            problems.append(f"{name}: {error}")
    record_property("figure", f"{total:,} interleavings")
    record_property("tally", f"{database.name}: {len(counts)} pairs, {total} interleavings: {counts}")
    assert not problems, "\n".join(problems)


def interleavings(scene: Scene, name: str, most: int, lot: random.Random) -> tuple[int, bool]:
    """Run a pair in many orders; after each, the tables must be in order."""

    def case() -> Any:
        scene.truth.begin_anew([scene.a, scene.b, scene.c])
        operations, check = PAIRS[name](scene)

        def check_all(outcomes: list[Any]) -> None:
            check(outcomes)
            scene.truth.check(scene.a)

        return operations, check_all

    return explore(scene.truth.connection, case, most, lot)


def test_there_are_pairs_enough() -> None:
    assert len(PAIRS) >= 20
    assert sorted(name for shard in range(SHARDS) for name in mine(shard)) == sorted(PAIRS)


def test_without_the_lock_dependents_are_stranded(scene: Scene, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The tests above can fail: the lock on the dependency is what they stand on."""

    def look_only(tx: Any, dialect: Any, entries: Any, plan: Any) -> dict[Any, int]:
        wanted = [dep for e in entries for dep, _ in e.edges]
        live = {i: inserting.LIVE for i, *_ in tx.all(dialect.sql.hot_among, ids=wanted)}
        ended = {i: status for i, status, _, _ in tx.all(dialect.sql.ended_among, ids=wanted)}
        if not live and not ended:
            raise NotExist(*wanted)
        return live | ended

    monkeypatch.setattr(inserting, "_lock_dependencies", look_only)
    with pytest.raises(AssertionError, match=r"SUCCEEDED.*BLOCKED|stranded"):
        interleavings(scene, "ack_and_enqueue", 200, random.Random(seed))


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("result", [None, {"a": 1}])
def test_an_ack_that_meets_an_update_of_its_row(make_queue: MakeQueue, several: bool, result: Any) -> None:
    """Somebody is just flagging the job: the ack waits for it, and finds the row at another place in its page."""
    queue, other = (make_queue(prepared_statements=False, lease=600.0, notify=False) for _ in range(2))
    job = queue.enqueue("first")
    queue.enqueue("first")
    other.enqueue("second", depends_on=[job])
    reservations = queue.reserve_many(2, 0, queues=["first"])
    schema = queue.settings.schema
    done: list[Any] = []
    with psycopg.connect(queue.settings.url.set(drivername="postgresql", query={}).render_as_string(False)) as flagging:
        flagging.execute(f"UPDATE {schema}.job SET flags = flags | 16 WHERE job_id = %s", [job])
        ack = (
            partial(queue.ack_many, reservations)
            if several and result is None
            else partial(reservations[0].ack, result)
        )
        thread = threading.Thread(target=lambda: done.append(ack()))
        thread.start()
        time.sleep(0.3)
        assert not done
    thread.join(10)
    assert done in ([None], [[]])
    assert queue.status(job).state is JobState.SUCCEEDED
    assert other.reserve(5, queues=["second"]).depends_on == (job,)
