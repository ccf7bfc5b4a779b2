"""The state machine's base: how it begins and ends, how rules choose, and how steps are counted."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition
from hypothesis.stateful import rule as hypothesis_rule
from model.jobs import LONG, QUEUES, Consumer, Held, Job, Model
from sqlalchemy import Connection, create_engine, delete
from sqlalchemy.pool import NullPool

from kombu_depqueue import JobQueue, JobState, Policy
from kombu_depqueue.schema import Tables
from kombu_depqueue.sql import Prepared

INDEX = st.integers(0, 63)
MODES = st.sampled_from(list(Policy))
SPEC = st.fixed_dictionaries(
    {
        "queue": st.sampled_from(QUEUES),
        "priority": st.sampled_from((0, 0, 0, 5, 255)),
        "deps": st.lists(st.tuples(INDEX, MODES), max_size=3),
        "hold": st.booleans(),
        "delayed": st.sampled_from((False, False, True)),
        "can_expire": st.sampled_from((False, False, True)),
        "max_attempts": st.sampled_from((0, 0, 1, 2)),
    }
)
SOME_QUEUES = st.sampled_from(((("a",), ("",)), (("b",), ("",)), (("a", "b"), ("",)), (("a",), ("", "t"))))
"""Names and channels."""
WHO = st.integers(0, 1)


EVERY = 10
"""Steps between looks at whole tables."""


RARE = precondition(lambda self: self.step % 4 == 3)
"""For rules that end much, or change nothing: not so often, else nothing would ever happen."""


def rule(**arguments: Any) -> Callable[[Callable[..., None]], Any]:
    """Hypothesis's rule, counted."""

    def decorate(function: Callable[..., None]) -> Any:
        @functools.wraps(function)
        def counted(self: Any, **values: Any) -> None:
            self.steps[function.__name__] += 1
            self.step, self.sound = self.step + 1, False
            function(self, **values)
            self.sound = True

        return hypothesis_rule(**arguments)(counted)

    return decorate


class Machine(RuleBasedStateMachine):
    """Two consumers on one database."""

    steps: ClassVar[Counter[str]]
    """By rule, over all examples."""

    compiled: ClassVar[dict[str, Prepared]]
    opened: ClassVar[list[Any]]
    urls: ClassVar[tuple[str, str]]
    """JobQueue's, and SQLAlchemy's."""
    options: ClassVar[dict[str, Any]] = {}

    @initialize()
    def start(self) -> None:
        self.url, plain = self.urls
        self.step = 0
        self.sound = False
        """The last step did what it should."""
        self.model = self.new_model()
        self.held: list[Held] = []
        self.crashed: list[Consumer] = []
        self.consumers = [self.connect() for _ in range(2)]
        self.tables: Tables = self.consumers[0].queue._store.dialect.tables
        self.engine = create_engine(plain, poolclass=NullPool)
        self.raw: Connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        for table in self.tables.metadata.sorted_tables:
            if table is not self.tables.meta:
                self.raw.execute(delete(table))

    def new_model(self) -> Model:
        return Model()

    def teardown(self) -> None:
        if hasattr(self, "raw"):
            try:
                if self.sound:  # else that is what has to be told
                    self.compare_all()
            finally:
                self.raw.close()
                for consumer in self.consumers:
                    consumer.queue.close()

    def compare_all(self) -> None:
        """Compare whole tables with the model."""
        raise NotImplementedError

    @property
    def signed(self) -> bool:
        """Whether jobs are signed; then their times are, and cannot be moved."""
        return "signing_keys" in self.options

    @contextlib.contextmanager
    def transaction(self, *, commit: bool) -> Iterator[Connection]:
        """A caller's transaction."""
        level = {"isolation_level": "READ COMMITTED"} if self.engine.dialect.name == "mysql" else {}
        with self.engine.connect().execution_options(**level) as connection:
            yield connection
            if commit:
                connection.commit()
            else:
                connection.rollback()

    def connect(self) -> Consumer:
        options = {"lease": LONG, "retention": LONG, "result_retention": LONG, "notify": False, "create": True}
        queue = JobQueue(self.url, **options, **self.options)
        self.share_statements(queue)
        return Consumer(queue, queue._keeper.consumer)

    def share_statements(self, queue: JobQueue) -> None:
        """Each JobQueue compiles its statements at their first use: half of the time, if there are many."""
        mine = queue._store.dialect.sql.__dict__
        for other in self.opened:
            self.compiled.update((n, p) for n, p in vars(other).items() if isinstance(p, Prepared))
        mine.update(self.compiled)
        self.opened[:] = [queue._store.dialect.sql, *self.opened[:3]]

    # choosing

    def any_job(self, index: int, *states: JobState) -> Job | None:
        found = [j for j in self.model.jobs.values() if j.tracked and (not states or j.state in states)]
        return found[index % len(found)] if found else None

    def lease_holders(self) -> list[Consumer]:
        return [*self.consumers, *self.crashed]

    def any_held(self, index: int) -> Held | None:
        return self.held[index % len(self.held)] if self.held else None

    def on_tables(self, statement: Any) -> None:
        assert self.raw.execute(statement).rowcount == 1

    def maintain(self, who: int = 0) -> None:
        self.consumers[who].queue.maintain()
        self.model.upkeep()

    def next_of(self, queues: set[tuple[str, str]], limit: int) -> list[Job]:
        """What a claim brings, and what becomes of the others that it finds."""
        good: list[Job] = []
        while not good and (first := self.model.in_order(queues)[:limit]):
            fresh = [j for j in first if not j.over]
            self.model.bury([j for j in first if j.over], JobState.EXPIRED, "expired", "expired")
            if not fresh:
                self.model.expire()  # there may be good ones behind
            good = [j for j in fresh if not j.forged]
            for job in fresh:
                if job.forged:
                    job.attempt += 1
                    self.model.end(job, JobState.FAILED, "dead: bad-signature")
        return good

    def held_by(self, consumer: Consumer) -> list[Held]:
        """The reservations that a JobQueue still counts as its own."""
        return [h for h in self.held if h.consumer is consumer and h.listed and not h.reservation.settled]
