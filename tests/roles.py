"""Users of the database that have the rights of one role (`depqueue grants`), and nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, make_url

from kombu_depqueue import JobQueue
from kombu_depqueue.dialects import dialect_for
from kombu_depqueue.grants import statements
from kombu_depqueue.settings import parse
from kombu_depqueue.testing.fixtures import Database, Place

__all__ = ["As", "as_role", "execute", "granted"]

As = Callable[..., str]


def granted(url: str, role: str, name: str) -> list[str]:
    return statements(dialect_for(parse(url)), role, name)


@pytest.fixture
def as_role(database: Database, place: Place, queue: JobQueue) -> Iterator[As]:
    """The URL for a user of the database that has this role, and nothing else."""
    admin = database.admin
    if admin is None:
        pytest.skip("a file has no roles")
    made: list[str] = []

    def make(role: str, **options: Any) -> str:
        name = f"t_{role}_{secrets.token_hex(4)}"
        made.append(name)
        url = make_url(place.url).update_query_dict({**{k: str(v) for k, v in options.items()}, "create": "false"})
        if admin.dialect.name == "postgresql":
            execute(admin, f"CREATE ROLE {name}", *granted(place.url, role, name))
            url = url.update_query_dict({"options": f"-c role={name}"})
        else:
            user = f"{name}@%"
            execute(admin, f"CREATE USER '{name}'@'%' IDENTIFIED BY 'secret'", *granted(place.url, role, user))
            url = url.set(username=name, password="secret")
        return url.render_as_string(hide_password=False)

    yield make
    queue.close()
    for name in made:
        if admin.dialect.name == "postgresql":
            execute(admin, f"REASSIGN OWNED BY {name} TO CURRENT_USER", f"DROP OWNED BY {name}", f"DROP ROLE {name}")
        else:
            execute(admin, f"DROP USER '{name}'@'%'")


def execute(engine: Engine, *texts: str) -> None:
    with engine.connect() as connection:
        for one in texts:
            connection.exec_driver_sql(one.replace("%", "%%") if engine.dialect.name != "postgresql" else one)
        connection.commit()
