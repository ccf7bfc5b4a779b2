"""Processes that reserve and settle."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from program import DOOMED, QUEUES, Program, Task

from kombu_depqueue import Empty, Reservation, StorageError

__all__ = ["Veteran", "Worker"]


class Worker(Program):
    """Reserves and settles in every way."""

    name = "worker"

    def __init__(self, task: Task) -> None:
        super().__init__(self.name, task)
        self.jobs = self.queue()
        self.late: list[tuple[float, Reservation]] = []
        """Held beyond their lease, which nobody renews."""

    def run(self) -> None:
        """Work until told to stop, then give back what is held."""
        queues = [QUEUES[0]] if self.task.plain else [*QUEUES, DOOMED]
        while not self.stopping.is_set():
            renew = self.task.plain or self.task.calm or self.chance.random() < 0.93
            for reservation in self.reserve(queues, renew):
                if not renew:
                    self.late.append((time.monotonic() + self.task.lease * self.chance.uniform(0.5, 2), reservation))
            self.settle_late()
        op = self.history.invoke("close")
        self.jobs.close()
        op.ok()

    def reserve(self, queues: Sequence[str], renew: bool) -> list[Reservation]:
        limit = self.chance.choice((1, 1, 5, 10)) if renew else 1
        op = self.history.invoke("reserve", limit=limit)
        try:
            found = self.jobs.reserve_many(limit, 0.5, queues=queues, renew=renew)
        except Empty:
            op.ok()
            return []
        except StorageError as error:
            op.info(error=str(error)[:200])
            self.stopping.wait(0.05)
            return []
        op.ok(jobs=[[str(r.job_id), r.token, r.attempt, int(r.redelivered)] for r in found])
        if renew:
            self.work(found)
        return found

    def work(self, held: list[Reservation]) -> None:
        if len(held) > 1 and self.chance.random() < 0.5:
            self.ack_many(held)
            return
        for reservation in held:
            if not self.task.calm and self.chance.random() < 0.5:
                # Long enough for the former holder of what is redelivered to come back, if it was only stopped.
                self.stopping.wait(self.chance.uniform(0, 0.7 * self.task.lease if reservation.redelivered else 0.04))
            self.end(reservation)

    def items(self, *held: Reservation) -> list[list[str]]:
        return [[str(r.job_id), r.token] for r in held]

    def ack_many(self, held: list[Reservation]) -> None:
        for _ in range(20):
            op = self.history.invoke("settle", how="ack", items=self.items(*held))
            try:
                lost = self.jobs.ack_many(held)
            except StorageError as error:
                op.info(error=str(error)[:200])
                self.stopping.wait(0.05)
                continue
            op.ok(lost=[str(r.job_id) for r in lost])
            return

    def end(self, reservation: Reservation) -> None:
        dice = self.chance.random()
        result = {"by": reservation.token}
        if self.task.plain or self.task.calm or dice < 0.6:
            how, facts, call = "ack", {"result": result}, lambda: reservation.ack(result)
        elif dice < 0.68:
            how, facts, call = "finish", {"result": result}, self.finishing(reservation, result)
        elif dice < 0.74:
            how, facts, call = "fail", {"result": result}, lambda: reservation.fail("wanted", result)
        elif dice < 0.78:
            how, facts, call = "reject", {}, lambda: reservation.reject("wanted")
        elif dice < 0.86:
            how, facts, call = "requeue", {}, reservation.requeue
        elif dice < 0.92:
            delay = round(self.chance.uniform(0.1, 1.5), 3)
            how, facts, call = "requeue", {"delay": delay}, lambda: reservation.requeue(delay)
        else:
            self.extend(reservation)
            how, facts, call = "ack", {"result": result}, lambda: reservation.ack(result)
        self.repeat(reservation, how, facts, call)

    def finishing(self, reservation: Reservation, result: Any) -> Callable[[], object]:
        return lambda: self.jobs.finish(reservation.job_id, result, token=reservation.token)

    def extend(self, reservation: Reservation) -> None:
        op = self.history.invoke("settle", how="extend", items=self.items(reservation))
        self.settle(op, lambda: reservation.extend(self.task.lease * 2))

    def repeat(self, reservation: Reservation, how: str, facts: dict[str, Any], call: Callable[[], object]) -> None:
        """Ask until there is an answer; now and then once more after it."""
        for _ in range(20):
            op = self.history.invoke("settle", how=how, items=self.items(reservation), **facts)
            said = self.settle(op, call)
            if said != "info":
                break
            self.stopping.wait(0.05)
        if said == "ok" and how != "requeue" and self.chance.random() < 0.1:
            again = self.history.invoke("again", id=str(reservation.job_id), token=reservation.token)
            self.settle(again, self.finishing(reservation, {"by": "nobody"}))

    def settle_late(self) -> None:
        due = [r for at, r in self.late if at <= time.monotonic()]
        self.late = [(at, r) for at, r in self.late if at > time.monotonic()]
        for reservation in due:
            self.end(reservation)


class Veteran(Worker):
    """A worker that nobody kills: to see what a long life does to it."""

    name = "veteran"
