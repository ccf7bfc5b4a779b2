"""PostgreSQL with another isolation level than READ COMMITTED as its default, and in the caller's transaction."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from kombu_depqueue import InvalidJob, JobQueue, JobState
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import drain, wait_until

pytestmark = pytest.mark.only("postgresql")

LEVELS = ["repeatable read", "serializable"]
SETTINGS: list[Any] = [{}, pytest.param({"prepared_statements": False}, id="pooled")]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(place: Place, level: str) -> str:
    """Where sessions begin with that level, unless they ask for another."""
    options = f"-c default_transaction_isolation={level}".replace("e r", "e\\ r")
    made = make_url(place.url).update_query_dict({"options": options})
    return str(made.render_as_string(hide_password=False))


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_dependent_that_is_enqueued_while_its_dependency_ends_is_released(
    make_queue: MakeQueue, engine: Engine, url: str, settings: dict[str, Any]
) -> None:
    """The end waits for the enqueue, and must see what that has committed."""
    plain, queue = make_queue(), make_queue(url=url, **settings)
    first = plain.enqueue("first")
    earlier = plain.enqueue("default", depends_on=[first])
    reservation = queue.reserve(0, queues=["first"])
    with engine.connect() as connection:
        later = plain.enqueue("default", depends_on=[first], connection=connection)
        ending = threading.Thread(target=reservation.ack)
        ending.start()
        wait_until(lambda: _waits(engine))
        connection.commit()
    ending.join(20)
    wait_until(lambda: plain.status(later).state is JobState.READY, timeout=5)
    assert drain(plain) == [earlier, later]


def _waits(engine: Engine) -> bool:
    """Whether somebody waits for a lock on our rows."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ :table"
    with engine.connect() as connection:
        return bool(connection.execute(text(query), {"table": "gone AS"}).scalar_one())


def test_a_transaction_that_does_not_see_what_is_committed_is_refused(
    queue: JobQueue, place: Place, level: str
) -> None:
    first = queue.enqueue("default")
    mine = create_engine(place.engine_url, poolclass=NullPool, isolation_level=level.upper())
    with mine.connect() as connection:
        alone = queue.enqueue("default", connection=connection)  # nothing needs to be seen for that
        with pytest.raises(InvalidJob, match=f"{level.upper()}; READ COMMITTED is wanted"):
            queue.enqueue("default", depends_on=[first], connection=connection)
        with pytest.raises(InvalidJob, match="READ COMMITTED is wanted"):
            queue.enqueue("default", job_id=first, connection=connection)
        connection.commit()
    reservation = queue.reserve(0)
    with mine.connect() as connection, pytest.raises(InvalidJob, match="READ COMMITTED is wanted"):
        reservation.ack(connection=connection)
    mine.dispose()
    reservation.ack()
    assert drain(queue) == [alone]
