"""Rules: jobs are handed out and settled, by their holders and by their ids."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition
from model.jobs import LEASED, LONG, READY, Consumer, Held, Job
from model.machine import INDEX, RARE, SOME_QUEUES, WHO, Machine, rule

from kombu_depqueue import (
    Canceled,
    DepQueueError,
    Empty,
    InvalidJob,
    JobState,
    LeaseLost,
    NotPending,
    NotRunning,
    Reservation,
)


class Settling(Machine):
    """Reserve, and what ends a reservation."""

    @rule(who=WHO, places=SOME_QUEUES, limit=st.integers(1, 3), renew=st.booleans())
    def reserve(self, who: int, places: tuple[tuple[str, ...], tuple[str, ...]], limit: int, renew: bool) -> None:
        consumer, (names, channels) = self.consumers[who], places
        self.settle_order()
        try:
            found = consumer.queue.reserve_many(limit, 0, queues=names, channels=channels, renew=renew)
        except Empty:
            found = []
        expected = self.next_of({(c, n) for c in channels for n in names} - self.model.paused, limit)
        assert [r.job_id for r in found] == [j.id for j in expected]
        for reservation, job in zip(found, expected, strict=True):
            self.stand(self.hand_out(consumer, reservation, job), renew)

    def stand(self, held: Held, renew: bool) -> None:
        """A lease of its own, which nobody renews."""
        if not renew:
            held.job.lease, held.alone, held.listed = held, True, False

    def hand_out(self, consumer: Consumer, reservation: Reservation, job: Job) -> Held:
        held = Held(reservation, job, consumer)
        job.state, job.token, job.lease = LEASED, held, consumer
        job.attempt += 1
        self.held.append(held)
        self.model.touched.add(job.id)
        assert (reservation.attempt, reservation.redelivered) == (job.attempt, job.redelivered)
        assert reservation.args == {"id": str(job.id)}
        assert (reservation.job_id, reservation.channel, reservation.job_type) == (job.id, *job.queue)
        assert reservation.depends_on == tuple(i for i, _ in job.deps)
        return held

    @precondition(lambda self: self.model.jobs)
    @rule(who=WHO, index=INDEX, renew=st.booleans())
    def dequeue_by_id(self, who: int, index: int, renew: bool) -> None:
        job, consumer = self.any_job(index), self.consumers[who]
        assert job is not None
        ready = job.state is READY and job.queue not in self.model.paused
        if ready and not job.over and not job.forged:
            self.stand(self.hand_out(consumer, consumer.queue.dequeue_by_id(job.id, renew=renew), job), renew)
            return
        with pytest.raises(NotPending):
            consumer.queue.dequeue_by_id(job.id, renew=renew)
        if ready and job.over:
            self.model.end(job, JobState.EXPIRED, "expired")
        elif ready:
            job.attempt += 1
            self.model.end(job, JobState.FAILED, "dead: bad-signature")

    # settle

    @contextlib.contextmanager
    def settling(self, held: Held, state: JobState | None, result: Any = None) -> Iterator[bool]:
        """Whether it must work; if not, the block must raise what is due, or do nothing if already settled."""
        if held.reservation.settled or self.ended_so(held, state, result):
            yield False
        elif held.job.token is held:
            yield True
        else:
            there = self.model.jobs.get(held.job.id)
            canceled = there is not None and there.state is JobState.CANCELED
            with pytest.raises(Canceled if canceled else LeaseLost):
                yield False
        assert held.reservation.settled

    def ended_so(self, held: Held, state: JobState | None, result: Any = None) -> bool:
        """Whether it would be the answer to an ack that was lost: the same end, of the same attempt."""
        there, attempt = self.model.jobs.get(held.job.id), held.reservation.attempt
        if there is None:  # pruned: of an ack in the caller's transaction the hand-out itself knows
            return held.reservation.joined and state is JobState.SUCCEEDED
        return (there.state, there.attempt, there.result) == (state, attempt, result)

    @precondition(lambda self: self.held)
    @rule(index=INDEX, result=st.sampled_from((None, 0, {"x": [1]}, "r")))
    def ack(self, index: int, result: Any) -> None:
        held = self.any_held(index)
        assert held is not None
        with self.settling(held, JobState.SUCCEEDED, result) as works:
            held.reservation.ack(result)
        if works:
            self.model.end(held.job, JobState.SUCCEEDED, None, result)

    @precondition(lambda self: self.held)
    @rule(index=INDEX, result=st.sampled_from((None, 1)), commit=st.booleans())
    def ack_in_transaction(self, index: int, result: Any, commit: bool) -> None:
        held = self.any_held(index)
        assert held is not None
        if held.reservation.settled or held.job.token is not held:
            return
        with self.transaction(commit=commit) as connection:
            held.reservation.ack(result, connection=connection)
        assert not held.reservation.settled, "that is for the caller's commit to say"
        if commit:
            self.model.end(held.job, JobState.SUCCEEDED, None, result)

    @precondition(lambda self: self.held)
    @RARE
    @rule(index=INDEX)
    def ack_with_impossible_result(self, index: int) -> None:
        held = self.any_held(index)
        assert held is not None
        if not held.reservation.settled:
            with pytest.raises(InvalidJob):
                held.reservation.ack({"x": float("nan")})

    @precondition(lambda self: self.held)
    @rule(indexes=st.lists(INDEX, min_size=1, max_size=4))
    def ack_many(self, indexes: list[int]) -> None:
        first = self.any_held(indexes[0])
        assert first is not None
        some = list(dict.fromkeys(h for i in indexes if (h := self.any_held(i)) is not None))
        some = [h for h in some if h.consumer is first.consumer]
        todo = [h for h in some if not h.reservation.settled]
        works = [h for h in todo if h.job.token is h]
        lost = [h.reservation for h in todo if h not in works and not self.ended_so(h, JobState.SUCCEEDED)]
        assert first.consumer.queue.ack_many([h.reservation for h in some]) == lost
        self.model.end_all([h.job for h in works], JobState.SUCCEEDED)

    @precondition(lambda self: self.held)
    @rule(index=INDEX, how=st.sampled_from(("fail", "reject")))
    def fail(self, index: int, how: str) -> None:
        held = self.any_held(index)
        assert held is not None
        with self.settling(held, JobState.FAILED) as works:
            getattr(held.reservation, how)("so")
        if works:
            self.model.end(held.job, JobState.FAILED, "so" if how == "fail" else "dead: so")

    @precondition(lambda self: self.held)
    @rule(index=INDEX, delay=st.sampled_from((0, 0, LONG)))
    def requeue(self, index: int, delay: float) -> None:
        held = self.any_held(index)
        assert held is not None
        job = held.job
        with self.settling(held, None) as works:
            held.reservation.requeue(delay)
        if not works:
            return
        job.token = job.lease = None
        self.model.touched.add(job.id)
        job.redelivered = True
        if job.max_attempts and job.attempt >= job.max_attempts:
            self.model.end(job, JobState.FAILED, "dead: ")
        elif delay:
            job.delayed = True
            self.model.let_go(job)
        else:
            job.state = READY

    @RARE
    @rule(who=WHO)
    def heartbeats(self, who: int) -> None:
        queue = self.consumers[who].queue
        tokens = {j.token.reservation.token: j.id for j in self.model.jobs.values() if j.state is LEASED and j.token}
        assert set(queue.heartbeats(0)) == set(tokens)
        for token, job_id in list(tokens.items())[:2]:
            assert queue.job_id_of(token) == job_id

    @precondition(lambda self: self.held)
    @rule(index=INDEX, how=st.sampled_from(("extend", "refresh_heartbeat")), who=WHO)
    def extend(self, index: int, how: str, who: int) -> None:
        held = self.any_held(index)
        assert held is not None
        works = held.job.token is held
        if how == "extend" and held.reservation.settled:
            works = False
        with contextlib.nullcontext() if works else pytest.raises(LeaseLost):
            if how == "extend":
                held.reservation.extend(LONG)
            else:
                self.consumers[who].queue.refresh_heartbeat(held.reservation.token)
        if not works:
            return
        self.model.touched.add(held.job.id)
        stood_alone = held.job.lease is held
        held.alone, held.job.state, held.job.lease = True, LEASED, held
        if stood_alone:
            return
        # Who detaches it goes on renewing it only if it is a reservation of its own; of a token's refresh
        # by another JobQueue its own knows nothing.
        held.kept = held.listed and how == "extend"
        if how == "refresh_heartbeat" and self.consumers[who] is held.consumer:
            held.listed = False

    # by id

    def check_by_id(self, consumer: Consumer, job: Job, held: Held | None) -> type[DepQueueError] | None:
        """What ending a job by its id, or (`held`) by a token, must raise."""
        if held is not None:
            if held.job.id != job.id:
                return LeaseLost if held.job.token is held or job.live else self.not_running(job)
            if held.job.token is held:
                return None
            return LeaseLost if job.live else self.not_running(job)
        if job.state is not LEASED:
            return self.not_running(job)
        mine = [h for h in self.held_by(consumer) if h.job.id == job.id]
        return LeaseLost if mine and job.token not in mine else None

    def not_running(self, job: Job) -> type[DepQueueError]:
        return Canceled if job.state is JobState.CANCELED else NotRunning

    @precondition(lambda self: self.model.jobs)
    @rule(who=WHO, index=INDEX, token=st.none() | INDEX, how=st.sampled_from(("finish", "fail_job")))
    def end_by_id(self, who: int, index: int, token: int | None, how: str) -> None:
        consumer, job = self.consumers[who], self.any_job(index)
        held = None if token is None else self.any_held(token)
        assert job is not None
        error = self.check_by_id(consumer, job, held)
        text = None if held is None else held.reservation.token
        with contextlib.nullcontext() if error is None else pytest.raises(error):
            if how == "finish":
                consumer.queue.finish(job.id, {"by": "id"}, token=text)
            else:
                consumer.queue.fail_job(job.id, "so", {"by": "id"}, token=text)
        self.forget_held(consumer, job, held, error)
        if error is None:
            state = JobState.SUCCEEDED if how == "finish" else JobState.FAILED
            self.model.end(job, state, None if how == "finish" else "so", {"by": "id"})

    def forget_held(self, consumer: Consumer, job: Job, held: Held | None, error: type[DepQueueError] | None) -> None:
        """Ending a job by id takes it off the list of those that its JobQueue renews."""
        gone = [held] if held is not None and error is not LeaseLost else []
        if held is not None and error is LeaseLost and held.job.token is not held:
            gone = [held]
        if held is None and error is None and job.token is not None:
            gone = [job.token]
        for one in gone:
            if one.consumer is consumer:
                one.listed = False

    @precondition(lambda self: self.model.jobs)
    @rule(who=WHO, index=INDEX, retries=st.integers(0, 2))
    def requeue_or_finish(self, who: int, index: int, retries: int) -> None:
        consumer, job = self.consumers[who], self.any_job(index)
        assert job is not None
        error = self.check_by_id(consumer, job, None)
        if error is not None:
            with pytest.raises(error):
                consumer.queue.requeue_or_finish(job.id, retries)
            return
        spent = bool(job.max_attempts and job.attempt >= job.max_attempts)
        again = job.attempt <= retries and not spent
        assert consumer.queue.requeue_or_finish(job.id, retries, "r") is again
        self.forget_held(consumer, job, None, None)
        self.model.touched.add(job.id)
        if again:
            job.state, job.redelivered, job.token, job.lease = READY, True, None, None
        else:
            self.model.end(job, JobState.FAILED, "dead: ", None if job.attempt <= retries else "r")

    @precondition(lambda self: self.model.jobs)
    @rule(who=WHO, index=INDEX)
    def cancel(self, who: int, index: int) -> None:
        job = self.any_job(index)
        assert job is not None
        assert self.consumers[who].queue.cancel(job.id) is job.live
        if job.live:
            self.model.end(job, JobState.CANCELED, "canceled")
