"""`depqueue+...://` is known to Kombu and Celery by its URL alone; what the URL and the options may be."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection
from sqlalchemy import make_url
from transport_helpers import MakeConnection, broker_of, contents, declare, publish
from transport_workers import Bench

import kombu_depqueue
from kombu_depqueue import plugins
from kombu_depqueue.errors import DepQueueError, InvalidJob, SchemaError, StorageError
from kombu_depqueue.testing.fixtures import Database
from kombu_depqueue.testing.helpers import in_threads
from kombu_depqueue.transport import Transport

HERE = Path(__file__).parent
SECRET = "s3cr3t/pass:word@"


def _python(code: str, *args: str, path: str = "", cwd: Path | None = None, **env: str) -> str:
    """Run code in a fresh interpreter and return what it printed; it must not know this test's path."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DEPQUEUE_", "PYTEST", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code, *args],
        env={**clean, **({"PYTHONPATH": path} if path else {}), **env},
        cwd=cwd or Path("/"),  # not the checkout: it must be found as it is installed
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# without an import


def test_kombu_knows_the_url_after_importing_anything_with_serialization(broker_url: str) -> None:
    code = """
import sys
from kombu import Connection, Queue
assert "kombu_depqueue.transport" not in sys.modules
from kombu.serialization import loads
with Connection(sys.argv[1]) as connection:
    with connection.SimpleQueue("q") as queue:
        queue.put({"n": 1})
        print(queue.get(timeout=10).payload)
"""
    assert _python(code, broker_url) == "{'n': 1}"


def test_kombu_alone_knows_the_url_after_importing_us(broker_url: str) -> None:
    code = """
import sys
import kombu_depqueue
from kombu import Connection
with Connection(sys.argv[1]) as connection:
    connection.default_channel
    print(connection.transport.driver_type)
"""
    assert _python(code, broker_url) == "depqueue"


def test_a_celery_producer_needs_no_import(broker_url: str) -> None:
    code = """
import sys
from celery import Celery
app = Celery(broker=sys.argv[1])
app.send_task("some.task", (1,), task_id="a")
with app.connection_for_read() as connection:
    message = connection.default_channel.basic_get("celery")
    print(message.headers["task"], message.headers["id"], message.delivery_info["job_id"])
assert not [m for m in sys.modules if m.startswith("kombu_depqueue.testing")]
"""
    assert _python(code, broker_url).startswith("some.task a ")


def test_celery_from_the_environment(broker_url: str) -> None:
    code = "from celery import current_app as app; app.send_task('t'); print(app.connection().transport.driver_type)"
    assert _python(code, CELERY_BROKER_URL=broker_url) == "depqueue"


def test_celery_pays_nothing_for_us() -> None:
    code = """
import sys
import celery, celery.app, celery.app.amqp, kombu.serialization
import celery.bin.celery
assert "kombu_depqueue" in sys.modules, "the entry point was not loaded"
print([m for m in ("sqlalchemy", "kombu_depqueue.transport", "kombu_depqueue.queue", "psycopg") if m in sys.modules])
"""
    assert _python(code) == "[]"


def test_the_entry_point_registers_no_serializer() -> None:
    code = """
import kombu.serialization as s
print("depqueue" in s.registry._encoders, "application/x-depqueue" in s.registry._decoders)
"""
    assert _python(code) == "False False"


def test_celery_survives_a_kombu_that_has_no_aliases() -> None:
    """The registration must not break `import celery`, whatever Kombu becomes."""
    code = """
import sys, kombu.transport
del kombu.transport.TRANSPORT_ALIASES
import kombu.serialization
import kombu_depqueue._register as r
print(r.serializer[2], kombu.serialization.loads(b"[1]", "application/json", "utf-8"))
"""
    assert _python(code) == "application/x-depqueue [1]"


def test_celery_survives_us_being_broken(tmp_path: Path) -> None:
    """All of the package but the registration fails: whoever uses another broker does not notice."""
    package = Path(kombu_depqueue.__file__).parent
    copy = tmp_path / "kombu_depqueue"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for module in copy.rglob("*.py"):
        if module.parent != copy or module.stem not in ("__init__", "_register", "_version"):
            module.write_text("raise RuntimeError('broken')\n")
    code = """
from celery import Celery
import kombu_depqueue
print(kombu_depqueue.__file__)
Celery(broker="memory://").send_task("t")
try:
    Celery(broker="depqueue://").send_task("t", retry=False)
except RuntimeError as error:
    print(error)
"""
    assert _python(code, path=str(tmp_path)).splitlines() == [str(copy / "__init__.py"), "broken"]


def test_of_threads_that_connect_first_none_goes_on_before_plugins_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[float] = []

    def slow() -> None:
        plugins.load()  # as what a plugin imports may do
        time.sleep(0.2)
        loads.append(time.monotonic())

    entry = SimpleNamespace(name="slow", load=lambda: slow)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    monkeypatch.setattr(plugins, "_loaded", False)
    monkeypatch.setitem(sys.modules, "celery", sys)
    returned = in_threads([lambda: plugins.load() or time.monotonic() for _ in range(4)])
    assert len(loads) == 1
    assert all(isinstance(moment, float) and moment >= loads[0] for moment in returned)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_was_forked_while_plugins_were_loaded_loads_them_itself() -> None:
    code = """
import celery, os, signal, threading, time
from types import SimpleNamespace
from kombu_depqueue import plugins

plugins._loaded, loads = False, []
entry = SimpleNamespace(name="slow", load=lambda: lambda: (loads.append(1), time.sleep(0.5)))
plugins.entry_points = lambda group: [entry]
thread = threading.Thread(target=plugins.load)
thread.start()
while not loads:
    time.sleep(0.01)
child = os.fork()
if not child:
    signal.alarm(10)
    plugins.load()
    os._exit(len(loads))
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert _python(code) == "2"


def test_a_missing_dependency_breaks_only_who_uses_it(tmp_path: Path) -> None:
    """Without SQLAlchemy (a broken environment) Celery itself still works."""
    (tmp_path / "sqlalchemy.py").write_text("raise ImportError('broken')")
    code = """
from celery import Celery
app = Celery(broker="memory://")
app.send_task("t")
print("sent")
try:
    Celery(broker="depqueue://").send_task("t", retry=False)
except ImportError as error:
    print(error)
"""
    assert _python(code, path=str(tmp_path)).splitlines() == ["sent", "broken"]


# forms of URLs


def test_a_bare_url_is_a_file_here(tmp_path: Path) -> None:
    code = """
import sys
from celery import Celery
app = Celery(broker=sys.argv[1])
app.send_task("t")
print(app.connection().as_uri())
"""
    for url in ("depqueue://", "depqueue:///", "depqueue+sqlite:///depqueue.db"):
        _python(code, url, cwd=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix == ".db") == ["depqueue.db"]
    _python(code, "depqueue+sqlite:///other.db", cwd=tmp_path)
    _python(code, f"depqueue+sqlite:///{tmp_path}/absolute.db", cwd=tmp_path)
    assert {p.name for p in tmp_path.iterdir() if p.suffix == ".db"} == {"depqueue.db", "other.db", "absolute.db"}
    with Connection(f"depqueue+sqlite:///{tmp_path}/depqueue.db") as connection:
        assert len(contents(connection.default_channel, "celery")) == 3


def _postgresql_urls(url: str) -> list[str]:
    parsed = make_url(url)
    names = ("postgresql", "postgresql+psycopg")
    return [parsed.set(drivername=n).render_as_string(hide_password=False) for n in names]


@pytest.mark.only("postgresql")
def test_names_of_the_driver(database_url: str, connect: MakeConnection) -> None:
    for n, url in enumerate(_postgresql_urls(database_url)):
        channel = connect(broker_of(url)).channel()
        publish(channel, n, "q")
        assert contents(channel, "q") == [n]


def test_clones_and_pickles_are_the_same_connection(connect: MakeConnection, broker_url: str) -> None:
    first = connect(transport_options={"queue_name_prefix": "p-"})
    publish(first.channel(), "kept", "q")
    for other in (first.clone(), pickle.loads(pickle.dumps(first)), Connection(**first.info())):
        with other:
            assert other.as_uri() == first.as_uri()
            message = other.channel().basic_get("q")
            assert message.payload == "kept"
            message.requeue()


def test_a_pool_of_connections(broker_url: str) -> None:
    with Connection(broker_url) as connection:
        pool = connection.Pool(limit=3)
        taken = [pool.acquire(block=True, timeout=5) for _ in range(3)]
        for n, one in enumerate(taken):
            publish(one.default_channel, n, "q")
        assert contents(taken[0].default_channel, "q") == [0, 1, 2]
        for one in taken:
            one.release()
        pool.force_close_all()


def test_a_connection_can_be_closed_and_used_again(connect: MakeConnection) -> None:
    connection = connect()
    for n in range(3):
        publish(connection.default_channel, n, "q")
        connection.close()
    assert contents(connection.default_channel, "q") == [0, 1, 2]


# passwords


def _with_password(url: str) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(password=parsed.password or SECRET)
    return parsed.render_as_string(hide_password=False)


def _secret(url: str) -> list[str]:
    """The password of a URL, plain and quoted."""
    text = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    password = str(make_url(url).password)
    return sorted({text, password} - {""})


@pytest.mark.only("postgresql")
def test_the_password_shows_nowhere(
    database_url: str, connections: MakeConnection, caplog: pytest.LogCaptureFixture
) -> None:
    url = _with_password(database_url)
    caplog.set_level(logging.DEBUG)
    connection = connections(broker_of(url))
    before = [repr(connection), str(connection), connection.as_uri()]
    publish(connection.default_channel, 1, "q")
    info = connection.info()
    assert info.pop("password") == make_url(url).password, "where Kombu keeps it, and Celery leaves it out"
    shown = [
        *before,
        repr(connection),
        connection.as_uri(),
        json.dumps(info, default=str),
        repr(connection.transport),
        repr(connection.default_channel),
        repr(connections(connection)),
        Transport.as_uri(broker_of(url)),
        caplog.text,
    ]
    for secret in _secret(url):
        assert [text for text in shown if secret in text] == []
    assert contents(connections(connection).default_channel, "q") == [1]


@pytest.mark.parametrize(
    "url",
    [
        f"depqueue+postgresql://user:{SECRET.replace('/', '%2F').replace('@', '%40')}@127.0.0.1:1/db",
        f"depqueue+postgresql+psycopg://user:{SECRET.replace('/', '%2F').replace('@', '%40')}@127.0.0.1:1/db?schema=x",
        f"depqueue+postgresql://user@127.0.0.1:1/db?password={SECRET.replace('/', '%2F').replace('@', '%40')}",
        f"depqueue+postgresql://user:{SECRET.replace('/', '%2F').replace('@', '%40')}@127.0.0.1:port/db",
        f"depqueue+nonsense://user:{SECRET.replace('/', '%2F').replace('@', '%40')}@127.0.0.1/db",
        f"depqueue+postgresql://user:{SECRET.replace('/', '%2F').replace('@', '%40')}@127.0.0.1:1/db?leese=3",
    ],
)
def test_the_password_is_in_no_error(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    connection = Connection(url, connect_timeout=2)
    with pytest.raises(Exception) as failed:  # noqa: PT011 - whatever it is, it must not tell
        connection.connect()
    texts = [caplog.text, connection.as_uri(), repr(connection)]
    error: BaseException | None = failed.value
    while error is not None:
        texts += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    assert [t for t in texts if "s3cr3t" in t] == []


# options


@pytest.mark.parametrize(
    ("name", "value", "ours"),
    [
        ("visibility_timeout", 7, "lease"),
        ("lease", 7, "lease"),
        ("polling_interval", 7, "poll_interval"),
        ("max_body_bytes", 7, "max_body_bytes"),
    ],
)
def test_options_and_their_other_names(
    connect: MakeConnection, broker_url: str, name: str, value: Any, ours: str
) -> None:
    beside = connect(transport_options={name: value})
    beside.connect()
    assert getattr(beside.transport.queue.settings, ours) == value
    within = connect(f"{broker_url}&{name}={value}")
    within.connect()
    assert getattr(within.transport.queue.settings, ours) == value


@pytest.mark.parametrize(
    ("name", "near"),
    [("leese", "lease"), ("visibilty_timeout", "visibility_timeout"), ("queue_prefix_name", None), ("shema", "schema")],
)
@pytest.mark.parametrize("where", ["options", "url"])
def test_an_unknown_option_is_refused_with_the_nearest_name(
    connect: MakeConnection, broker_url: str, name: str, near: str | None, where: str
) -> None:
    beside = {"transport_options": {name: 1}} if where == "options" else {"url": f"{broker_url}&{name}=1"}
    connection = connect(**beside)
    with pytest.raises(DepQueueError, match=name) as refused:
        connection.connect()
    assert near is None or near in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"), [("lease", 0), ("lease", "soon"), ("prefetch_limit", "many"), ("table_prefix", "a b")]
)
def test_an_option_that_makes_no_sense_is_refused(
    connect: MakeConnection, broker_url: str, name: str, value: Any
) -> None:
    broker = make_url(broker_url).difference_update_query([name]).render_as_string(hide_password=False)
    with pytest.raises(InvalidJob, match=name):
        connect(broker, transport_options={name: value}).connect()


def test_what_kombu_and_other_transports_give_is_tolerated(connect: MakeConnection) -> None:
    options = {
        "max_retries": 3,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.2,
        "retry_errors": None,
        "errback": None,
        "callback": None,
        "timeout": 5,
        "confirm_publish": True,
        "client_properties": {"connection_name": "x"},
        "priority_steps": [0, 3, 6, 9],
        "queue_order_strategy": "priority",
        "socket_keepalive": True,
        "fanout_prefix": True,
    }
    connection = connect(transport_options=options)
    channel = connection.channel()
    with_policy = connection.Producer(channel)
    policy = {"max_retries": 2, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2, "retry_errors": None}
    with_policy.publish(1, routing_key="q", retry=True, retry_policy=policy)
    assert contents(channel, "q") == [1]
    # publish(retry=True) has left the policy among the transport options: a clone must still connect.
    with connection.clone() as clone:
        assert contents(clone.channel(), "q") == []


def test_options_of_the_sqlalchemy_transport_are_told_to_have_no_effect(
    connect: MakeConnection, caplog: pytest.LogCaptureFixture
) -> None:
    connect(transport_options={"queue_tablename": "x"}).connect()
    assert "queue_tablename" in caplog.text


TLS = [
    (True, {"sslmode": "require"}),
    ({"sslmode": "verify-full", "sslrootcert": "/ca"}, {"sslmode": "verify-full", "sslrootcert": "/ca"}),
    (
        {"ca_certs": "/ca", "certfile": "/c", "keyfile": "/k"},
        {"sslrootcert": "/ca", "sslcert": "/c", "sslkey": "/k", "sslmode": "verify-full"},
    ),
    ({"ca_certs": "/ca", "cert_reqs": ssl.CERT_REQUIRED}, {"sslrootcert": "/ca", "sslmode": "verify-full"}),
    ({"cert_reqs": ssl.CERT_NONE}, {"sslmode": "require"}),
    ({"certfile": "/c", "keyfile": "/k"}, {"sslcert": "/c", "sslkey": "/k", "sslmode": "require"}),
    ({"ca_certs": "/ca", "sslmode": "verify-ca"}, {"sslrootcert": "/ca", "sslmode": "verify-ca"}),
    (False, {}),
    (None, {}),
]


@pytest.mark.parametrize(("given", "wanted"), TLS)
def test_broker_use_ssl(given: Any, wanted: dict[str, str]) -> None:
    from kombu_depqueue.transport.address import address_of

    connection = Connection("depqueue+postgresql://user@host/db", ssl=given)
    connection.transport  # noqa: B018 - normalises the client
    url, _, _ = address_of(connection)
    assert dict(url.query) == wanted
    file = Connection("depqueue+sqlite:///x.db", ssl=given)
    assert dict(address_of(file)[0].query) == {}


# errors


def test_a_missing_server_is_an_error_at_once() -> None:
    connection = Connection("depqueue+postgresql://nobody@127.0.0.1:1/nothing", connect_timeout=2)
    began = time.monotonic()
    with pytest.raises(connection.connection_errors) as missing:
        connection.connect()
    with pytest.raises(StorageError):
        Connection("depqueue+postgresql://nobody@127.0.0.1:1/nothing")._establish_connection()
    assert time.monotonic() - began < 10
    assert "127.0.0.1" in str(missing.value)


@pytest.mark.slow
def test_celery_tells_of_a_missing_server(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench("sqlite:///unused.db")
    app = bench.producer("depqueue+postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        app.tasks["t.add"].apply_async((1, 2), retry=False)


def test_retries_reach_a_server_that_comes_up(tmp_path: Path) -> None:
    connection = Connection(f"depqueue+sqlite:///{tmp_path}/later/jobs.db")
    tries: list[Any] = []

    def errback(error: Exception, interval: float) -> None:
        tries.append(error)
        if len(tries) == 2:
            (tmp_path / "later").mkdir()

    with connection:
        connection.ensure_connection(errback=errback, max_retries=5, interval_start=0.05, interval_step=0.05)
        assert len(tries) == 2
        publish(connection.default_channel, 1, "q")


@pytest.mark.only("postgresql")
def test_a_missing_schema_is_a_clear_error(database_url: str, connections: MakeConnection) -> None:
    connection = connections(f"depqueue+{database_url}")
    with pytest.raises(SchemaError, match=r"create") as missing:
        connection._establish_connection()
    assert missing.value.found is None
    # And Celery does not try for ever: it is one of the connection errors, told as such.
    with pytest.raises(connection.connection_errors):
        connection.ensure_connection(max_retries=1, interval_start=0.01)


# several brokers


def test_a_failover_list(connect: MakeConnection, broker_url: str, database: Database) -> None:
    plain, _, query = broker_url.partition("?")
    options = dict(pair.split("=") for pair in query.split("&"))
    dead = "depqueue+postgresql://nobody@127.0.0.1:1/nothing"
    urls: list[Any] = [f"{dead};{plain}", [dead, plain]]
    if make_url(plain.removeprefix("depqueue+")).password:
        urls.append([dead, plain])
    for given in urls:
        connection = connect(given, transport_options=options, connect_timeout=2)
        connection.ensure_connection(max_retries=3, interval_start=0.01)
        publish(connection.default_channel, 1, "q")
        for other in (connection.clone(), pickle.loads(pickle.dumps(connection))):
            with other:
                assert contents(other.default_channel, "q") == [1]
                publish(other.default_channel, 1, "q")
        contents(connection.default_channel, "q")


def test_a_celery_producer_fails_over(broker_url: str) -> None:
    plain, _, query = broker_url.partition("?")
    options = dict(pair.split("=") for pair in query.split("&"))
    code = """
import json, sys
from celery import Celery
app = Celery(broker=["depqueue+postgresql://nobody@127.0.0.1:1/nothing", sys.argv[1]])
app.conf.broker_transport_options = json.loads(sys.argv[2])
app.conf.broker_connection_timeout = 2
app.send_task("t", retry_policy={"max_retries": 3, "interval_start": 0.01})
with app.connection_for_read() as connection:
    connection.ensure_connection(max_retries=3, interval_start=0.01)
    print(connection.default_channel.basic_get("celery").headers["task"])
"""
    assert _python(code, plain, json.dumps(options)) == "t"


def test_reading_here_and_writing_there(
    connect: MakeConnection, broker_url: str, make_bench: Callable[..., Bench]
) -> None:
    bench = make_bench("sqlite:///unused.db")
    app = bench.producer(
        "memory://", broker_read_url=broker_url, broker_write_url=f"{broker_url}&queue_name_prefix=written-"
    )
    assert app.connection_for_read().as_uri() != app.connection_for_write().as_uri()
    app.tasks["t.add"].apply_async((1, 2))
    assert len(contents(connect().channel(), "written-celery")) == 1


@pytest.mark.only("postgresql")
def test_a_url_with_several_hosts(database_url: str, connect: MakeConnection) -> None:
    parsed = make_url(database_url)
    url = parsed.set(host=None, port=None).update_query_dict(
        {"host": ["127.0.0.1:1", f"{parsed.host}:{parsed.port}"], "connect_timeout": "3"}
    )
    channel = connect(broker_of(url.render_as_string(hide_password=False))).channel()
    declare(channel, "q")
    publish(channel, 1, "q")
    assert contents(channel, "q") == [1]
