"""Both doors against a model of them: Hypothesis chooses the operations, a dict says what must come of them.

Time stands still: delays, leases and retention are long, and pass when a rule moves the times
in the tables back. The keeper's thread is off; its beat is a rule. After each step what `status` and
`why` say of the jobs concerned is compared with the model, and now and then all tables are.

The ordinary run takes the same steps each time; with `--full` they are drawn by the seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis.stateful import RULE_MARKER
from hypothesis.stateful import run_state_machine_as_test as run_machine
from model.channels import ChannelMachine
from model.native import QueueMachine

from kombu_depqueue import cursor, limits, transport
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.testing.fixtures import Database, Place
from kombu_depqueue.transport.delivery import Deliveries

STEPS = 60
"""In each example."""
BRIEF = {"sqlite": 14, "postgresql": 4, "mysql": 2}
"""Examples of a shard in the ordinary run."""
WANTED = {"sqlite": 100_000, "postgresql": 10_000, "mysql": 5_000}
"""Steps of all shards, with --full."""
SHARDS = 4
DOORS: dict[str, tuple[type[Any], float, int | None]] = {
    "native": (QueueMachine, 0.6, 1),
    "kombu": (ChannelMachine, 0.4, None),
}
"""The machine, its share of the steps, and the shard whose jobs are signed."""

FOCUS = {
    "leases": "ack ack_many dequeue_by_id end_by_id enqueue expire_lease extend fail requeue reserve "
    "settle_what_another_has",
    "graphs": "ack_many cancel enqueue enqueue_many fail requeue reserve retry upkeep",
}
"""Rules that are tried alone as well: among forty others it takes long until three of them meet."""


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread does anything by itself, a slow machine changes nothing, and limits are always counted."""
    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    monkeypatch.setattr(Deliveries, "_run", lambda self: None)
    monkeypatch.setattr(transport, "TURN", float("inf"))
    monkeypatch.setattr(cursor, "SLOW", float("inf"))
    monkeypatch.setattr(limits, "FRESH", -1.0)
    monkeypatch.setattr(limits, "SHARE", 10**9)


def run(base: type[Any], place: Place, database: Database, examples: int, drawn: int, **options: Any) -> Counter[str]:
    """Run examples; returns how often each rule was applied."""
    steps: Counter[str] = Counter()
    if database.name == "sqlite":
        options["synchronous"] = "NORMAL"
    facts = {"urls": (place.url, place.engine_url), "options": options, "steps": steps, "compiled": {}, "opened": []}
    machine: Any = type("Machine", (base,), facts)
    how = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    run_machine(seeded(drawn)(machine), settings=how)
    return steps


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_queue_does_what_the_model_says(
    door: str,
    shard: int,
    place: Place,
    database: Database,
    quiet: None,
    full: bool,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    machine, share, signed = DOORS[door]
    wanted = int(WANTED[database.name] // SHARDS * share)
    options = {"signing_keys": "a=hmac:" + "c2lnbmVkIGJ5IHRoZSB0ZXN0cywgMzIgYnl0ZXMhISE="} if shard == signed else {}
    steps: Counter[str] = Counter()
    if full:
        while steps.total() < wanted:
            examples = max(5, (wanted - steps.total()) // (STEPS - 5))
            steps += run(machine, place, database, examples, seed * 1000 + shard * 100 + len(steps), **options)
    else:
        steps = run(machine, place, database, BRIEF[database.name], shard, **options)
    record_property("figure", f"{steps.total():,} steps")
    record_property("tally", f"{database.name}, {door}, shard {shard}: {steps.total()} steps {dict(steps)}")
    assert steps.total() >= (wanted if full else BRIEF[database.name] * 10)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("focus", FOCUS)
def test_queue_does_what_the_model_says_of(
    focus: str,
    place: Place,
    database: Database,
    quiet: None,
    full: bool,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    wanted = set(FOCUS[focus].split())
    rules = {name for name in dir(QueueMachine) if hasattr(getattr(QueueMachine, name), RULE_MARKER)}
    assert wanted <= rules
    machine = type("Focused", (QueueMachine,), dict.fromkeys(rules - wanted))
    examples = BRIEF[database.name] * (20 if full else 2)
    steps = run(machine, place, database, examples, seed if full else 0)
    record_property("figure", f"{steps.total():,} steps")
    assert set(steps) <= wanted
    assert steps.total() >= examples * 10
