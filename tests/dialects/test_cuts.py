"""The n-th statement of every operation fails: its connection breaks, before or after; a deadlock; a full disk.

Each operation is run once to count its statements, then once for each of them and each way in which
it can fail (`sweep/breaking.py` has those of the database). It must do what it would have done: the
library tries again by itself, nothing is lost or doubled, and no error reaches the caller. What must
be told (a full disk) is told, nothing is half done, and the same call works afterwards.

Without `--full` some of the places are drawn by lot, by the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection
from sqlalchemy import Engine
from sweep import cases_channel, cases_jobs, cases_joined, cases_messages
from sweep.breaking import BREAKERS, Breaker
from sweep.case import Case, Subject, check_tables, empty_tables

from kombu_depqueue import JobQueue, Reservation, StorageError, cursor, limits
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.testing.fixtures import Database, Place
from kombu_depqueue.transport.channel import Channel
from kombu_depqueue.transport.delivery import Deliveries

DRAWN = {"sqlite": 4, "postgresql": 3, "mysql": 1}
"""So many places of each case, where not all are wanted."""

GROUPS = {
    "enqueue": cases_jobs.ENQUEUE,
    "reserve": cases_jobs.RESERVE | cases_jobs.CLOSE,
    "settle": cases_jobs.SETTLE,
    "operate": cases_jobs.OPERATE,
    "time": cases_jobs.TIME,
    "read": cases_jobs.READ,
    "messages": cases_messages.MESSAGES,
    "publish": cases_channel.PUBLISH,
    "consume": cases_channel.CONSUME,
    "declare": cases_channel.DECLARE,
    "signed": cases_jobs.SIGNED,
    "joined": cases_joined.JOINED,
}

Open = Callable[..., Subject]


@pytest.fixture
def breaker(database: Database, engine: Engine) -> Iterator[Breaker]:
    made = BREAKERS[database.name](engine)
    yield made
    made.close()


@pytest.fixture
def open_subject(place: Place, engine: Engine, breaker: Breaker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open a connection whose statements all go through `breaker`; no other thread speaks to the database."""
    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    monkeypatch.setattr(Deliveries, "_run", lambda self: None)
    monkeypatch.setattr(cursor, "SLOW", float("inf"))  # however slow the machine is
    monkeypatch.setattr(limits, "FRESH", 1e9)  # else some enqueues would take a statement more
    monkeypatch.setattr(limits, "UNCOUNTED", 1e9)
    monkeypatch.setattr(
        "kombu_depqueue.database.random", SimpleNamespace(uniform=lambda least, most: least)
    )  # no pauses
    breaker.attach_engine(engine)
    options: dict[str, Any] = {"notify": False, "lease": 1000, "deadline": 20, "orphan_after": 1000, "create": True}
    with ExitStack() as opened:

        def make(**more: Any) -> Subject:
            connect: Any = Connection
            connection = connect(f"depqueue+{place.url}", transport_options={**options, **more})
            opened.callback(connection.release)
            connection.connect()
            subject = Subject(connection, open_another=lambda: make(**more))
            database = subject.queue._database
            database._connections.flush()
            database.dialect.engine.dispose()  # what was connected was not seen by the breaker
            breaker.attach(database.dialect, monkeypatch)
            subject.theirs = engine
            return subject

        yield make


# -- running a case -------------------------------------------------------------


class Sweep:
    """Runs cases with each statement broken, and keeps what went wrong."""

    def __init__(self, subject: Subject, breaker: Breaker, most: int | None, lot: random.Random) -> None:
        self.subject, self.breaker, self.most, self.lot = subject, breaker, most, lot
        self.points: dict[str, int] = {}
        self.problems: list[str] = []

    def run(self, name: str, case: Case) -> None:
        s = self.subject
        self._once(case)  # a first use, so that no statement is about the schema or the queue's number
        empty_tables(s)
        given = case.prepare(s)
        s.queue._keeper.join()
        self.breaker.arm()
        result = case.run(s, given)
        statements = self.breaker.count
        case.check(s, given, result)
        places = [(at, fault) for at in range(1, statements + 1) for fault in self.breaker.faults]
        if self.most is not None:
            places = self.lot.sample(places, min(self.most, len(places)))
        self.points[name] = self.points.get(name, 0) + len(places)
        for at, fault in places:
            problem = self._broken(case, at, fault)
            if problem:
                self.problems.append(
                    f"{name}: {fault}, statement {at} of {statements} ({problem[0][:60]}): {problem[1]}"
                )

    def _once(self, case: Case) -> None:
        empty_tables(self.subject)
        self.breaker.arm()
        given = case.prepare(self.subject)
        case.check(self.subject, given, case.run(self.subject, given))

    def _broken(self, case: Case, at: int, fault: str) -> tuple[str, str] | None:
        """Run the operation in empty tables and break it; return what went wrong."""
        s, breaker, what = self.subject, self.breaker, ""
        try:
            empty_tables(s)
            given = case.prepare(s)
            s.queue._keeper.join()
            breaker.arm(at, fault)
            result, told = self._told(case, given, fault)
            assert breaker.broken, "it took fewer statements than the first time"
            what = breaker.broken
            breaker.arm()
            if told:
                result = case.run(s, given)
            if not (told and case.in_parts):
                case.check(s, given, result)
            check_tables(s)
        except Exception as error:
            return what or breaker.broken, f"{type(error).__name__}: {error}"
        finally:
            breaker.arm()
        return None

    def _told(self, case: Case, given: Any, fault: str) -> tuple[Any, bool]:
        """What the operation gives, and whether it fails, as it may with this fault."""
        if fault not in self.breaker.reported and not case.reported:
            return case.run(self.subject, given), False
        told: list[StorageError] = []
        try:
            return case.run(self.subject, given), False
        except StorageError as error:
            told.append(error)
        assert not told[0].maybe_committed, "it was not committed"
        return None, True


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", GROUPS)
def test_operation_survives_whichever_statement_fails(
    group: str,
    database: Database,
    open_subject: Open,
    breaker: Breaker,
    full: bool,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    options = {"signing_keys": "a=hmac:" + "c2lnbmVkIGJ5IHRoZSB0ZXN0cywgMzIgYnl0ZXMhISE="} if group == "signed" else {}
    subject = open_subject(**options)
    most = None if full else DRAWN[database.name]
    sweep = Sweep(subject, breaker, most, random.Random(f"{seed} {group} {database.name}"))
    dialect: Any = subject.queue._database.dialect
    for pooled in (False, True) if dialect.pipelines else (None,):
        if pooled is not None:
            dialect.pooled = pooled  # statement by statement instead of in pipelines
        cases = GROUPS[group]
        for name in cases if full else sweep.lot.sample(sorted(cases), max(2, len(cases) // 3)):
            sweep.run(name, cases[name])
    empty_tables(subject)
    record_property("figure", f"{sum(sweep.points.values()):,} places")
    record_property("tally", f"{database.name} {group}: {sum(sweep.points.values())} places; {sweep.points}")
    assert not sweep.problems, f"{len(sweep.problems)} problems\n" + "\n".join(sweep.problems)


# -- that nothing is left out ---------------------------------------------------

SWEPT = {name.split()[0] for cases in GROUPS.values() for name in cases}

MEANS = {  # what else is public: it asks the database nothing, or by way of others that are swept
    JobQueue: {
        "settle_ack": "Reservation.ack",
        "settle_requeue": "Reservation.requeue",
        "settle_fail": "Reservation.fail",
        "extend_lease": "Reservation.extend",
        "genuine": "JobQueue.reserve_many",
        "drop_tables": "of a test's or an operator's, who sees what is left",
        "renewals": "",
    },
    Reservation: dict.fromkeys(
        [
            "args",
            "attempt",
            "body",
            "content_type",
            "has_dependents",
            "headers",
            "job_id",
            "job_type",
            "max_attempts",
            "redelivered",
            "token",
        ],
        "",
    ),
    MessageQueue: {
        "connect": "looks at the schema, as every first use does",
        **dict.fromkeys(["abandon", "hurry", "patience", "consumer", "ending", "handing_out"], ""),
        **dict.fromkeys(["in_child", "interrupt", "is_closed", "settled", "ticket", "wait", "wait_for_end"], ""),
    },
    Channel: {
        **dict.fromkeys(
            [
                "Message",
                "basic_qos",
                "credit",
                "deliver",
                "flow",
                "has_room",
                "holds",
                "message_to_python",
                "owe",
                "owes",
            ],
            "",
        ),
        **dict.fromkeys(["prepare_message", "prepare_queue_arguments", "surplus", "takes_more", "unreadable"], ""),
        **dict.fromkeys(["exchange_bind", "exchange_unbind"], "not offered"),
        "after_reply_message_received": "Channel.queue_delete",
        "entries": "Channel.basic_publish",
        "insert": "Channel.basic_publish",
        "get_bindings": "Channel.list_bindings",
    },
}


def public(kind: type) -> set[str]:
    """What a class of ours offers, also by its bases."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith("kombu_depqueue")]
    return {name for base in ours for name, what in vars(base).items() if name[0] != "_" and _is_operation(what)}


def _is_operation(what: object) -> bool:
    return callable(what) or isinstance(what, property)


@pytest.mark.parametrize("kind", MEANS, ids=lambda kind: kind.__name__)
def test_no_operation_is_left_out(kind: type) -> None:
    bases = [base for base in MEANS if base is not kind and issubclass(kind, base)]
    wanted = public(kind) - {name for base in bases for name in public(base)}
    swept = {name.partition(".")[2] for name in SWEPT if name.partition(".")[0] == kind.__name__}
    assert wanted - swept - set(MEANS[kind]) == set(), "no case for them"
    assert swept & set(MEANS[kind]) == set()
    for name, instead in MEANS[kind].items():
        assert instead in SWEPT or "." not in instead, name
