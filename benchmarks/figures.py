"""The figures that the library promises, measured on this machine: `python benchmarks/figures.py`.

    python benchmarks/figures.py                  everything, about 40 minutes
    python benchmarks/figures.py --quick          everything, smaller and shorter, about 9 minutes
    python benchmarks/figures.py backlog latency  only these (--list names them)
    python benchmarks/figures.py --databases sqlite

How to read the table. A line says what was measured, on which database, the median of
the rounds with the lowest and the highest in parentheses, the goal, and whether the
median reaches it. `x` is a ratio of two things done in turns in this very run: such
ratios hold for other machines too. What stands beside a ratio, and plain times, hold
for this machine in this hour only. `others` is how many cores other programs kept busy
meanwhile: with more than 0.3 measure again when it is quiet. (Each figure waits for that
up to `--patience` seconds; and where rounds are done in turns, there are more of them
while others disturb, and the calmest are taken.)

PostgreSQL is the server of the tests (`DEPQUEUE_TEST_POSTGRESQL`, see
`kombu_depqueue.testing.servers`), or a private one if that one is not durable or runs
without autovacuum; MariaDB is the one of the tests. Everything lives in schemas, tables and files made for it and removed afterwards.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import figures_backlog
import figures_celery
import figures_growth
import figures_mariadb
import figures_results
import figures_running
import figures_throughput
from measure import Others, Row, table
from scene import Scene
from server import ServerMissing, durable_postgresql, process_of, settings_of

FIGURES: dict[str, Callable[[Scene], Iterator[Row]]] = {
    "throughput": figures_throughput.throughput,
    "ack": figures_backlog.ack_without_statistics,
    "backlog": figures_backlog.backlog,
    "looking": figures_backlog.looking,
    "leased": figures_backlog.leased_ahead,
    "snapshot": figures_backlog.old_snapshot,
    "mariadb": figures_mariadb.mariadb,
    "growth": figures_growth.growth,
    "latency": figures_running.latency,
    "fan-in": figures_running.fan_in,
    "fan-out": figures_running.fan_out,
    "gating": figures_running.gating,
    "fairness": figures_running.fairness,
    "memory": figures_running.memory,
    "celery-publish": figures_celery.publish,
    "celery-drain": figures_celery.drain,
    "celery-latency": figures_celery.latency,
    "celery-tracking": figures_results.tracking,
    "celery-chords": figures_results.chords,
    "celery-results": figures_results.results,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(FIGURES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and rows")
    parser.add_argument("--databases", default="postgresql,sqlite", help="with a comma between")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds to wait for a quiet machine")
    parser.add_argument("--list", action="store_true", help="name the figures")
    given = parser.parse_args(arguments)
    unknown = [n for n in given.names if n not in FIGURES]
    databases = given.databases.split(",")
    unknown += [d for d in databases if d not in ("postgresql", "sqlite")]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    if given.list:
        for name, figure in FIGURES.items():
            print(f"{name:12} {(figure.__doc__ or '').splitlines()[0]}")
        return 0
    rows: list[Row] = []
    with ExitStack() as stack:
        server = None
        if "postgresql" in databases:
            try:
                server = stack.enter_context(durable_postgresql())
            except ServerMissing as missing:
                print(f"PostgreSQL is left out: {missing}", file=sys.stderr)
                databases.remove("postgresql")
        _introduce(server)
        scene = Scene(databases, server, given.quick, Others(None if server is None else process_of(server)))
        for name in given.names or FIGURES:
            rows += _measure(name, scene, given.patience)
    print("\n" + table(rows))
    return int(any(r.verdict == "MISSED" for r in rows))


def _measure(name: str, scene: Scene, patience: float) -> list[Row]:
    scene.others.quiet(patience)
    print(f"{name} ...", end=" ", flush=True, file=sys.stderr)
    before, started = scene.others.seconds(), time.monotonic()
    rows = list(FIGURES[name](scene))
    busy = max(0.0, scene.others.seconds() - before) / (time.monotonic() - started)
    for row in rows:
        row.busy = busy if row.busy is None else row.busy
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    print(table(rows) + "\n", file=sys.stderr)
    return rows


def _introduce(server: str | None) -> None:
    load = " ".join(f"{v:.2f}" for v in os.getloadavg())
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux load {load}, Python {platform.python_version()}")
    print(f"SQLite {sqlite3.sqlite_version}, WAL, synchronous = FULL")
    if server is not None:
        facts = settings_of(server)
        print(f"PostgreSQL {facts.pop('server_version')}, " + ", ".join(f"{k} = {v}" for k, v in facts.items()))


if __name__ == "__main__":
    sys.exit(main())
