"""T13: tenants of one PostgreSQL database that row-level security keeps from seeing each other's jobs.

The policies are those of docs/security.md, read from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from roles import As, execute
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from kombu_depqueue import JobQueue, JobState
from kombu_depqueue.errors import Empty, NotExist, StorageError
from kombu_depqueue.testing.fixtures import Database, Place
from kombu_depqueue.testing.helpers import wait_until

pytestmark = pytest.mark.only("postgresql")

PAGE = Path(__file__).parents[1] / "docs/security.md"
PAYLOADS = ("job", "wait", "done", "ended_body")


class Tenant:
    """A user of the database, and the channel and the prefix of queues that are its own: its name."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = str(make_url(url).query["options"]).rpartition("=")[2]

    def queue(self) -> JobQueue:
        return JobQueue(self.url)

    @contextmanager
    def channel(self, prefix: str | None = None) -> Iterator[Any]:
        options = {"queue_name_prefix": f"{self.name}." if prefix is None else prefix}
        with Connection(f"depqueue+{self.url}", transport_options=options) as connection:
            yield connection.channel()

    def counts(self, schema: str | None) -> dict[str, int]:
        """How many rows it sees by SQL."""
        url = make_url(self.url)
        plain = url.set(query={"options": url.query["options"]})
        engine: Engine = create_engine(plain, poolclass=NullPool)
        with engine.connect() as connection:
            rows = {name: text(f"SELECT count(*) FROM {schema}.{name}") for name in ("queue", *PAYLOADS)}
            return {name: int(connection.execute(count).scalar_one()) for name, count in rows.items()}


@pytest.fixture
def tenants(as_role: As, database: Database, place: Place) -> tuple[Tenant, Tenant]:
    [policies] = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert database.admin is not None
    execute(database.admin, *filter(str.strip, policies.replace("depqueue.", f"{place.schema}.").split(";")))
    one, two = (Tenant(as_role("consumer")) for _ in range(2))
    return one, two


def test_t13_tenants_work_beside_each_other_and_see_nothing_of_each_other(
    tenants: tuple[Tenant, Tenant], place: Place, queue: JobQueue
) -> None:
    one, two = tenants
    with one.queue() as mine, two.queue() as theirs:
        first = mine.enqueue("t", "secret", channel=one.name)
        later = mine.enqueue("t", "later", channel=one.name, depends_on=[first])
        mine.enqueue("t", "tomorrow", channel=one.name, delay=3600)
        other = theirs.enqueue("t", "other", channel=two.name)
        assert one.counts(place.schema)["queue"] == two.counts(place.schema)["queue"] == 1
        assert [two.counts(place.schema)[name] for name in PAYLOADS] == [1, 0, 0, 0]
        with pytest.raises(NotExist):
            theirs.status(first)
        with pytest.raises(StorageError, match="row-level security"):
            theirs.dequeue(["t"], 0, channels=[one.name])
        with pytest.raises(StorageError, match="row-level security"):
            theirs.enqueue("t", "forged", channel=one.name)
        assert drain_of(mine, one) == [first, later]
        assert mine.status(first).state is JobState.SUCCEEDED
        dead = mine.enqueue("t", "dead", channel=one.name)
        mine.dequeue(["t"], 10, channels=[one.name]).reject("no")
        assert mine.status(dead).state is JobState.FAILED
        assert theirs.jobs().jobs == theirs.jobs(channel=two.name).jobs
        assert [job.job_id for job in theirs.jobs().jobs] == [other]
        assert [two.counts(place.schema)[name] for name in PAYLOADS] == [1, 0, 0, 0]
        assert one.counts(place.schema)["done"] == 3
        theirs.maintain()
        mine.maintain()
        assert drain_of(theirs, two) == [other]
    assert {info.channel for info in queue.queues()} >= {one.name, two.name}, "the owner of the tables sees all"


def drain_of(queue: JobQueue, tenant: Tenant) -> list[Any]:
    done = []
    while True:
        try:
            reservation = queue.dequeue(["t"], 0, channels=[tenant.name])
        except Empty:
            return done
        reservation.ack()
        done.append(reservation.job_id)


def test_t13_tenants_by_kombu_have_prefixes(tenants: tuple[Tenant, Tenant], place: Place) -> None:
    one, two = tenants
    with one.channel() as mine, two.channel() as theirs:
        for channel, body in ((mine, '"mine"'), (theirs, '"theirs"')):
            channel.queue_declare("q")
            channel.basic_publish(channel.prepare_message(body, content_type="application/json"), "", "q")
        assert two.counts(place.schema)["job"] == 1
        wait_until(lambda: (message := theirs.basic_get("q")) and message.payload == "theirs")
        assert theirs.basic_get("q") is None
        with two.channel(f"{one.name}.") as forging, pytest.raises(StorageError, match="row-level security"):
            forging.basic_publish(forging.prepare_message("1"), "", "q")
        assert mine.basic_get("q").payload == "mine"
