"""One URL and its options, checked once, as a frozen `Settings`.

Precedence: keyword options, then the URL's query, then `DEPQUEUE_<OPTION>` in
the environment, then the default. An unknown option is refused with the
nearest known name, so that a typo cannot silently mean the default.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.job import OnUnmet, Policy
from kombu_depqueue.signing import Keys, refuse_in_url

__all__ = ["FAR", "Settings", "is_secret", "option_names", "parse", "shown_url"]

FAR = 10_000 * 365 * 86400.0
"""Seconds: the longest duration."""

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,29}\Z")
"""Configured identifiers: 30 characters, since PostgreSQL cuts at 63 silently and two names could then collide."""

_SECRET = re.compile("pass|secret|token|signing", re.IGNORECASE)
"""What the names of query parameters that must not be shown contain."""

_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
_DEFAULT_URL = "sqlite:///depqueue.db"
_SQLITE = frozenset(("uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"))
"""What Python's driver for SQLite knows; with `uri` SQLite itself is given the others."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every option with its default. Durations are seconds, sizes bytes."""

    url: URL
    schema: str | None = None
    """The PostgreSQL schema of the tables (default "depqueue"); None elsewhere."""
    table_prefix: str = ""
    """Before every table name (default "depqueue_" where there is no schema)."""
    queue: str = "default"
    """The queue of jobs that name no job_type."""
    lease: float = 30.0
    """How long a job stays reserved after its holder's last sign of life."""
    orphan_after: float = 60.0
    """How long after the loss of its worker a job that was acked early may still tell its outcome; then it is lost."""
    deadline: float = 30.0
    """After this time a database call is given up and its connection cut."""
    create: bool | None = None
    """Create missing tables at first use: None = on SQLite only."""
    poll_interval: float = 1.0
    """How often a waiting consumer looks by itself, beside being woken up."""
    idle_poll_interval: float = 5.0
    """How often it looks after having found nothing for a minute. Large (300) lets a serverless database sleep."""
    notify: bool = True
    """Wake consumers by LISTEN/NOTIFY where the database has it and the connection allows it."""
    prepared_statements: bool = True
    """Off behind a pooler in transaction mode (found out by itself where the pooler shows)."""
    synchronous: str = "FULL"
    """SQLite: FULL survives power loss, NORMAL only a crash of the process."""
    max_attempts: int = 0
    """Deliveries before a job is dead, for jobs that do not say; 0 = unlimited."""
    max_body_bytes: int = 16 * 1024 * 1024
    dependency_policy: Policy = Policy.FINISHED
    on_unmet: OnUnmet = OnUnmet.CANCEL
    retention: float = 3600.0
    """How long the record of an ended job is kept."""
    result_retention: float = 86400.0
    """The same for one that ended with a result, or not as succeeded."""
    signing_keys: Keys | None = None
    """Sign what is enqueued with the first key, and run nothing that none of them has signed (`signing`)."""
    pool_size: int = 20
    """Connections kept open at most; more threads than that wait for one."""
    name: str = ""
    """What `why` and `workers` call this JobQueue; default host and process id."""

    def __post_init__(self) -> None:
        """Refuse values that can only be mistakes."""
        for name in (
            "lease",
            "orphan_after",
            "deadline",
            "poll_interval",
            "idle_poll_interval",
            "retention",
            "result_retention",
        ):
            value = getattr(self, name)
            if not (0 < value <= FAR):
                raise InvalidJob(name, f"{value!r} is no positive number of seconds within 10,000 years")
        for name in ("schema", "table_prefix"):
            value = getattr(self, name)
            if value and not _IDENTIFIER.match(value):
                raise InvalidJob(name, f"{value!r} is no identifier of at most 30 of a-z, 0-9 and _")
        if not 0 < len(self.queue) <= 255 or "\0" in self.queue:
            raise InvalidJob("queue", "a name of 1 to 255 characters without NUL is wanted")
        if self.max_attempts < 0 or self.max_body_bytes < 1 or self.pool_size < 1:
            raise InvalidJob("options", "max_attempts, max_body_bytes and pool_size must not be negative")
        if self.synchronous.upper() not in ("FULL", "NORMAL", "EXTRA"):
            raise InvalidJob("synchronous", f"{self.synchronous!r} is none of FULL, NORMAL, EXTRA")

    def __repr__(self) -> str:
        """Show everything but the password."""
        shown = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name != "url")
        return f"Settings({shown_url(self.url)!r}, {shown})"


_OPTIONS = {f.name: f for f in fields(Settings) if f.name != "url"}


def option_names() -> frozenset[str]:
    """The names of all options."""
    return frozenset(_OPTIONS)


def parse(url: str | URL, options: Mapping[str, Any] | None = None) -> Settings:
    """Parse `url` (with or without the `depqueue+` prefix) and `options` into Settings.

    Query parameters that are ours are taken out of the URL; the others stay for the driver.
    Raises: InvalidJob naming the option, with the nearest known name for an unknown one.
    """
    given = dict(options or {})
    for name in given:
        if name not in _OPTIONS:
            raise InvalidJob(name, _unknown(name))
    parsed = _parse_url(url)
    mine = {k: v for k, v in parsed.query.items() if k in _OPTIONS}
    _refuse_typos(parsed)
    if "signing_keys" in mine:
        refuse_in_url(mine["signing_keys"])
    parsed = parsed.set(query={k: v for k, v in parsed.query.items() if k not in _OPTIONS})
    values: dict[str, Any] = {}
    for name in _OPTIONS:
        if name in given and given[name] is not None:
            values[name] = _typed(name, given[name])
        elif name in mine:
            values[name] = _typed(name, mine[name])
        elif (text := os.environ.get(f"DEPQUEUE_{name.upper()}")) is not None:
            values[name] = _typed(name, text)
    if parsed.get_backend_name() == "postgresql":
        values.setdefault("schema", "depqueue")
    elif not values.get("schema"):
        values.setdefault("table_prefix", "depqueue_")
    return Settings(url=parsed, **values)


def is_secret(parameter: str) -> bool:
    """Whether a query parameter of this name must not be shown."""
    return bool(_SECRET.search(parameter))


def shown_url(url: URL) -> str:
    """The URL as it may be shown: without password, also in its query."""
    secret = [name for name in url.query if is_secret(name)]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def _refuse_typos(url: URL) -> None:
    # Python's driver for SQLite takes no notice of what it does not know; others refuse it when they connect.
    careless = url.get_backend_name() == "sqlite" and "uri" not in url.query
    for name in url.query:
        # The rest is the driver's; but what looks like ours is a mistake that would silently mean the default.
        unknown = name not in _OPTIONS and name not in _SQLITE
        if unknown and (careless or difflib.get_close_matches(name, _OPTIONS, n=1, cutoff=0.75)):
            raise InvalidJob(name, _unknown(name))


def _parse_url(url: str | URL) -> URL:
    text = url.render_as_string(hide_password=False) if isinstance(url, URL) else url
    if not isinstance(text, str):
        raise InvalidJob("url", f"a URL or SQLAlchemy Engine is wanted, not {type(text).__name__}")
    text = re.sub(r"\Adepqueue(\+|:(?=//))", "", text)
    if text in ("", "//"):
        text = _DEFAULT_URL
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError):
        # The text may hold a password, and SQLAlchemy's message quotes it.
        wanted = "dialect://user@host/database"
        if re.search(r":\d+,", text):
            wanted = "of hosts with ports: dialect://user@/database?host=h1:5432&host=h2:5433"
        raise InvalidJob("url", f"this is no database URL (wanted: {wanted})") from None
    return parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _OPTIONS, n=1)
    return "unknown option" + (f"; did you mean {near[0]!r}?" if near else "")


def _typed(name: str, value: Any) -> Any:
    """Convert text from a URL or the environment; let typed values through."""
    if name == "signing_keys":
        return Keys.read(value)
    kind = str(_OPTIONS[name].type)
    try:
        if name == "dependency_policy":
            return Policy(value)
        if name == "on_unmet":
            return OnUnmet(value)
        if kind.startswith("bool"):
            return value if isinstance(value, bool) else _boolean(str(value))
        if kind == "float":
            return float(value)
        if kind == "int":
            return int(value)
        return str(value)
    except (ValueError, TypeError):
        raise InvalidJob(name, f"{value!r} is no {kind.split(' ')[0]}") from None


def _boolean(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(text)
