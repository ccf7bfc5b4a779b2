"""What these tests share."""

from __future__ import annotations

from sqlalchemy import make_url


def plain_url(url: str) -> str:
    """The database as any SQLAlchemy application knows it, without our options."""
    made = make_url(url)
    driver = {"postgresql": "postgresql+psycopg"}.get(made.drivername, made.drivername)
    return made.set(drivername=driver, query={}).render_as_string(hide_password=False)
