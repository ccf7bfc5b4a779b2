"""Three servers that Patroni keeps: their leader is killed, frozen, and asked to pass on, while jobs flow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest
from availability_flow import Flow
from availability_patroni import TTL, Node, Patroni, patroni

from kombu_depqueue import JobQueue, StorageError
from kombu_depqueue.testing.helpers import wait_until

pytestmark = [pytest.mark.full, pytest.mark.xdist_group("patroni"), pytest.mark.slow, pytest.mark.timeout(600)]

GAP = TTL + 5.0
"""Seconds without a publish: until the others may take the leader for dead, and to take its place."""


@pytest.fixture(scope="module")
def three(wheel: None) -> Iterator[Patroni]:
    if find_spec("patroni") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("patroni is not installed", pytrace=False)
        pytest.skip("patroni is not installed")
    with patroni() as made:
        JobQueue(made.url, create=True).close()
        yield made


FAULTS: dict[str, tuple[Callable[[Patroni], object], float]] = {
    "switchover": (lambda three: three.switchover(), 10.0),
    "kill": (lambda three: three.wait_until_whole().kill(), GAP),
    "freeze": (lambda three: three.wait_until_whole().freeze(), GAP),
}


@pytest.mark.parametrize("what", FAULTS)
def test_no_acknowledged_job_is_lost_when_the_leader_changes(what: str, three: Patroni) -> None:
    fault, gap = FAULTS[what]
    former = three.wait_until_whole()
    # Those with a short deadline see errors, and repeat; the others, and Celery's, try again by themselves.
    publishers = [{"deadline": 5.0}, {"deadline": 5.0}, {"deadline": 30.0}]
    with Flow(three.url, f"depqueue+{three.url}&deadline=60&lease=90") as flow:
        flow.start(publishers, [{"deadline": 5.0, "lease": 90.0}] * 2)
        time.sleep(3.0)
        flow.fault(lambda: fault(three))
        wait_until(lambda: three.leader() not in (None, former), 60)
        promoted = time.monotonic() - flow.faults[0]
        with JobQueue(three.url, deadline=60) as queue:
            wait_until(lambda: _writes(queue), 60)
            time.sleep(3.0)
            report = flow.stop(queue)
    print(f"Patroni, {what} of the leader (ttl {TTL} s): the next one after {promoted:.1f} s; {report}")
    _mend(former, what)
    assert report.lost == []
    assert report.broken == []
    assert report.published > 100
    assert max(report.gaps) <= gap


def _writes(queue: JobQueue) -> bool:
    try:
        queue.pause("nothing")
    except StorageError:
        return False
    return True


def _mend(former: Node, what: str) -> None:
    """Bring the former leader back, as a standby."""
    if what == "kill":
        former.start()
    elif what == "freeze":
        former.thaw()
