"""Lists of jobs, and what a job was enqueued with."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import InvalidJob, NotExist
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.listings import LOOK_AT
from kombu_depqueue.testing.fixtures import MakeQueue


def _ids(queue: JobQueue, state: str | None = None, /, **only: object) -> list[UUID]:
    """Every page of a list."""
    found, after = [], None
    while True:
        page = queue.jobs(state, after=after, **only)
        found += [job.job_id for job in page.jobs]
        if page.next is None:
            return found
        after = page.next


def _one_of_each(queue: JobQueue) -> dict[str, UUID]:
    made = {name: queue.enqueue("work", name) for name in ("succeeded", "failed", "dead", "leased")}
    queue.reserve(0, queues=["work"]).ack()
    queue.reserve(0, queues=["work"]).fail("no")
    queue.reserve(0, queues=["work"]).reject("poison")
    queue.reserve(0, queues=["work"])
    made["ready"] = queue.enqueue("work", "ready")
    made["scheduled"] = queue.enqueue("work", "scheduled", delay=60)
    made["blocked"] = queue.enqueue("work", "blocked", depends_on=[made["ready"]])
    made["canceled"] = queue.enqueue("work", "canceled")
    queue.cancel(made["canceled"])
    return made


def test_each_state_lists_its_jobs(queue: JobQueue) -> None:
    made = _one_of_each(queue)
    assert _ids(queue) == sorted(made.values(), reverse=True)
    for state in ("succeeded", "dead", "leased", "ready", "scheduled", "blocked", "canceled"):
        assert _ids(queue, state) == [made[state]], state
    assert set(_ids(queue, "failed")) == {made["dead"], made["failed"]}
    assert _ids(queue, "running") == _ids(queue, "expired") == []


def test_a_listed_job_tells_what_is_known_of_it(queue: JobQueue) -> None:
    made = _one_of_each(queue)
    jobs = {job.job_id: job for job in queue.jobs().jobs}
    for job_id in made.values():
        status, job = queue.status(job_id), jobs[job_id]
        for name in ("job_type", "channel", "state", "queued", "attempt", "run_at", "started", "finished", "reason"):
            assert getattr(job, name) == getattr(status, name), name
    assert [i for i, job in jobs.items() if job.dead] == [made["dead"]]


def test_pages_follow_each_other(queue: JobQueue) -> None:
    made = list(_one_of_each(queue).values())
    for limit in (1, 2, 3, len(made), 10_000):
        assert _ids(queue, limit=limit) == sorted(made, reverse=True)
    assert len(queue.jobs(limit=3).jobs) == 3


def test_lists_are_of_a_queue_and_a_channel(queue: JobQueue) -> None:
    first, second = queue.enqueue("a"), queue.enqueue("b")
    other = queue.enqueue("a", channel="x")
    assert _ids(queue, queue="a") == sorted([other, first], reverse=True)
    assert _ids(queue, channel="") == sorted([second, first], reverse=True)
    assert _ids(queue, "ready", queue="a", channel="x") == [other]
    assert _ids(queue, queue="none such") == []


def test_a_rare_state_is_found_on_a_later_page(queue: JobQueue) -> None:
    rare = queue.enqueue("many", delay=60)
    held = queue.enqueue("many")
    queue.reserve(0, queues=["many"])
    queue.enqueue_many(JobMessage.new("many", n) for n in range(LOOK_AT + 500))
    page = queue.jobs("leased")
    assert page.jobs == ()
    assert page.next is not None
    assert _ids(queue, "leased") == [held]
    assert _ids(queue, "scheduled") == [rare]


def test_bad_questions_are_refused(queue: JobQueue) -> None:
    for bad in ({"state": "done"}, {"queue": ""}, {"after": "x"}, {"limit": 0}, {"limit": 10_001}):
        with pytest.raises(InvalidJob):
            queue.jobs(**bad)


@pytest.mark.native
def test_a_job_is_told_as_it_was_enqueued(queue: JobQueue) -> None:
    plain = queue.enqueue("mail", {"to": "ann"}, priority=3, max_attempts=4)
    raw = queue.enqueue("mail", body=b"\x00\x01", content_type="application/x-raw", headers={"a": 1}, delay=60)
    found = queue.message_of(plain)
    assert found is not None
    assert (found.job_type, found.args, found.priority, found.max_attempts) == ("mail", {"to": "ann"}, 3, 4)
    found = queue.message_of(raw)
    assert found is not None
    assert (found.body, found.content_type, found.headers) == (b"\x00\x01", "application/x-raw", {"a": 1})
    with pytest.raises(NotExist):
        queue.message_of(uuid4())


def test_arguments_are_kept_of_what_did_not_succeed(queue: JobQueue) -> None:
    good, bad = queue.enqueue("mail", 1), queue.enqueue("mail", 2)
    queue.reserve(0, queues=["mail"]).ack()
    queue.reserve(0, queues=["mail"]).fail()
    assert queue.message_of(good) is None
    found = queue.message_of(bad)
    assert found is not None


def test_records_out_of_time_are_counted_before_they_are_pruned(make_queue: MakeQueue) -> None:
    queue = make_queue(retention=0.01, result_retention=0.01)
    queue.enqueue("mail")
    queue.reserve(0, queues=["mail"]).ack()
    assert queue.prunable() in (0, 1)
    while queue.prunable() == 0:
        pass
    queue.maintain()
    assert queue.prunable() == 0
    assert JobState.SUCCEEDED not in {job.state for job in queue.jobs().jobs}
