"""The catalogue: in each cell other programs work on another database, and other things befall them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from faults import clock, disk
from faults.network import behind_a_network
from faults.pooler import pooled
from faults.servers import mariadb, postgresql
from grounds import SceneMaker

__all__ = ["CELLS", "Cell"]


@dataclass(frozen=True)
class Cell:
    """One kind of trouble."""

    name: str
    database: str
    crew: Mapping[str, int]
    """How many of each program: publisher, worker, operator, celery-threads, celery-prefork."""
    faults: Mapping[str, float]
    """What befalls them, and how often in comparison."""
    scene: SceneMaker | None = None
    """A database with faults of its own; they are added, with equal shares."""
    hold: float = 1.0
    """Seconds that a lease lasts at least: a third; 0 where a fault may end one at once, or keep it from being renewed."""
    lease: float = 3.0
    rate: float = 100.0
    """Jobs a second that all publishers together try to publish."""
    delays: float = 0.3
    plain: bool = False
    query: Mapping[str, str] = field(default_factory=dict)
    """More options of the URL."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """More options of the JobQueues."""
    clock_jumps: bool = False

    @property
    def has_celery(self) -> bool:
        """Whether both doors are in use."""
        return any(kind.startswith("celery") for kind in self.crew)


NATIVE = {"publisher": 3, "worker": 3, "operator": 1}
BOTH = {"publisher": 3, "worker": 1, "celery-threads": 1, "celery-prefork": 1}
DEATHS = {"publisher killed": 1, "worker killed": 2, "worker stopped": 0.7, "operator killed": 0.5}
CELERY_DEATHS = {"publisher killed": 2, "worker killed": 2, "worker stopped": 0.7, "celery killed": 0.2}
# As behind a pooler, where a session's own settings do not count: single statements fail now and then (40001).
SERIALIZABLE = {"options": "-c default_transaction_isolation=serializable", "prepared_statements": "false"}
REPEATABLE = {"options": "-c default_transaction_isolation=repeatable\\ read", "prepared_statements": "false"}
SOME_DEATHS = {"publisher killed": 1, "worker killed": 1, "worker stopped": 0.3}
IMPATIENT = {"deadline": 4.0}

_CELLS = [
    Cell("deaths-sqlite", "sqlite", NATIVE, DEATHS),
    Cell("deaths-postgresql", "postgresql", NATIVE, DEATHS),
    Cell("deaths-mysql", "mysql", NATIVE, DEATHS),
    Cell("locked-sqlite", "sqlite", NATIVE, {**DEATHS, "file locked": 3}, hold=0.0),
    Cell("sessions-postgresql", "postgresql", NATIVE, {**DEATHS, "sessions killed": 5}, hold=0.0),
    Cell("sessions-mysql", "mysql", NATIVE, {**DEATHS, "sessions killed": 5}, hold=0.0),
    Cell("celery-sqlite", "sqlite", BOTH, {**CELERY_DEATHS, "file locked": 1}, hold=0.0),
    Cell("celery-postgresql", "postgresql", BOTH, CELERY_DEATHS),
    Cell("celery-mysql", "mysql", BOTH, CELERY_DEATHS),
    Cell(
        "celery-sessions-postgresql",
        "postgresql",
        BOTH,
        {**CELERY_DEATHS, "celery stopped": 0.2, "sessions killed": 3},
        hold=0.0,
    ),
    Cell("celery-sessions-mysql", "mysql", BOTH, {**CELERY_DEATHS, "sessions killed": 3}, hold=0.0),
    Cell("serializable-postgresql", "postgresql", NATIVE, DEATHS, query=SERIALIZABLE, hold=0.0),
    Cell("repeatable-read-postgresql", "postgresql", NATIVE, DEATHS, query=REPEATABLE, hold=0.0),
    *(
        Cell(name, database, crew, SOME_DEATHS, scene=scene, hold=0.0, lease=4.0, options=IMPATIENT)
        for name, database, crew, scene in (
            ("network-postgresql", "postgresql", NATIVE, lambda: behind_a_network("postgresql")),
            ("network-mysql", "mysql", NATIVE, lambda: behind_a_network("mysql")),
            ("celery-network-postgresql", "postgresql", BOTH, lambda: behind_a_network("postgresql")),
            ("celery-network-mysql", "mysql", BOTH, lambda: behind_a_network("mysql")),
            ("server-postgresql", "postgresql", NATIVE, postgresql),
            ("server-mysql", "mysql", NATIVE, mariadb),
            ("disk-postgresql", "postgresql", NATIVE, disk.postgresql),
            ("pooler-postgresql", "postgresql", NATIVE, pooled),
            ("celery-pooler-postgresql", "postgresql", BOTH, pooled),
            ("programs-clock-postgresql", "postgresql", NATIVE, clock.shifted_programs),
            ("celery-server-postgresql", "postgresql", BOTH, postgresql),
        )
    ),
    Cell("clock-postgresql", "postgresql", BOTH, SOME_DEATHS, scene=clock.postgresql, hold=0.0, clock_jumps=True),
    Cell(
        "order-sqlite", "sqlite", {"publisher": 3, "worker": 1}, {"publisher killed": 3, "file locked": 1}, plain=True
    ),
    Cell(
        "order-postgresql",
        "postgresql",
        {"publisher": 3, "worker": 1},
        {"publisher killed": 2, "sessions killed": 1},
        plain=True,
        hold=0.0,
    ),
    Cell(
        "order-mysql",
        "mysql",
        {"publisher": 3, "worker": 1},
        {"publisher killed": 2, "sessions killed": 1},
        plain=True,
        hold=0.0,
    ),
]

CELLS = {cell.name: cell for cell in _CELLS}
