"""A synchronous standby: what was acknowledged survives the primary, and what perhaps would not is never acknowledged."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest
from availability_flow import Flow, Report
from availability_servers import Cluster, Server, cluster, signal_all, url_of
from kombu import Connection

from kombu_depqueue import Duplicate, Empty, JobMessage, JobQueue, JobState, LeaseLost, NotExist, StorageError
from kombu_depqueue.testing.helpers import in_threads, wait_until

pytestmark = pytest.mark.xdist_group("standby")

SLACK = 3.0
"""Seconds beyond a deadline that a loaded machine may take."""
DEADLINE = 2.0


@pytest.fixture(scope="module")
def primary(servers: Cluster) -> Server:
    """A primary whose commits wait for the standby `s1`."""
    servers.standby("s1")
    servers.synchronous("ANY 1 (s1)")
    JobQueue(servers.primary.url, create=True).close()
    return servers.primary


# -- commits that are not replicated -------------------------------------------------------------------


@contextmanager
def _standby_frozen(servers: Cluster, how: str) -> Iterator[None]:
    """Inside, no standby confirms anything, and commits that wait for it are broken off in this way, again and again."""
    standby = next(server for server in servers.servers if server.name == "s1")
    over = threading.Event()
    breaking = f"SELECT count(pg_{'terminate' if how == 'terminate' else 'cancel'}_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

    def break_off() -> None:
        while not over.wait(0.1):
            servers.primary.ask(breaking)

    thread = threading.Thread(target=break_off)
    standby.freeze()
    if how in ("cancel", "pooled", "terminate"):
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.ident:
            thread.join()
        standby.thaw()


class Doors:
    """Operations of both doors that commit, each prepared while all is well, and what shows that it took place."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.queue = JobQueue(url, deadline=DEADLINE, lease=600, notify=False)
        self.kombu = Connection(f"depqueue+{url}&deadline={DEADLINE}&lease=600", transport_options={"create": True})
        self.channel = self.kombu.channel()
        self.kept = self.queue.enqueue("kept")
        self.cases = {name: getattr(self, f"_{name}")() for name in NAMES}

    def _enqueue(self) -> Any:
        message = JobMessage(uuid4(), job_type="one")
        return lambda: self.queue.enqueue(message), lambda: self.queue.status(message.job_id).state is JobState.READY

    def _enqueue_dependent(self) -> Any:
        message = JobMessage(uuid4(), job_type="two", depends_on=[self.kept])
        return lambda: self.queue.enqueue(message), lambda: self.queue.status(message.job_id).state is JobState.BLOCKED

    def _enqueue_many(self) -> Any:
        """By one statement."""
        jobs = [JobMessage(uuid4(), job_type="many") for _ in range(3)]
        return lambda: self.queue.enqueue_many(jobs), lambda: self._ready(jobs) == 3

    def _enqueue_many_unlike(self) -> Any:
        """In a pipeline."""
        jobs = [JobMessage(uuid4(), job_type="unlike", max_attempts=n) for n in range(1, 4)]
        return lambda: self.queue.enqueue_many(jobs), lambda: self._ready(jobs) == 3

    def _held(self, name: str, *, dependent: bool = False) -> Any:
        job_id = self.queue.enqueue(name)
        if dependent:
            self.queue.enqueue("kept", depends_on=[job_id])
        return self.queue.dequeue([name], 0)

    def _ack(self) -> Any:
        job = self._held("five")
        return job.ack, lambda: self.queue.status(job.job_id).state is JobState.SUCCEEDED

    def _ack_releasing(self) -> Any:
        job = self._held("six", dependent=True)
        return job.ack, lambda: self.queue.status(job.job_id).state is JobState.SUCCEEDED

    def _ack_many(self) -> Any:
        jobs = [self._held("seven") for _ in range(3)]
        return lambda: self.queue.ack_many(jobs), lambda: self._all_succeeded(jobs)

    def _fail(self) -> Any:
        job = self._held("eight")
        return lambda: job.fail("so"), lambda: self.queue.status(job.job_id).state is JobState.FAILED

    def _requeue(self) -> Any:
        job = self._held("nine")
        return lambda: job.requeue(600), lambda: self.queue.status(job.job_id).state is JobState.SCHEDULED

    def _cancel(self) -> Any:
        job_id = self.queue.enqueue("ten")
        return lambda: self.queue.cancel(job_id), lambda: self.queue.status(job_id).state is JobState.CANCELED

    def _publish(self) -> Any:
        name = f"eleven{uuid4().hex}"
        bound = self.kombu.SimpleQueue(name)
        return lambda: bound.put("x", retry=False), lambda: bound.qsize() == 1

    def _ready(self, jobs: list[JobMessage]) -> int:
        return sum(self.queue.status(job.job_id).state is JobState.READY for job in jobs)

    def _all_succeeded(self, jobs: list[Any]) -> bool:
        return {self.queue.status(job.job_id).state for job in jobs} == {JobState.SUCCEEDED}

    def close(self) -> None:
        self.kombu.release()
        self.queue.close()


NAMES = [name.removeprefix("_") for name in vars(Doors) if name.startswith("_") and name.count("_") < 4]
NAMES = [n for n in NAMES if n not in ("held", "ready", "all_succeeded") and not n.startswith("_")]


HOWS = [
    "cancel",
    "terminate",
    *(pytest.param(n, marks=pytest.mark.full) for n in ("pooled", "statement_timeout", "nothing")),
]


@pytest.mark.parametrize("how", HOWS)
def test_commit_that_is_on_no_standby_is_never_told_as_success(how: str, servers: Cluster, primary: Server) -> None:
    """The server says OK, and only warns, when the wait for the standby is canceled."""
    more = {
        "statement_timeout": {"options": "-c%20statement_timeout%3D300"},
        "pooled": {"prepared_statements": "false"},
    }
    doors = Doors(url_of([primary], **more.get(how, {})))
    try:
        began = time.monotonic()
        with _standby_frozen(servers, how):
            said = dict(zip(doors.cases, in_threads([call for call, _ in doors.cases.values()], 60), strict=True))
            took = time.monotonic() - began
        assert all(isinstance(one, Exception) for one in said.values()), said
        sure = [name for name, error in said.items() if not _is_uncertain(error)]
        # One that waited for another of these, and was timed out before its own commit, may say no, and must mean it.
        assert not sure or how == "statement_timeout", {name: repr(said[name]) for name in sure}
        assert not [name for name in sure if _is_so(doors.cases[name][1])]
        assert took < DEADLINE + SLACK
        for name, (call, took_place) in doors.cases.items():
            if name != "publish":  # that would be another message
                with suppress(Duplicate, LeaseLost):
                    call()
            assert took_place(), name
    finally:
        doors.close()


def _is_so(took_place: Callable[[], bool]) -> bool:
    with suppress(NotExist):
        return took_place()
    return False


def _is_uncertain(error: Any) -> bool:
    storage = error if isinstance(error, StorageError) else getattr(error, "__cause__", None)
    return isinstance(storage, StorageError) and storage.maybe_committed


def test_ack_that_is_repeated_is_told_only_when_the_standby_has_it(servers: Cluster, primary: Server) -> None:
    with JobQueue(primary.url, deadline=DEADLINE, notify=False, lease=600) as queue:
        queue.enqueue_many([JobMessage.new("acks") for _ in range(3)])
        first, *others = queue.reserve_many(3, 0, queues=["acks"])
        with _standby_frozen(servers, "cancel"):
            for _ in range(2):
                said = in_threads([first.ack, lambda: queue.ack_many(others)])
                assert all(_is_uncertain(error) for error in said), said
            assert not first.settled
        first.ack()
        assert queue.ack_many(others) == []
        assert {queue.status(r.job_id).state for r in (first, *others)} == {JobState.SUCCEEDED}


def test_doctor_names_a_synchronous_standby_that_is_missing(servers: Cluster, primary: Server) -> None:
    def codes() -> set[str]:
        with JobQueue(primary.url) as queue:
            return {one.code for one in queue.examine().findings}

    assert "synchronous-standby" not in codes()
    primary.run("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (nobody)'", "SELECT pg_reload_conf()")
    try:
        wait_until(lambda: "synchronous-standby" in codes())
    finally:
        servers.synchronous("ANY 1 (s1)")


def test_duplicate_is_told_only_when_the_job_is_on_the_standby(servers: Cluster, primary: Server) -> None:
    """Else who repeats an uncertain enqueue would take it for done."""
    message = JobMessage(uuid4(), job_type="t")
    with JobQueue(primary.url, deadline=DEADLINE, notify=False) as queue:
        queue.enqueue("t")
        with _standby_frozen(servers, "cancel"):
            for _ in range(2):
                with pytest.raises(StorageError) as caught:
                    queue.enqueue(message)
                assert caught.value.maybe_committed
        with pytest.raises(Duplicate):
            queue.enqueue(message)


# -- failover ------------------------------------------------------------------------------------------


def _die_before_answering(primary: Server, standby: Server) -> None:
    """Kill the primary when what is under way has been committed, on the standby too, but was answered to nobody."""
    standby.freeze()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'depqueue'"
    wait_until(lambda: primary.ask(waiting) >= 2)
    ours = "SELECT array_agg(pid) FROM pg_stat_activity WHERE application_name = 'depqueue'"
    signal_all(primary.ask(ours), signal.SIGSTOP)
    standby.thaw()
    wait_until(lambda: primary.ask("SELECT flush_lsn >= pg_current_wal_flush_lsn() FROM pg_stat_replication"))
    primary.kill()


def _failover(servers: Cluster) -> Report:
    """Kill the primary while jobs flow, and promote its standby."""
    primary, standby = servers.primary, servers.standby("s1")
    servers.synchronous("FIRST 1 (s1)")
    url = url_of([primary, standby])
    JobQueue(url, create=True).close()
    with Flow(url, f"depqueue+{url}&deadline=20&poll_interval=0.2") as flow:
        flow.start([{"deadline": 1.0}, {"deadline": 20.0}], [{"deadline": 5.0, "poll_interval": 0.2}])
        time.sleep(2.0)
        flow.fault(lambda: _die_before_answering(primary, standby))
        time.sleep(1.5)  # as long as it takes at least to see that it is dead
        standby.promote()
        time.sleep(2.5)
        with JobQueue(standby.url) as queue:
            return flow.stop(queue)


def test_frozen_primary_is_left_for_the_standby_that_took_over(wheel: None) -> None:
    """Its connections stay open and silent: those at hand, and the one that listens for new jobs."""
    with cluster() as servers:
        primary, standby = servers.primary, servers.standby("s1")
        servers.synchronous("ANY 1 (s1)")
        url = url_of([primary, standby])
        options: dict[str, Any] = {"deadline": 4.0, "lease": 60, "poll_interval": 30}
        with JobQueue(url, create=True, **options) as queue, JobQueue(url, **options) as producer:
            queue.enqueue_many([JobMessage.new("held") for _ in range(2)])
            held = [queue.dequeue(["held"], 0) for _ in range(2)]
            _have_at_hand(queue, 4)
            with suppress(Empty):
                queue.dequeue(["woken"], 0.1)  # from now on it listens
            wait_until(lambda: queue._waiter.session)
            before = queue._waiter.session
            primary.freeze()
            standby.promote()
            began = time.monotonic()
            message = JobMessage(uuid4(), job_type="new")
            _insist(lambda: producer.enqueue(message))
            gap = time.monotonic() - began
            _insist(held[0].ack)
            acked = time.monotonic() - began
            wait_until(lambda: queue._waiter.session not in (None, before), 30)
            heard = time.monotonic() - began
            assert acked < gap + 4.0 + 2.0 + SLACK  # a deadline for the first of them, and not for each
            print(f"primary frozen: write gap {gap:.1f} s, ack after {acked:.1f} s, listening after {heard:.1f} s")
            assert gap < 2 * 4.0 + SLACK
            assert queue.dequeue(["new"], 30).job_id == message.job_id
            woken: list[Any] = []
            thread = threading.Thread(target=lambda: woken.append(queue.dequeue(["woken"], 60)))
            thread.start()
            wait_until(lambda: queue._keeper.says_waiting and queue._waiter.is_used)
            producer.enqueue("woken")
            thread.join(10)  # by a hint: it looks by itself each 30 s
            assert woken
            held[1].ack()  # nobody was taken for dead


def _have_at_hand(queue: JobQueue, count: int) -> None:
    """Leave it connections from before, as so many threads would."""
    taken = [queue._database.connect() for _ in range(count)]
    for one in taken:
        queue._database._connections.give(one)


def _insist(call: Callable[[], object]) -> None:
    """Until it is sure."""

    def sure() -> bool:
        try:
            call()
        except StorageError:
            return False
        except Duplicate:
            return True
        return True

    wait_until(sure, 60)


@pytest.mark.timeout(600)  # with --full five of them
def test_no_acknowledged_job_is_lost_when_the_standby_takes_over(wheel: None, full: bool) -> None:
    for _ in range(5 if full else 1):
        with cluster() as servers:
            report = _failover(servers)
        print(f"synchronous standby promoted after kill -9: {report}")
        assert report.lost == []
        assert report.broken == []
        assert report.published > 100
        assert report.had_committed > 0
        assert max(report.gaps) < 10
