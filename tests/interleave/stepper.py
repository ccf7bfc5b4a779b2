"""A stepper over real sessions: each operation in a thread of its own, stopped before every statement.

A schedule says whose statement comes next; all schedules are found by going through the tree of
choices depth first. A statement that waits for a lock (the server knows) is left waiting while
others go on. Where there are too many schedules, some are drawn by lot.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy import Connection, text

from kombu_depqueue.dialects.lean import LeanCursor

__all__ = ["Case", "explore", "gate"]

Operations = list[Callable[[], Any]]
Case = Callable[[], tuple[Operations, Callable[[list[Any]], None]]]
"""Prepares what is needed; gives the operations, and what checks their outcomes."""

_local = threading.local()
_EXECUTE = {kind: kind.execute for kind in (psycopg.Cursor, LeanCursor, pymysql.cursors.Cursor)}
PATIENCE = 60.0


def _execute(cursor: Any, *args: Any, **kwargs: Any) -> Any:
    return _EXECUTE[type(cursor)](cursor, *args, **kwargs)


def _gated(cursor: Any, *args: Any, **kwargs: Any) -> Any:
    actor = getattr(_local, "actor", None)
    if actor is None:
        return _execute(cursor, *args, **kwargs)
    return actor.statement(cursor, args, kwargs)


class Actor:
    """One operation in a thread of its own, stopped before each statement."""

    def __init__(self, operation: Callable[[], Any]) -> None:
        self.outcome: Any = None
        self.statements = 0
        self.pid: int | None = None
        self.is_mysql = False
        self.busy = False
        self.over = False
        self._go = threading.Event()
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(operation,), daemon=True)
        self._thread.start()
        self.settle(lambda pid: False)

    def _run(self, operation: Callable[[], Any]) -> None:
        _local.actor = self
        try:
            self.outcome = operation()
        except Exception as error:
            self.outcome = error
        self.over = True
        self._changed.set()

    def statement(self, cursor: Any, args: Any, kwargs: Any) -> Any:
        self.statements += 1
        self._changed.set()
        assert self._go.wait(PATIENCE)
        self._go.clear()
        connection = cursor.connection
        self.is_mysql = hasattr(connection, "thread_id")
        self.pid = connection.thread_id() if self.is_mysql else connection.info.backend_pid
        return _execute(cursor, *args, **kwargs)

    def step(self) -> None:
        """Let the next statement begin."""
        self._changed.clear()
        self._go.set()

    def settle(self, is_blocked: Callable[[int], bool]) -> bool:
        """Wait until it stands before its next statement, or is over (True), or waits for a lock (False)."""
        until = time.monotonic() + PATIENCE
        pause = 0.01 if self.is_mysql else 0.003
        while not self._changed.wait(pause):
            if self.pid is not None and is_blocked(self.pid):
                return False
            assert time.monotonic() < until, "an operation hangs"
        return True

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert self.over


class Stepper:
    """Runs operations along one schedule and records where it might have gone otherwise."""

    def __init__(self, watching: Connection, schedule: list[int]) -> None:
        self._watching = watching
        self._schedule = schedule
        self.taken: list[tuple[int, int]] = []
        """The choice made, and how many there were."""
        self.counts: list[int] = []
        """How many statements each took."""

    def _is_blocked(self, pid: int) -> bool:
        if self._watching.dialect.name == "mysql":
            # Not information_schema.innodb_trx, which stays as it was while anybody reads it ten times a second.
            status = self._watching.exec_driver_sql("SHOW ENGINE INNODB STATUS").one()[2]
            sessions = status.partition("LIST OF TRANSACTIONS FOR EACH SESSION")[2].split("---TRANSACTION ")
            mine = [one for one in sessions if f"thread id {pid}," in one]
            return any("LOCK WAIT" in one for one in mine)
        query = text("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = :pid")
        return bool(self._watching.execute(query, {"pid": pid}).scalar())

    def run(self, operations: Operations) -> list[Any]:
        actors = [Actor(o) for o in operations]
        waiting: set[int] = set()
        while not all(a.over for a in actors):
            for n in list(waiting):
                if actors[n]._changed.is_set():
                    waiting.discard(n)
            able = [n for n, a in enumerate(actors) if not a.over and n not in waiting]
            if not able:  # all wait: the server will find a deadlock, or a lock is about to be given
                time.sleep(0.002)
                continue
            depth = len(self.taken)
            choice = self._schedule[depth] if depth < len(self._schedule) else 0
            choice = min(choice, len(able) - 1)
            self.taken.append((choice, len(able)))
            actor = actors[able[choice]]
            actor.step()
            if not actor.settle(self._is_blocked):
                waiting.add(able[choice])
            for n in list(waiting):  # a commit may have let others go on: they come to their next statement
                if n != able[choice]:
                    actors[n].settle(self._is_blocked)
        for actor in actors:
            actor.join()
        self.counts = [a.statements for a in actors]
        return [a.outcome for a in actors]


def _possible(counts: list[int]) -> int:
    """How many schedules there would be without locks, which leave fewer choices."""
    return math.factorial(sum(counts)) // math.prod(map(math.factorial, counts))


def next_schedule(taken: list[tuple[int, int]]) -> list[int] | None:
    """The next schedule, depth first; None: that was the last."""
    while taken:
        choice, among = taken.pop()
        if choice + 1 < among:
            return [c for c, _ in taken] + [choice + 1]
    return None


def explore(watching: Connection, case: Case, most: int, lot: random.Random) -> tuple[int, bool]:
    """Run all schedules of a case, or `most` that are drawn; returns how many were run, and whether those were all.

    An operation may take more statements than when it was alone: then `most` are drawn after as many that were not.
    """
    schedule: list[int] | None = []
    count, whole = 0, True
    while schedule is not None:
        operations, check = case()
        stepper = Stepper(watching, schedule)
        outcomes = stepper.run(operations)
        try:
            check(outcomes)
        except Exception as error:
            order = "".join(str(choice) for choice, _ in stepper.taken)
            raise AssertionError(f"schedule {order}: outcomes {outcomes!r}: {error!r}") from error
        count += 1
        schedule = next_schedule(stepper.taken) if whole else None
        if schedule and (_possible(stepper.counts) > most if count == 1 else count == most):
            # Those until now are of one corner, if there are more of them than the first one told.
            whole, most = False, count + most
        if not whole and count < most:
            schedule = drawn(len(operations), lot)
    return count, whole


def drawn(actors: int, lot: random.Random) -> list[int]:
    """A schedule: each in long runs, or in short turns."""
    turn = lot.choice((1, 2, 4, 8))
    return [choice for _ in range(100) for choice in [lot.randrange(actors)] * lot.randint(1, turn)]


def gate(patch: pytest.MonkeyPatch) -> None:
    """From now on statements of actors wait to be let go."""
    for kind in _EXECUTE:
        patch.setattr(kind, "execute", _gated)
