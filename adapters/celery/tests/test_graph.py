"""500 tasks and 100 native jobs with random edges, failures, retries, both ack modes, and workers that are killed.

A model computes from the edges and policies how each job has to end.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from transport_workers import Bench

from kombu_depqueue import Empty, JobState, Policy, QueueClosed
from kombu_depqueue.extending import text_id

TASKS, NATIVE, KILLS = 500, 100, 2
S, F, C = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED


@dataclass
class Node:
    number: int
    kind: str  # "work" (early ack), "late_work", "native"
    fails: bool
    retries: int
    edges: list[tuple[int, Policy]] = field(default_factory=list)
    job_id: UUID | None = None

    def may_end(self, ends: dict[int, set[JobState]]) -> set[JobState]:
        """How it may end, when its dependencies may end so: an early-acked task may be lost with its worker."""
        own = {F} if self.fails else {S}
        if self.kind == "work":
            own = own | {F}
        hopeless = any(not policy.met_by(end) for dep, policy in self.edges for end in ends[dep])
        hopeful = all(any(policy.met_by(end) for end in ends[dep]) for dep, policy in self.edges)
        return (own if hopeful else set()) | ({C} if hopeless else set())


def make_graph(rng: random.Random) -> list[Node]:
    kinds = ["native"] * NATIVE + ["work"] * (TASKS // 2) + ["late_work"] * (TASKS - TASKS // 2)
    rng.shuffle(kinds)
    nodes: list[Node] = []
    for number, kind in enumerate(kinds):
        node = Node(number, kind, rng.random() < 0.1, rng.choice([0, 0, 0, 1, 2]) if kind != "native" else 0)
        for dep in rng.sample(range(number), min(number, rng.choice([0, 1, 1, 2, 3]))):
            if dep >= number - 60:  # not all at the beginning
                node.edges.append(
                    (dep, rng.choice([Policy.FINISHED, Policy.SUCCEEDED, Policy.FAILED, Policy.TERMINAL]))
                )
        nodes.append(node)
    return nodes


def publish(bench: Bench, nodes: list[Node]) -> None:
    for node in nodes:
        edges = [{"id": str(nodes[dep].job_id), "policy": policy.value} for dep, policy in node.edges]
        if node.kind == "native":
            from kombu_depqueue import Dependency

            wanted = [Dependency(UUID(e["id"]), Policy(e["policy"])) for e in edges]
            node.job_id = bench.native_queue.enqueue(
                "native", {"n": node.number, "fails": node.fails}, depends_on=wanted
            )
        else:
            kwargs = {"label": node.number, "seconds": 0.005, "fail": node.fails, "retries": node.retries}
            result = bench.app.tasks[f"t.{node.kind}"].apply_async((), kwargs, depends_on=edges)
            node.job_id = text_id(result.id)


def native_worker(bench: Bench, stop: threading.Event) -> None:
    with bench.native() as queue:
        while not stop.is_set():
            try:
                reservation = queue.reserve(0.2, queues=["native"])
            except (Empty, QueueClosed):
                continue
            if reservation.args["fails"]:
                reservation.fail("wanted")
            else:
                reservation.ack(reservation.args["n"])


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_graph_of_tasks_and_native_jobs(bench: Bench, pool: str) -> None:
    rng = random.Random(20261122)
    nodes = make_graph(rng)
    bench.broker += "&lease=2&orphan_after=1"
    workers = [bench.worker("-c", "2", pool=pool, name=f"w{n}").ready() for n in range(2)]
    stop = threading.Event()
    thread = threading.Thread(target=native_worker, args=(bench, stop))
    thread.start()
    try:
        publish(bench, nodes)
        for kill in range(KILLS):
            time.sleep(rng.uniform(0.2, 0.8))
            workers[kill].kill()
            bench.worker("-c", "2", pool=pool, name=f"again{kill}").ready()
        found = wait_for_all(bench, nodes)
    finally:
        stop.set()
        thread.join()
    check(bench, nodes, found)


def wait_for_all(bench: Bench, nodes: list[Node]) -> dict[int, Any]:
    queue, found, until = bench.native_queue, {}, time.monotonic() + 150
    while len(found) < len(nodes):
        for node in nodes:
            if node.number not in found:
                status = queue.status(node.job_id)
                if status.state.is_finished:
                    found[node.number] = status
        if time.monotonic() > until:
            left = [str(queue.why(n.job_id)) for n in nodes if n.number not in found]
            raise AssertionError(f"{len(left)} stranded: {left[:5]}")
        time.sleep(0.1)
    return found


def check(bench: Bench, nodes: list[Node], found: dict[int, Any]) -> None:
    ends: dict[int, set[JobState]] = {}
    for node in nodes:
        status = found[node.number]
        allowed = node.may_end(ends)
        lost = status.reason is not None and status.reason.startswith("lost:")
        assert status.state in allowed, (node, status)
        if status.state is F and not node.fails:
            assert lost, (node, status)  # only a killed worker makes a failure of what should succeed
        ends[node.number] = {status.state}
        for dep, policy in node.edges:
            if status.state is not C:
                assert policy.met_by(found[dep].state), (node, found[dep])
                assert status.started >= found[dep].finished, (node, status, found[dep])
    assert sum(f.state is F and str(f.reason).startswith("lost:") for f in found.values()) <= KILLS * 2 * 2
    starts = bench.facts("start")
    canceled = {n.number for n in nodes if found[n.number].state is C}
    assert not canceled & {f["label"] for f in starts}
