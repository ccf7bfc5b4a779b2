"""Threats T1-T21 of docs/security.md: what an attacker tries, and what happens instead.

Those that have tests elsewhere are named in the table there.
"""

from __future__ import annotations

import json
import logging
import pickle
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from amqp.exceptions import ChannelError
from kombu import Connection, Consumer, Queue
from sqlalchemy import Engine, Table, func, insert, literal_column, make_url, select, text, update

from kombu_depqueue import JobQueue, JobState, create_tables
from kombu_depqueue.errors import DepQueueError, Empty, InvalidJob, StorageError
from kombu_depqueue.schema import Flag
from kombu_depqueue.signing import HOLD, JOINS
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import drain, wait_until

ROOT = Path(__file__).parents[1]


def _broker(url: str) -> str:
    return f"depqueue+{url}{'&' if '?' in url else '?'}create=true"


@contextmanager
def _channel(place: Place, **options: Any) -> Iterator[Any]:
    with Connection(_broker(place.url), transport_options=options) as connection:
        yield connection.channel()


def _tables(queue: JobQueue) -> Any:
    return queue._database.dialect.tables


def test_the_table_names_tests_that_exist() -> None:
    """docs/security.md has a row for each threat, and each test named there is one."""
    page = (ROOT / "docs/security.md").read_text()
    rows = re.findall(r"^\| (T\d+) \|.*\|$", page, re.MULTILINE)
    assert rows == [f"T{n}" for n in range(1, 22)]
    named = re.findall(r"`([\w/.]+\.py)::(\w+)`", page)
    assert len(named) >= 20
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"


def test_t2_the_flags_that_are_covered_are_those_of_the_schema() -> None:
    assert (HOLD, JOINS) == (Flag.HOLD, Flag.JOINS)


# -- T1: code in a body -----------------------------------------------------------------


class _Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("pickled-bomb"),))


def test_t1_a_pickle_is_never_unpickled(queue: JobQueue, place: Place, tmp_path: Path, monkeypatch: Any) -> None:
    """Not by the native API, which gives the bytes; nor by Kombu, which refuses the content type."""
    monkeypatch.chdir(tmp_path)
    pickled, kind = pickle.dumps(_Bomb()), "application/x-python-serialize"
    job_id = queue.enqueue("q", body=pickled, content_type=kind)
    queue.enqueue("q", "good")
    first = queue.reserve(30, queues=["q"])
    with pytest.raises(InvalidJob):
        _ = first.args
    assert first.message.body == pickled
    first.requeue()
    got: list[Any] = []
    with _channel(place) as channel:
        consumer = Consumer(
            channel, [Queue("q")], callbacks=[lambda body, m: (got.append(body), m.ack())], accept=["json"]
        )
        consumer.on_decode_error = lambda message, error: message.reject()
        consumer.consume()
        client = channel.connection.client

        def drained() -> bool:
            with suppress(TimeoutError):
                client.drain_events(timeout=0.2)
            return bool(got)

        wait_until(drained, 60)
        assert got == ["good"]
        wait_until(lambda: queue.status(job_id).state is JobState.FAILED, 60)
    assert not (tmp_path / "pickled-bomb").exists()
    sources = [f for f in (ROOT / "kombu_depqueue").rglob("*.py") if "testing" not in f.parts]
    assert [
        f.name for f in sources if re.search(r"^\s*(import|from) (pickle|marshal|shelve)\b", f.read_text(), re.M)
    ] == []


# -- T3, T4, T5: what text and JSON cannot hold ---------------------------------------------


@pytest.mark.parametrize(
    "value", ["\0", "a\0b", "\ud800", "\udfff x", "\uffff", "\u202e", {"\0": ["\ud83d"]}], ids=ascii
)
def test_t3_t4_nul_and_surrogates_come_back_as_they_were(queue: JobQueue, value: Any) -> None:
    queue.enqueue("t", value, headers={"h": value})
    reservation = queue.reserve(30, queues=["t"])
    assert (reservation.args, reservation.headers) == (value, {"h": value})
    reservation.ack(value)
    assert queue.status(reservation.job_id).result == value


def test_t3_bytes_come_back_as_they_were(queue: JobQueue) -> None:
    every = bytes(range(256)) + b"\xff\xfe\xed\xa0\x80"
    queue.enqueue("t", body=every, content_type="application/octet-stream")
    assert queue.reserve(30, queues=["t"]).body == every


BOMBS = {
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "huge int": b"9" * 5_000,
    "huge exponent": b"1e200000",
    "huge key": b'{"' + b"k" * 1_000_000 + b'": 1',
    "NaN": b"NaN",
    "bom": b"\xef\xbb\xbf{}",
    "utf-16": '{"a": 1}'.encode("utf-16"),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("way", ["native", "kombu"])
def test_t5_a_json_bomb_stops_no_other(queue: JobQueue, place: Place, bomb: str, way: str) -> None:
    """It can be rejected, and is dead with the reason; the next job is delivered."""
    job_id = queue.enqueue("t", body=BOMBS[bomb], content_type="application/json")
    queue.enqueue("t", "good")
    if way == "native":
        reservation = queue.reserve(30, queues=["t"])
        with suppress(InvalidJob):  # and nothing else: RecursionError, say
            _ = (reservation.args, reservation.message)
        reservation.reject("not for us")
        assert queue.reserve(30, queues=["t"]).args == "good"
    else:
        with _channel(place) as channel:
            message = channel.basic_get("t")
            with suppress(Exception):  # whatever Kombu makes of it
                _ = message.payload
            message.reject()
            assert channel.basic_get("t").payload == "good"
    assert queue.status(job_id).state is JobState.FAILED


# -- T6: sizes ---------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["body", "envelope"])
@pytest.mark.parametrize("way", ["native", "kombu", "by id"])
def test_t6_what_is_too_large_is_not_fetched(
    make_queue: MakeQueue, place: Place, engine: Engine, column: str, way: str
) -> None:
    """It is dead, its payload kept in the database; whoever allows more may retry it."""
    queue = make_queue(max_body_bytes=100_000)
    roomy = make_queue()
    job_id = roomy.enqueue("t", "x" * 200_000) if column == "body" else roomy.enqueue("t", headers={"h": "x" * 200_000})
    behind = queue.enqueue("t", "good")
    if way == "by id":
        with pytest.raises(DepQueueError, match="too large"):
            queue.dequeue_by_id(job_id)
    if way == "kombu":
        with _channel(place, max_body_bytes=100_000) as channel:
            message = channel.basic_get("t")
            assert message.payload == "good"
            message.requeue()
    assert queue.reserve(30, queues=["t"]).job_id == behind
    status = queue.status(job_id)
    assert status.state is JobState.FAILED
    assert status.reason is not None
    assert status.reason.startswith("dead: its payload is larger than max_body_bytes = 100,000")
    roomy.retry(job_id)
    reservation = roomy.reserve(30, queues=["t"])
    assert (reservation.job_id, len(reservation.args or "") + len(reservation.headers.get("h", ""))) == (
        job_id,
        200_000,
    )


def test_t6_a_signature_takes_nothing_from_the_size(make_queue: MakeQueue) -> None:
    queue = make_queue(max_body_bytes=100, signing_keys="a=hmac:" + "QUFB" * 11)
    queue.enqueue("t", headers={"h": "x" * 40})
    assert queue.reserve(30, queues=["t"]).headers == {"h": "x" * 40}


# -- T7, T8: names -------------------------------------------------------------------------

_PIECES = [
    "'",
    '"',
    "`",
    ";",
    "--",
    "/*",
    "*/",
    "\\",
    "%",
    "%s",
    "%(x)s",
    ":x",
    "?",
    "$1",
    "{0}",
    "\n",
    "\t",
    "\r",
    " ",
    "\u202e",
    "\x1b[2J",
    "😀",
    "é",
    "NULL",
    "DROP TABLE job",
    "$$",
    "||",
    "&",
    "#",
    "*",
    ".",
]


def _hostile_names() -> list[str]:
    """200, and always the same."""
    chance = random.Random(7)
    whole = [f"{a}{b}" for a in _PIECES[:12] for b in _PIECES[12:22]]
    return whole + ["".join(chance.choices(_PIECES, k=chance.randint(1, 15)))[:255] for _ in range(200 - len(whole))]


def test_t7_200_hostile_names_through_every_operation_of_the_native_door(make_queue: MakeQueue) -> None:
    names = _hostile_names()
    assert len(names) == 200
    queue = make_queue()
    bystander = queue.enqueue("bystander")
    ids = dict(
        zip(
            dict.fromkeys(names),
            (queue.enqueue(n, n, channel=n, headers={n: n}) for n in dict.fromkeys(names)),
            strict=True,
        )
    )
    assert {q.name for q in queue.queues()} == {*ids, "bystander"}
    for name, job_id in ids.items():
        assert [j.job_id for j in queue.jobs(queue=name, channel=name).jobs] == [job_id]
        queue.pause(name, channel=name)
        with pytest.raises(Empty):
            queue.dequeue([name], 0, channels=[name])
        queue.resume(name, channel=name)
        reservation = queue.dequeue([name], 0, channels=[name])
        assert (reservation.job_id, reservation.args, reservation.headers) == (job_id, name, {name: name})
        reservation.fail(name, name)
        assert (queue.status(job_id).reason, queue.status(job_id).result) == (name, name)
        assert queue.retry(job_id) == 1
        assert queue.purge(name, channel=name) == 1
        worker = queue.register_worker(name, channel=name, info={name: name})
        queue.delete_worker(worker)
    assert queue.status(bystander).state is JobState.READY


def test_t7_200_hostile_names_through_every_operation_of_kombu(make_queue: MakeQueue, place: Place) -> None:
    bystander = make_queue().enqueue("bystander")
    with _channel(place) as channel:
        for name in dict.fromkeys(_hostile_names()):
            channel.queue_declare(name)
            channel.exchange_declare(name, "topic", durable=True, auto_delete=False)
            channel.queue_bind(name, name, name)
            channel.basic_publish(channel.prepare_message("1", headers={"x-job-id": name}), name, name)
            message = channel.basic_get(name)
            assert message is not None, ascii(name)
            assert message.delivery_info["routing_key"] == name
            message.requeue()
            assert channel.queue_purge(name) == 1
            channel.queue_unbind(name, name, name)
            channel.queue_delete(name)
            channel.exchange_delete(name)
    assert make_queue().status(bystander).state is JobState.READY


@pytest.mark.parametrize("option", ["schema", "table_prefix"])
@pytest.mark.parametrize(
    "name", ["x" * 31, "a b", 'a"; DROP TABLE x; --', "Ünï", "a.b", "1a", "A", "a\0", "a\n"], ids=ascii
)
def test_t7_t8_identifiers_that_are_none_or_would_be_cut_are_refused(option: str, name: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        JobQueue("postgresql://h/d", **{option: name})
    assert refused.value.field == option


@pytest.mark.only("postgresql")
def test_t8_the_longest_names_are_not_cut(database_url: str, engine: Engine) -> None:
    """PostgreSQL cuts at 63, without a word, and two tables could become one."""
    prefixes = ["p" * 29 + "_", "p" * 28 + "q_"]
    url = make_url(database_url)
    for prefix in prefixes:
        create_tables(url, table_prefix=prefix)
    with engine.connect() as connection:
        where = text("SELECT relname FROM pg_class WHERE relnamespace = CAST(:schema AS regnamespace)")
        names = [n for (n,) in connection.execute(where, {"schema": url.query["schema"]})]
    assert max(map(len, names)) < 63
    ours = [{n.removeprefix(p) for n in names if n.startswith(p)} for p in prefixes]
    assert ours[0] == ours[1] != set()
    a, b = (JobQueue(url, table_prefix=p) for p in prefixes)
    with a, b:
        a.enqueue("t")
        with pytest.raises(Empty):
            b.reserve(0, queues=["t"])


# -- T11: TLS ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["disable", "require", "verify-ca", "verify-full"])
def test_t11_tls_options_of_the_url_reach_the_driver(mode: str) -> None:
    pytest.importorskip("psycopg")
    from kombu_depqueue.transport.address import address_of

    url = f"postgresql://u@h/d?sslmode={mode}&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem&lease=5"
    kombu_url, options, _ = address_of(Connection(f"depqueue+{url}"))
    for found in (JobQueue(url).settings.url, JobQueue(kombu_url, **options).settings.url):
        assert dict(found.query) == {
            "sslmode": mode, "sslrootcert": "/ca.pem", "sslcert": "/c.pem", "sslkey": "/k.pem",
        }  # fmt: skip


@pytest.mark.only("postgresql")
def test_t11_a_server_whose_certificate_cannot_be_checked_is_refused(database_url: str, tmp_path: Path) -> None:
    """Nothing is sent to it."""
    url = make_url(database_url).update_query_dict(
        {"sslmode": "verify-full", "sslrootcert": str(tmp_path / "no-ca.pem")}
    )
    with JobQueue(url, create=False) as queue, pytest.raises(StorageError):
        queue.enqueue("t")


# -- T15: the database's own doors -----------------------------------------------------------


@pytest.mark.only("postgresql")
def test_t15_forged_notifications_are_only_hints(make_queue: MakeQueue, engine: Engine) -> None:
    """Ten thousand of them, with any text, make a consumer look; it sees what there is."""
    queue, sender = make_queue(), make_queue()
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(queue.reserve(60, queues=["t"]).args))
    waiting.start()
    channel = queue._database.dialect._channel  # type: ignore[attr-defined]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        numbers = [n for (n,) in connection.execute(select(_tables(queue).queue.c.id))]
        texts = ["", "-1", "nonsense", "9" * 4000, "'; DROP TABLE job; --", "{}"]
        for name in (f"{channel}{suffix}" for suffix in ["", *map(str, numbers), "nonsense", "0"]):
            for payload in texts:
                connection.execute(select(func.pg_notify(name, payload)))
            connection.execute(
                text("SELECT count(pg_notify(:name, n::text)) FROM generate_series(1, 2000) n"), {"name": name}
            )
    assert found == []
    sender.enqueue("t", "real")
    waiting.join(60)
    assert found == ["real"]


@pytest.mark.only("postgresql")
def test_t15_forged_advisory_locks_stop_no_job(make_queue: MakeQueue, engine: Engine) -> None:
    """Whoever may connect can take them: no leader is chosen by one, and a call that meets one ends at its deadline."""
    import zlib

    from kombu_depqueue.dialects.postgresql import LOCKS

    queue = make_queue(deadline=2.0)
    dependency = queue.enqueue("d")
    space = zlib.crc32(queue._database.dialect._channel.encode()) - (1 << 31)  # type: ignore[attr-defined]
    with engine.connect() as connection:
        connection.execute(
            text("SELECT count(pg_advisory_xact_lock(:space, n)) FROM generate_series(0, :most) n"),
            {"space": space, "most": LOCKS - 1},
        )
        job_id = queue.enqueue("t")
        dependent = queue.enqueue("t", depends_on=[dependency])
        queue.maintain()
        assert drain(queue, ["d"]) == [dependency]
        assert drain(queue, ["t"]) == [job_id, dependent]
        with pytest.raises(StorageError):
            queue.enqueue("t", job_id=uuid4())  # an id that may be taken has to be locked
        connection.rollback()
    queue.enqueue("t", job_id=uuid4())


# -- foreign rows, truncated and flipped payloads ---------------------------------------------------


def _foreign(table: Table, queue_id: int, **values: Any) -> Any:
    row = {"queue_id": queue_id, "rank": 0, "created_at": func.now(), "body": b"{}", **values}
    return insert(table).values(row)


FOREIGN: dict[str, dict[str, Any]] = {
    "no id": {"job_id": None},
    "no queue": {"queue_id": 2**31 - 1},
    "negative rank": {"rank": -32768},
    "all flags": {"flags": 0b111_1101},
    "attempts": {"attempt": 2**31 - 2, "max_attempts": 1},
    "empty": {"body": b""},
    "not JSON": {"body": b"\xff", "envelope": b"\0"},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_rows_stop_no_other(queue: JobQueue, engine: Engine, what: str) -> None:
    """Rows that somebody else has put into our tables are jobs like others, or nothing; what comes behind is had."""
    known = queue.enqueue("t", "first")
    job = _tables(queue).job
    with engine.begin() as connection:
        row = dict(connection.execute(select(job).where(job.c.job_id == known)).mappings().one())
        row.pop("seq")
        connection.execute(insert(job).values({**row, "rank": 0, "job_id": uuid4(), **FOREIGN[what]}))
    behind = queue.enqueue("t", "last")
    done: list[UUID] = []
    while behind not in done:
        reservation = queue.reserve(30, queues=["t"])
        try:
            _ = (reservation.args, reservation.message, reservation.token)
            reservation.ack()
        except InvalidJob:
            reservation.reject()
        done.append(reservation.job_id)
    assert known in done
    queue.maintain()
    assert len(done) == (2 if what == "no queue" else 3)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("column", ["body", "envelope", "run_at", "job_id", "expires_at", "created_at"])
def test_foreign_rows_of_another_type_stop_no_other(queue: JobQueue, engine: Engine, column: str) -> None:
    """SQLite keeps what it is given, in any column."""
    bad, good = queue.enqueue("t", 1), queue.enqueue("t", 2)
    with engine.begin() as connection:
        table = _tables(queue).job.fullname
        connection.exec_driver_sql(f"UPDATE {table} SET {column} = 'nonsense' WHERE job_id = ?", (str(bad),))
    done = []
    while good not in done:
        reservation = queue.reserve(30, queues=["t"])
        reservation.ack()
        done.append(reservation.job_id)
    if column in ("body", "envelope"):
        assert queue.status(bad).state is JobState.FAILED


@pytest.mark.parametrize("column", ["run_at", "created_at"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_times_that_are_none_of_pythons_stop_no_other(queue: JobQueue, engine: Engine, column: str, sign: str) -> None:
    bad, good = queue.enqueue("t", 1), queue.enqueue("t", 2)
    job = _tables(queue).job
    moment = literal_column(f"'{sign}infinity'" if engine.dialect.name == "postgresql" else f"{sign}{2**62}")
    with engine.begin() as connection:
        connection.execute(update(job).where(job.c.job_id == bad).values({column: moment}))
    done = []
    while good not in done:
        reservation = queue.reserve(30, queues=["t"])
        done.append(reservation.message.job_id)
        reservation.ack()
    assert done == [bad, good]
    assert queue.status(bad).state is JobState.SUCCEEDED


def test_truncated_and_bit_flipped_payloads_stop_no_other(queue: JobQueue, place: Place, engine: Engine) -> None:
    """Each is delivered as something else, or refused as unreadable; both doors go on."""
    chance = random.Random(11)
    good = json.dumps([{"task": "t", "n": 1}, [1, 2, 3], "ü" * 20]).encode()
    with _channel(place) as channel:
        for n in range(60):
            channel.basic_publish(channel.prepare_message(good, 0, "application/json", "utf-8", {"n": n}), "", "q")
    job = _tables(queue).job
    with engine.begin() as connection:
        for seq, envelope, body in connection.execute(select(job.c.seq, job.c.envelope, job.c.body)).all():
            column, data = chance.choice([("envelope", bytearray(envelope)), ("body", bytearray(body))])
            if chance.random() < 0.5:
                del data[chance.randrange(len(data)) :]
            else:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            connection.execute(update(job).where(job.c.seq == seq).values({column: bytes(data)}))
    queue.enqueue("q", "the last")
    with _channel(place) as channel:
        for n in range(61):
            message = channel.basic_get("q") if n % 2 else None
            if message is not None:
                try:
                    payload = message.payload
                except Exception:
                    message.reject()
                else:
                    message.ack()
                continue
            reservation = queue.reserve(30, queues=["q"])
            try:
                payload = reservation.args
            except InvalidJob:
                reservation.reject("unreadable")
            else:
                reservation.ack()
    assert payload == "the last"


# -- T18, T19, T20 --------------------------------------------------------------------------------


def test_t18_a_full_queue_refuses_and_the_others_go_on(place: Place) -> None:
    with _channel(place) as channel:
        channel.queue_declare("full", arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
        channel.queue_declare("other")
        for n in range(5):
            refused = pytest.raises(ChannelError, match="full") if n >= 3 else nullcontext()
            with refused:
                channel.basic_publish(channel.prepare_message("1"), "", "full")
            channel.basic_publish(channel.prepare_message("1"), "", "other")
        assert [channel.queue_declare(q, passive=True).message_count for q in ("full", "other")] == [3, 5]


@pytest.mark.parametrize("way", ["native", "kombu"])
def test_t19_a_million_dependencies_are_refused_before_anything_is_written(
    queue: JobQueue, place: Place, way: str
) -> None:
    many = [UUID(int=n) for n in range(1, 1_000_001)]
    if way == "native":
        with pytest.raises(InvalidJob, match="100,000"):
            queue.enqueue("t", depends_on=many)
    else:
        with _channel(place) as channel:
            for given in (many, (uuid4() for _ in iter(int, 1))):  # the second has no end
                message = channel.prepare_message("1", properties={"depends_on": given})
                with pytest.raises(InvalidJob, match="100,000"):
                    channel.basic_publish(message, "", "t")
    assert queue.all_root_jobs() == []
    assert [q for q in queue.queues() if q.ready or q.blocked] == []


def test_t19_no_job_waits_for_itself_or_for_what_is_not_there(queue: JobQueue) -> None:
    """So there are no circles: an edge leads to what was there before."""
    me = uuid4()
    for bad in (me, uuid4()):
        with pytest.raises(DepQueueError):
            queue.enqueue("t", job_id=me, depends_on=[bad])
    assert queue.all_root_jobs() == []


def test_t20_results_are_data(queue: JobQueue, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever stands in a stored result, nothing is imported or called for it."""
    caplog.set_level(logging.DEBUG)
    hostile = {
        "exc_type": "system",
        "exc_module": "os",
        "exc_message": ["touch x"],
        "__type__": "os.system",
        "__reduce__": 1,
    }
    dependency = queue.enqueue("d")
    dependent = queue.enqueue("t", depends_on=[dependency])
    queue.reserve(30, queues=["d"]).ack(hostile)
    [result] = queue.reserve(30, queues=["t"]).results_of_dependencies()
    assert result.result == queue.status(dependency).result == hostile
    done = _tables(queue).done
    with engine.begin() as connection:
        connection.execute(update(done).where(done.c.job_id == dependency).values(result=pickle.dumps(_Bomb())))
    with pytest.raises(InvalidJob):
        queue.results_of_dependencies(dependent)
    assert not Path("pickled-bomb").exists()
