"""User code that must type-check; mypy reads it, nothing runs it."""

from __future__ import annotations

from typing import Any, assert_type
from uuid import UUID

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

import kombu_depqueue
from kombu_depqueue import (
    Dependency,
    DependencyResult,
    JobInfo,
    JobMessage,
    JobPage,
    JobQueue,
    JobState,
    JobStatus,
    Policy,
    Reservation,
    Why,
    Worker,
    ports,
)


def produce(queue: JobQueue) -> None:
    first = queue.enqueue("resize", {"width": 80}, priority=3)
    assert_type(first, UUID)
    queue.enqueue("mail", depends_on=[first, Dependency(first, Policy.SUCCEEDED)], delay=5.0)
    queue.enqueue(JobMessage(first))
    assert_type(queue.enqueue_many(JobMessage.new("resize", n) for n in range(10)), int)


def consume(queue: JobQueue) -> None:
    job = queue.reserve(timeout=1.0)
    assert_type(job, Reservation)
    assert_type(job.job_id, UUID)
    assert_type(job.depends_on, tuple[UUID, ...])
    assert_type(job.results_of_dependencies(), list[DependencyResult])
    job.extend(60)
    job.ack({"done": True})
    assert_type(queue.ack_many(queue.reserve_many(100, 0)), list[Reservation])


def look(queue: JobQueue, job_id: UUID) -> None:
    status = queue.status(job_id)
    assert_type(status, JobStatus)
    assert_type(status.state, JobState)
    assert_type(queue.why(job_id), Why)
    assert_type(queue.cancel(job_id), bool)
    page = queue.jobs("dead", queue="mail", limit=10)
    assert_type(page, JobPage)
    assert_type(queue.jobs(after=page.next).jobs, tuple[JobInfo, ...])
    assert_type(queue.message_of(job_id), JobMessage | None)
    assert_type(queue.retry(job_id, subtree=True), int)


def together(queue: JobQueue) -> None:
    with Session(create_engine("sqlite:///shop.db")) as session, kombu_depqueue.enlist(session):
        queue.enqueue("mail")
        session.commit()


def handler(job: Reservation) -> Any:
    return job.args


def through_the_port(queue: ports.JobQueue) -> None:
    """Code written against the port takes the implementation."""
    reservation: ports.Reservation = queue.dequeue(["resize"], 1.0)
    queue.finish(reservation.job_id, {"ok": True}, token=reservation.token)


def main() -> None:
    with JobQueue("sqlite:///jobs.db") as queue:
        produce(queue)
        through_the_port(queue)
        Worker(queue, {"resize": handler}, threads=4).run(until_idle=True)
