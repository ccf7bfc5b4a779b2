"""What a job costs the machine: bytes of WAL, CPU time of client and server, bytes on disk while it waits."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contenders import NATIVE, OURS, natives
from measure import Row, spread
from peers.base import Native
from scene import Scene
from server import process_of

from kombu_depqueue import JobMessage

__all__ = ["cost", "waiting"]

FLOOR = "insert + delete on PostgreSQL (floor)"


def cost(scene: Scene) -> Iterator[Row]:
    """WAL bytes and CPU microseconds of a job, enqueued, reserved and acked, against other queues on PostgreSQL."""
    if "postgresql" not in scene.databases or scene.server is None:
        return
    found: dict[tuple[int, str, str], list[float]] = {}
    names = [n for n, c in NATIVE.items() if c.database == "postgresql"]
    with natives(scene, names) as peers, scene.admin(scene.server) as admin:
        for size, jobs in ((1, scene.pick(500, 300, 20)), (100, scene.pick(5_000, 2_000, 200))):
            for number in range(scene.pick(4, 3, 2)):
                for name, (_, peer) in peers.items():
                    if size > 1 and not peer.batches:
                        continue
                    measured = _spent(scene, admin, peer, jobs, size)
                    for what, value in measured.items() if number else ():
                        found.setdefault((size, what, name), []).append(value)
    for (size, what, name), values in found.items():
        unit = "bytes" if what == "WAL" else "us"
        label = f"{what} of a job by {size}" if size > 1 else f"{what} of a job one by one"
        yield Row(label, name, spread(values), unit)
    for size in (1, 100):
        for peer in NATIVE:
            theirs, ours = (found.get((size, "WAL", n)) for n in (peer, OURS["postgresql"]))
            if theirs and ours and peer != OURS["postgresql"]:
                ratio = spread(a / b for a, b in zip(ours, theirs, strict=True))
                most = (1.35 if peer == FLOOR else 0.6) if size > 1 else None
                label = f"WAL of a job by {size}" if size > 1 else "WAL of a job one by one"
                yield Row(label, OURS["postgresql"], ratio, most=most, against=peer)


def _spent(scene: Scene, admin: Any, peer: Native, jobs: int, size: int) -> dict[str, float]:
    """Of one job. The WAL and the server's time are the whole server's: others who use it disturb."""
    assert scene.server is not None
    server = process_of(scene.server)
    if admin.execute("SELECT current_setting('is_superuser')").fetchone()[0] == "on":
        admin.execute("CHECKPOINT")  # so that each has as many full pages to write
    wal, cpu, served = _written(admin), time.process_time(), _server_seconds(server)
    if size == 1:
        peer.enqueue(jobs)
    else:
        peer.enqueue_many(jobs, size)
    peer.drain(jobs, size)
    spent = {"WAL": _written(admin) - wal, "CPU of the client": (time.process_time() - cpu)}
    if served is not None:
        spent["CPU of the server"] = (_server_seconds(server) or 0.0) - served
    return {what: value / jobs for what, value in spent.items()}


def _written(admin: Any) -> float:
    return float(admin.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()[0])


def _server_seconds(server: int | None) -> float | None:
    """The CPU seconds of the server's processes that live; None where they are not to be seen."""
    if server is None:
        return None
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == server:
            total += sum(map(int, fields[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def waiting(scene: Scene) -> Iterator[Row]:
    """Bytes on disk of a job of 500 bytes that waits."""
    jobs = scene.pick(100_000, 20_000, 200)
    for database in scene.databases:
        with scene.site(database) as site:
            site.queue.enqueue_many(JobMessage.new("default", {"pad": "x" * 480}) for _ in range(jobs))
            site.filler.settle()
            if database == "sqlite":
                file = Path(site.url.removeprefix("sqlite:///"))
                taken = float(file.stat().st_size)
            else:
                statement = f"SELECT pg_total_relation_size('{site.filler.table('job')}')"
                taken = float(site.filler.rows(statement)[0][0])
        yield Row("bytes on disk of a job that waits", OURS[database], spread([taken / jobs]), "bytes")
