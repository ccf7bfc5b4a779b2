"""The groups of figures: what `python -m benchmarks NAME` measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from groups import backlog, brokers, cost, growth, mariadb, native, results, running
from measure import Row
from scene import Scene

__all__ = ["GROUPS", "LONG", "QUICK", "about"]

GROUPS: Mapping[str, Callable[[Scene], Iterator[Row]]] = {
    "enqueue": native.enqueue,
    "reserve": native.drain,
    "statements": native.statements,
    "transactions": native.transactions,
    "cost": cost.cost,
    "waiting": cost.waiting,
    "latency": running.latency,
    "backlog": backlog.backlog,
    "looking": backlog.looking,
    "leased": backlog.leased_ahead,
    "ack": backlog.ack_without_statistics,
    "snapshot": backlog.old_snapshot,
    "growth": growth.growth,
    "mariadb": mariadb.mariadb,
    "fan-in": running.fan_in,
    "fan-out": running.fan_out,
    "chain": running.chain,
    "edges": running.gating,
    "processes": running.processes,
    "wake-ups": running.wakeups,
    "memory": running.memory,
    "kombu": brokers.kombu,
    "celery-publish": brokers.publish,
    "celery-drain": brokers.drain,
    "celery-latency": brokers.latency,
    "celery-tracking": results.tracking,
    "celery-gating": results.gating,
    "celery-chords": results.chords,
    "celery-results": results.results,
}

QUICK = ("enqueue", "reserve", "statements", "latency", "celery-publish", "celery-drain", "celery-latency")
"""What `--quick` measures if no group is named."""
LONG = ("growth", "mariadb")
"""What only `--long` measures if no group is named."""


def about(name: str) -> str:
    """A group in one line."""
    return (GROUPS[name].__doc__ or "").split("\n", 1)[0]
