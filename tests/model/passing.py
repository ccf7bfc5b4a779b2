"""Rules: time passes, and processes come and go."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition
from model.jobs import BLOCKED, LEASED, PAST, READY, SCHEDULED, Consumer, Held
from model.machine import INDEX, RARE, WHO, Machine, rule
from sqlalchemy import select, update


class Passing(Machine):
    """Delays, expiry, leases, retention; consumers that beat, restart, crash."""

    @precondition(lambda self: self.any_job(0, SCHEDULED))
    @rule(index=INDEX)
    def become_due(self, index: int) -> None:
        job, wait = self.any_job(index, SCHEDULED), self.tables.wait
        assert job is not None
        times = {"due_at": PAST} if self.signed else {"due_at": PAST, "run_at": PAST}
        self.on_tables(update(wait).where(wait.c.job_id == job.id).values(**times))
        job.delayed = False
        self.model.let_go(job)
        self.maintain()

    @precondition(
        lambda self: not self.signed and any(j.delayed for j in self.model.jobs.values() if j.state is BLOCKED)
    )
    @rule(index=INDEX)
    def become_due_while_blocked(self, index: int) -> None:
        some = [j for j in self.model.jobs.values() if j.state is BLOCKED and j.delayed]
        job, wait = some[index % len(some)], self.tables.wait
        self.on_tables(update(wait).where(wait.c.job_id == job.id).values(run_at=PAST))
        job.delayed = False
        self.maintain()

    @precondition(lambda self: any(j.can_expire and j.live for j in self.model.jobs.values()))
    @rule(index=INDEX, maintain=st.booleans())
    def pass_expiry(self, index: int, maintain: bool) -> None:
        some = [j for j in self.model.jobs.values() if j.can_expire and j.live]
        job = some[index % len(some)]
        table = self.tables.wait if job.state in (BLOCKED, SCHEDULED) else self.tables.job
        self.on_tables(update(table).where(table.c.job_id == job.id).values(expires_at=PAST))
        job.over, job.can_expire = True, False
        if maintain:
            self.maintain()

    @precondition(lambda self: any(not j.live for j in self.model.jobs.values()))
    @rule(index=INDEX)
    def pass_retention(self, index: int) -> None:
        ended = [j for j in self.model.jobs.values() if not j.live]
        job, done = ended[index % len(ended)], self.tables.done
        self.on_tables(update(done).where(done.c.job_id == job.id).values(keep_until=PAST))
        job.out_of_time = True
        self.maintain()

    @RARE
    @rule(index=INDEX)
    def expire_lease(self, index: int) -> None:
        some = [c for c in self.lease_holders() if self.is_registered(c)]
        if not some:
            return
        self.expire(some[index % len(some)])

    def expire(self, consumer: Consumer) -> None:
        table = self.tables.consumer
        self.on_tables(update(table).where(table.c.id == consumer.number).values(leased_until=PAST))
        consumer.dead = True
        for job in [j for j in self.model.jobs.values() if j.lease is consumer]:
            self.model.lose(job)
        self.maintain()

    def is_registered(self, consumer: Consumer) -> bool:
        table = self.tables.consumer
        return bool(self.raw.execute(select(table.c.id).where(table.c.id == consumer.number)).all())

    @precondition(lambda self: any(isinstance(j.lease, Held) for j in self.model.jobs.values()))
    @rule(index=INDEX)
    def expire_lease_of_one(self, index: int) -> None:
        some = [j for j in self.model.jobs.values() if isinstance(j.lease, Held)]
        job, table, hot = some[index % len(some)], self.tables.consumer, self.tables.job
        number = select(hot.c.consumer_id).where(hot.c.job_id == job.id).scalar_subquery()
        self.on_tables(update(table).where(table.c.id == number).values(leased_until=PAST))
        self.model.lose(job)
        self.maintain()

    @precondition(lambda self: any(c.dead for c in self.consumers) or self.step % 8 == 3)
    @rule(who=WHO)
    def beat(self, who: int) -> None:
        consumer = self.consumers[who]
        consumer.queue._keeper.beat()
        if not consumer.dead:
            return
        consumer.dead = False
        for held in self.held_by(consumer):
            if held.job.token is held and held.job.state is READY and held.job.tracked:
                held.job.state, held.job.lease = LEASED, consumer
                self.model.touched.add(held.job.id)

    @RARE
    @rule(who=WHO)
    def restart(self, who: int) -> None:
        consumer = self.consumers[who]
        consumer.queue.close()
        for job in [j for j in self.model.jobs.values() if j.lease is consumer]:
            self.model.lose(job)
        for held in [h for h in self.held_by(consumer) if h.kept and h.job.lease is h]:
            self.model.lose(held.job)
        self.replace(who)

    @RARE
    @rule(who=WHO)
    def crash(self, who: int) -> None:
        """The process is gone without a word."""
        self.consumers[who].queue._database.close()
        self.crashed.append(self.consumers[who])
        self.replace(who)

    def replace(self, who: int) -> None:
        gone = self.consumers[who]
        self.held = [h for h in self.held if h.consumer is not gone]
        self.consumers[who] = self.connect()

    @RARE
    @rule(who=WHO)
    def upkeep(self, who: int) -> None:
        self.maintain(who)
