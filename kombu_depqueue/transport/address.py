"""From a Kombu connection's URL and `transport_options` to the URL and options of a JobQueue."""

from __future__ import annotations

import difflib
import logging
import urllib.parse
from collections.abc import Iterable
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.settings import is_secret, option_names
from kombu_depqueue.signing import refuse_in_url

__all__ = ["CHANNEL_OPTIONS", "address_of", "normalise", "safe_uri"]

logger = logging.getLogger("kombu_depqueue")

RENAMED = {
    "visibility_timeout": "lease",
    "polling_interval": "poll_interval",
    "use_notify": "notify",
    "max_deliveries": "max_attempts",
    "idle_backoff_max": "idle_poll_interval",
    "global_keyprefix": "table_prefix",
}
"""Names of other transports that mean one of our options."""

CHANNEL_OPTIONS = {"queue_name_prefix": str, "deadletter_queue": str, "prefetch_limit": int}
"""Options of the transport itself."""

KOMBUS = frozenset(
    (
        "callback",
        "errback",
        "max_retries",
        "interval_start",
        "interval_step",
        "interval_max",
        "retry_errors",
        "retry_policy",
        "timeout",
        "retry",
        "on_revive",
        "client_properties",
        "confirm_publish",
    )
)
"""Kombu's own, of retries and of what every transport gets."""

TOLERATED = KOMBUS | frozenset(
    (
        "priority_steps",
        "queue_order_strategy",
        "wait_time_seconds",
        "sep",
        "body_encoding",
        "fanout_prefix",
        "fanout_patterns",
        "notify_throttle_interval_ms",
        "pool_timeout",
        "init_extension",
        "lease_renew",
        "socket_timeout",
        "socket_keepalive",
        "socket_connect_timeout",
        "health_check_interval",
        "max_connections",
        "unacked_restore_limit",
        "retry_on_timeout",
        "client_name",
        "read_timeout",
        "write_timeout",
        "connect_timeout",
        "login_method",
        "master_name",
        "sentinel_kwargs",
        "echo",
    )
)
"""And those of other transports that have no meaning here."""

GONE = {"queue_tablename": "table_prefix", "message_tablename": "table_prefix"}
"""Of Kombu's sqlalchemy transport: accepted, and said to have no effect."""


def address_of(client: Any) -> tuple[URL, dict[str, Any], dict[str, Any]]:
    """The URL, the JobQueue's options and the channel's options. Raises InvalidJob."""
    url = _url(client)
    given = {str(k): v for k, v in (client.transport_options or {}).items()}
    query = dict(url.query)
    mine = {k: query.pop(k) for k in list(query) if k in RENAMED or k in CHANNEL_OPTIONS or k in option_names()}
    _refuse_typos(query)
    if "signing_keys" in mine:
        refuse_in_url(mine["signing_keys"])
    given.update(mine)  # what the URL says goes before what the options say
    options: dict[str, Any] = {}
    channel: dict[str, Any] = {}
    for name, value in given.items():
        if name in CHANNEL_OPTIONS:
            channel[name] = _channel_option(name, value)
        elif name in option_names():
            options[name] = value
        elif name in RENAMED:
            options.setdefault(RENAMED[name], value)
        elif name in GONE:
            logger.warning("transport option %s has no effect here; see %s", name, GONE[name])
        elif name not in TOLERATED:
            raise InvalidJob(name, _unknown(name))
    return url.set(query=query), options, channel


def _channel_option(name: str, value: Any) -> Any:
    try:
        return CHANNEL_OPTIONS[name](value)
    except (TypeError, ValueError):
        raise InvalidJob(name, f"{value!r} is no {CHANNEL_OPTIONS[name].__name__}") from None


def _refuse_typos(query: Iterable[str]) -> None:
    # What is left is the driver's, unless it looks like a name that only the transport knows.
    for name in query:
        if difflib.get_close_matches(name, [*CHANNEL_OPTIONS, *RENAMED], n=1, cutoff=0.75):
            raise InvalidJob(name, _unknown(name))


def _unknown(name: str) -> str:
    known = [*option_names(), *CHANNEL_OPTIONS, *RENAMED]
    near = difflib.get_close_matches(name, known, n=1)
    return "unknown transport option" + (f"; did you mean {near[0]!r}?" if near else "")


def normalise(client: Any) -> None:
    """Bring the client of a connection into the one form that it can be cloned, pickled and shown in.

    The whole URL but its password is the host name; the password is where Kombu masks it. After
    a failover Kombu has taken the URL apart, with the whole scheme as the transport's name.
    """
    transport = client.transport_cls
    if isinstance(transport, str) and transport.startswith("depqueue+"):
        client.hostname = _rebuilt(client, transport.removeprefix("depqueue+"))
        client.transport_cls, client.uri_prefix = "depqueue", "depqueue"
        client.userid = client.port = None
        client.virtual_host = "/"
    host = client.hostname or ""
    if "://" not in host or ":" not in host.partition("://")[2].rpartition("@")[0]:
        return
    try:
        url = make_url(host)
    except (ArgumentError, ValueError):
        return
    if url.password is not None:
        client.password = str(url.password)
        client.hostname = _without_password(url).render_as_string(hide_password=False)


def _without_password(url: URL) -> URL:
    # URL.set() takes None for "as it was".
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)


def _rebuilt(client: Any, scheme: str) -> str:
    user = urllib.parse.quote(client.userid, safe="") if client.userid else ""
    at = f"{user}@" if user else ""
    host = client.hostname or ""
    port = f":{client.port}" if client.port else ""
    path = client.virtual_host if client.virtual_host not in (None, "/") else ""
    return f"{scheme}://{at}{host}{port}/{path}"


def _url(client: Any) -> URL:
    text = client.hostname or ""
    if text in ("", "depqueue", "depqueue://", "localhost"):
        text = "sqlite:///depqueue.db"
    text = text.removeprefix("depqueue+")
    if text.startswith("depqueue://"):
        text = "sqlite:///" + (text.removeprefix("depqueue://").lstrip("/") or "depqueue.db")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        wanted = "depqueue+dialect://user@host/db; of hosts with ports: ...://user@/db?host=h1:5432&host=h2:5433"
        raise InvalidJob("broker_url", f"this is no database URL (wanted: {wanted})") from None
    password = client.password() if callable(client.password) else client.password
    if password:
        url = url.set(password=password)
    return _with_tls(url, client.ssl)


_LIBPQ = {
    "ca_certs": "sslrootcert",
    "certfile": "sslcert",
    "keyfile": "sslkey",
    "ssl_ca_certs": "sslrootcert",
    "ssl_certfile": "sslcert",
    "ssl_keyfile": "sslkey",
    "cert_reqs": "ssl_cert_reqs",
}
"""Names that `broker_use_ssl` has with RabbitMQ and Redis."""


def _with_tls(url: URL, ssl: Any) -> URL:
    """Map `broker_use_ssl`: True, or a dict of libpq's names (sslmode, sslrootcert, ...), or of RabbitMQ's.

    Without `sslmode` libpq would go on without TLS, too: whoever names an authority wants the server verified.
    """
    if ssl and url.get_backend_name() in ("mysql", "mariadb"):
        raise InvalidJob(
            "broker_use_ssl", "on MySQL say in the URL what pymysql is to do: ?ssl_ca=... (ssl_cert, ssl_key)"
        )
    if not ssl or url.get_backend_name() != "postgresql":
        return url
    wanted = {"sslmode": "require"} if ssl is True else {str(k): str(v) for k, v in dict(ssl).items()}
    found = {_LIBPQ.get(k, k): v for k, v in wanted.items()}
    verify = "sslrootcert" in found
    if "ssl_cert_reqs" in found:
        verify = found.pop("ssl_cert_reqs").lower().removeprefix("verifymode.") not in ("cert_none", "none", "0")
    found.setdefault("sslmode", "verify-full" if verify else "require")
    for name in found:
        if not name.startswith("ssl"):
            raise InvalidJob("broker_use_ssl", f"{name!r} is none of libpq's names (sslmode, sslrootcert, ...)")
    return url.update_query_dict(found)


def safe_uri(uri: str, *, include_password: bool, mask: str) -> str:
    """A broker URL fit to be shown: no password, not in the query either."""
    text = uri.removeprefix("depqueue+")
    if text.startswith("depqueue:"):
        return text
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        return "depqueue+..."
    if include_password:
        return "depqueue+" + url.render_as_string(hide_password=False)
    url = url.set(query={k: v for k, v in url.query.items() if not is_secret(k)})
    shown = _without_password(url).render_as_string(hide_password=False)
    if url.password is not None and mask:
        shown = shown.replace("@", f":{mask}@", 1)
    return f"depqueue+{shown}"
