"""Who may do what with the tables: four roles, each with what its work needs and no more.

publisher  enqueues: through Kombu, Celery or natively, at once, later, or behind dependencies. Reads no
           payload and no result, deletes nothing, holds no job. It may set `flags` of any job, since
           that is how an enqueue tells a dependency that somebody waits for it.
consumer   works: reserves, renews, settles; what it consumes it may also declare.
operator   looks at everything, mends it, pauses queues; it declares no exchange.
migrator   creates and changes the tables, and so owns them.

None but the migrator changes the schema. (`docs/upgrade.md` says what a hostile one of each could do.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import Table

from kombu_depqueue.dialects import Dialect
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.schema import Tables

__all__ = ["ROLES", "Rights", "rights", "statements"]

ROLES = ("publisher", "consumer", "operator", "migrator")

_ENQUEUED = "job_id queue_id rank attempt max_attempts flags created_at expires_at run_at envelope body"
_ENDED = "job_id queue_id status flags attempt created_at started_at finished_at keep_until reason result meta"
_DECLARED = "ephemeral auto_delete declared arguments idle_limit used_at owner_id"

_PUBLISHER = {
    "meta": {"SELECT": ""},
    "queue": {"SELECT": "", "INSERT": "channel name"},
    "exchange": {"SELECT": ""},
    "binding": {"SELECT": ""},
    "subscription": {"SELECT": ""},
    "consumer": {"SELECT": "waiting"},
    "job": {
        "SELECT": "queue_id rank seq job_id flags consumer_id created_at expires_at",
        "INSERT": _ENQUEUED,
        "UPDATE": "flags",
    },
    "wait": {"SELECT": "seq queue_id job_id flags created_at", "INSERT": f"{_ENQUEUED} due_at", "UPDATE": "flags"},
    "blocked": {"INSERT": ""},
    "dep": {"INSERT": ""},
    "done": {"SELECT": "job_id status flags created_at", "INSERT": _ENDED, "UPDATE": "flags"},
    "ended_body": {"INSERT": ""},
}
"""By table: what may be done, with which columns (none named: with all)."""

_ALL = {"SELECT": "", "INSERT": "", "UPDATE": "", "DELETE": ""}
_JOBS = dict.fromkeys(("job", "wait", "blocked", "dep", "release", "done", "ended_body"), _ALL)
_SHARED = {**_JOBS, "meta": {"SELECT": ""}, "consumer": _ALL, "memo": _ALL, "subscription": _ALL, "binding": _ALL}

_CONSUMER = {**_SHARED, "exchange": _ALL, "queue": {**_ALL, "UPDATE": _DECLARED}}
_OPERATOR = {**_SHARED, "exchange": {"SELECT": ""}, "queue": _ALL}

_ROLES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "publisher": _PUBLISHER,
    "consumer": _CONSUMER,
    "operator": _OPERATOR,
}


class Rights(NamedTuple):
    """What may be done with one table."""

    table: Table
    columns: Mapping[str, tuple[str, ...]]
    """By SELECT, INSERT, UPDATE and DELETE: the columns; none named: all."""


def rights(role: str, t: Tables) -> Iterator[Rights]:
    """What a role may do, table by table."""
    for name, allowed in _ROLES[role].items():
        yield Rights(getattr(t, name), {what: tuple(columns.split()) for what, columns in allowed.items()})


def statements(dialect: Dialect, role: str, name: str) -> list[str]:
    """The statements that give a role to a user or role of the database.

    Raises InvalidJob where the database has no roles, and for a name that cannot be one.
    """
    if not dialect.has_roles:
        raise InvalidJob("url", "this database has no roles: who may write to its file may do everything")
    if not name or len(name) > 63 or not name.isprintable():
        raise InvalidJob(role, f"{name!r} is no name of a role: 1 to 63 printable characters are wanted")
    grantee = dialect.grantee(name)
    if role == "migrator":
        return dialect.ownership(grantee)
    texts = dialect.usage(grantee)
    for one in rights(role, dialect.tables):
        texts += dialect.grants(one.table, one.columns, grantee)
    return texts
