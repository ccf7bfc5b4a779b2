"""The processes of a cell: each is an ordinary user of the library that writes down what it does.

Each gets a `Task`: where the database is, and how to behave. They go on until SIGTERM (or kill -9).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from operating import Operator
from program import Task
from publisher import Publisher
from worker import Veteran, Worker

__all__ = ["PROGRAMS", "main"]

PROGRAMS: dict[str, Callable[[Task], Any]] = {
    "publisher": Publisher,
    "worker": Worker,
    "operator": Operator,
    "veteran": Veteran,
}


def main(name: str, task: Task, log: str) -> None:
    """The entry of a process."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
    PROGRAMS[name](task).run()
