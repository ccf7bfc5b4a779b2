"""The `depqueue` command: what it prints, its exit codes, and that its page tells the truth."""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import click
import pytest
from command import PROGRAM, Cli, Said, run

from kombu_depqueue import JobMessage, JobQueue, JobState
from kombu_depqueue.cli import base, depqueue, output
from kombu_depqueue.testing.fill import Filler
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import wait_until

PAGE = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DEPQUEUE_URL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(database_url: str) -> Cli:
    """The command on an empty database."""
    return Cli(database_url)


@pytest.fixture
def ready(cli: Cli, queue: JobQueue) -> Cli:
    """The command on a database with tables."""
    queue.queues()
    return cli


# init, and which database


@pytest.mark.bare
def test_init_creates_the_tables_and_says_what_was_there(cli: Cli) -> None:
    missing = cli("queues")
    assert missing.code == 3
    assert "depqueue init" in missing.line
    assert cli("init").out.endswith(": tables created\n")
    assert cli("init").out.endswith(": the tables were there already\n")
    assert cli("init", "--json").json == {"created": False}
    assert cli("queues", "--json").json == {"queues": []}


@pytest.mark.only("sqlite")
def test_nothing_but_init_makes_a_file(cli: Cli, tmp_path: Path) -> None:
    for command in (["queues"], ["enqueue", "mail"], ["health"], ["prune", "--yes"]):
        assert cli(*command).code == 3
    assert list(tmp_path.iterdir()) == []
    empty = tmp_path / "empty.db"
    empty.touch()
    said = run("queues", "--url", f"sqlite:///{empty}")
    assert said.code == 3
    assert "depqueue init" in said.line
    assert cli("-o", "create=true", "queues").code == 0  # unless asked to


def test_the_database_is_named_in_three_ways(ready: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--url", ready.url, "queues").code == 0
    assert run("queues", "--url", ready.url).code == 0
    assert run("queues", "--url", f"depqueue+{ready.url}").code == 0
    assert run("queues").code == 3  # depqueue.db is not there
    monkeypatch.setenv("DEPQUEUE_URL", ready.url)
    assert run("queues").code == 0
    assert run("queues", "--url", "sqlite:///other.db").code == 3


def test_options_are_given_before_the_command_and_behind_it(ready: Cli) -> None:
    ready("-o", "queue=first", "enqueue", "")
    ready("enqueue", "", "-o", "queue=second", "-o", "lease=60")
    assert {q["name"] for q in ready("queues", "--json").json["queues"]} == {"first", "second"}
    assert "lease" in ready("-o", "lese=3", "queues").line
    assert ready("-o", "lese=3", "queues").code == 2
    assert ready("queues", "-o", "lease").code == 2
    assert ready("queues", "-o", "lease=soon").code == 2


# looking


def test_queues_are_shown_with_their_counts(ready: Cli, queue: JobQueue) -> None:
    first = queue.enqueue("mail", 1)
    queue.enqueue("mail", delay=60)
    queue.enqueue("mail", depends_on=[first])
    queue.enqueue("other", channel="x")
    queue.enqueue("mail", priority=9)
    queue.reserve(0, queues=["mail"])
    queue.enqueue("mail", priority=9)
    queue.reserve(0, queues=["mail"]).reject()
    ready("pause", "mail")
    (mail, other) = ready("queues", "--json").json["queues"]
    age = mail.pop("oldest_ready_age")
    assert 0 <= age < 60
    counts = {"ready": 1, "scheduled": 1, "blocked": 1, "leased": 1, "dead": 1}
    assert mail == {"name": "mail", "channel": "", "paused": True, **counts}
    assert (other["channel"], other["ready"]) == ("x", 1)
    heading, shown, _ = ready("queues").out.splitlines()
    assert heading.split() == ["QUEUE", "CHANNEL", "READY", "SCHEDULED", "BLOCKED", "LEASED", "DEAD", "OLDEST"]
    assert re.fullmatch(r"mail +1 +1 +1 +1 +1 +\d+s +paused", shown)


@pytest.mark.only("sqlite")
def test_queues_are_watched_until_ctrl_c(ready: Cli, queue: JobQueue) -> None:
    queue.enqueue("mail")
    with ready.start("queues", "--watch", "0.1", "--json") as watching:
        assert watching.stdout is not None
        for _ in range(3):
            [one] = json.loads(watching.stdout.readline())["queues"]
            assert one["ready"] == 1
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=20)
    assert (watching.returncode, err) == (130, "depqueue: interrupted\n")


def test_a_watch_tells_how_many_end(ready: Cli, queue: JobQueue) -> None:
    for n in range(20):
        queue.enqueue("mail", n)
    queue.enqueue("other")
    with ready.start("queues", "--watch", "0.5", "--json") as watching:
        assert watching.stdout is not None
        looks = iter(lambda: json.loads(watching.stdout.readline())["queues"], None)
        assert {one["ended_per_second"] for one in next(looks)} == {None}
        queue.ack_many(queue.reserve_many(20, 0, queues=["mail"]))
        until = time.monotonic() + 30
        for mail, other in looks:
            assert other["ended_per_second"] == 0
            if mail["ended_per_second"]:
                break
            assert time.monotonic() < until
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=20)


def test_jobs_are_listed_in_pages(ready: Cli, queue: JobQueue) -> None:
    made = sorted((str(queue.enqueue("mail", n)) for n in range(7)), reverse=True)
    queue.enqueue("other")
    found: list[str] = []
    after: list[str] = []
    while True:
        page = ready("jobs", "--queue", "mail", "--limit", 3, "--json", *after).json
        found += [job["job_id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        after = ["--after", page["next"]]
    assert found == made
    first = ready("jobs", "--queue", "mail", "--limit", 3)
    assert [line.split()[0] for line in first.out.splitlines()[1:]] == made[:3]
    assert first.line == f"there are more: --after {made[2]}"


def test_jobs_are_listed_by_state(ready: Cli, queue: JobQueue) -> None:
    made = {name: queue.enqueue("mail", name) for name in ("succeeded", "failed", "dead", "leased")}
    for end in ("ack", "fail", "reject", None):
        held = queue.reserve(0, queues=["mail"])
        if end:
            getattr(held, end)()
    made |= {"ready": queue.enqueue("mail"), "scheduled": queue.enqueue("mail", delay=60)}
    made["blocked"] = queue.enqueue("mail", depends_on=[made["leased"]])
    made["canceled"] = queue.enqueue("mail")
    queue.cancel(made["canceled"])
    for state, job_id in made.items():
        found = [j["job_id"] for j in ready("jobs", "--state", state, "--json").json["jobs"]]
        assert str(job_id) in found, state
        assert len(found) == (2 if state == "failed" else 1), state
    [dead] = ready("jobs", "--state", "dead", "--json").json["jobs"]
    assert (dead["state"], dead["dead"], dead["reason"]) == ("failed", True, "dead: rejected")
    assert datetime.fromisoformat(dead["finished"]).tzinfo is not None
    assert "failed (dead)" in ready("jobs", "--state", "dead").out
    assert "  due 20" in ready("jobs", "--state", "scheduled").out
    assert ready("jobs", "--state", "done").code == 2
    assert ready("jobs", "--channel", "x", "--json").json["jobs"] == []


def test_a_job_is_shown_and_its_payload_only_when_asked_for(ready: Cli, queue: JobQueue) -> None:
    first = queue.enqueue("mail", {"password": "hunter2"}, max_attempts=3, priority=4, headers={"trace": "abc"})
    then = queue.enqueue("mail", depends_on=[first])
    held = queue.reserve(0, queues=["mail"])
    said = ready("show", first)
    assert "hunter2" not in said.out
    assert "abc" not in said.out
    shown = dict(line.split(maxsplit=1) for line in said.out.splitlines())
    assert (shown["state"], shown["attempts"], shown["priority"]) == ("leased", "1 of 3", "4")
    assert shown["dependents"] == str(then)
    assert "held by" in said.out
    known = ready("show", first, "--json").json
    assert (known["payload"], known["result"], known["redacted"]) == (None, None, True)
    assert known["holder"]
    assert datetime.fromisoformat(known["leased_until"]) > datetime.fromisoformat(known["started"])
    known = ready("show", first, "--payload", "--json").json
    assert known["payload"] == {"args": {"password": "hunter2"}, "headers": {"trace": "abc"}}
    assert "hunter2" in ready("show", first, "--payload").out
    held.ack({"pin": 1234})
    assert "1234" not in ready("show", first).out
    assert "1234" in ready("show", first, "--payload").out
    known = ready("show", first, "--payload", "--json").json
    assert (known["state"], known["payload"], known["result"]) == ("succeeded", None, {"pin": 1234})


def test_a_body_that_is_no_json_is_shown(ready: Cli, queue: JobQueue) -> None:
    text = queue.enqueue("mail", body=b"caf\xc3\xa9", content_type="text/plain")
    raw = queue.enqueue("mail", body=b"\xff\x00", content_type="application/x-raw")
    known = ready("show", text, "--payload", "--json").json["payload"]
    assert known == {"body": "café", "bytes": 5, "content_type": "text/plain", "headers": None}
    known = ready("show", raw, "--payload", "--json").json["payload"]
    assert (known["body"], known["bytes"]) == (None, 2)


def test_why_a_job_does_not_run(ready: Cli, queue: JobQueue) -> None:
    first = queue.enqueue("mail")
    then = queue.enqueue("mail", depends_on=[first])
    said = ready("why", then)
    assert f"{then} is blocked" in said.out
    assert f"waits for  {first} is ready" in said.out
    known = ready("why", then, "--json").json
    assert known["state"] == "blocked"
    assert [one["job_id"] for one in known["unmet"]] == [str(first)]


def test_a_graph_is_drawn_in_three_forms(ready: Cli, queue: JobQueue) -> None:
    first = queue.enqueue("load")
    then = [queue.enqueue("add", depends_on=[first]) for _ in range(3)]
    last = queue.enqueue("report", depends_on=then)
    for given in (first, then[1], last):
        known = ready("graph", given, "--json").json
        assert {job["job_id"] for job in known["jobs"]} == {str(i) for i in (first, *then, last)}
        assert len(known["edges"]) == 6
        assert known["complete"] is True
    assert ready("graph", first, "--format", "json").json["jobs"][0]["job_id"] == str(first)
    mermaid, dot = ready("graph", first).out, ready("graph", first, "--format", "dot").out
    assert f"  n{first.hex} --> n{then[0].hex}\n" in mermaid
    assert f"  n{first.hex} -> n{then[0].hex};\n" in dot
    assert dot.endswith("}\n")
    part = ready("graph", first, "--most", 2)
    assert part.line == "there are more jobs than 2"
    assert len(ready("graph", first, "--most", 2, "--json").json["jobs"]) == 2
    assert ready("graph", first, "--most", 501).code == 2


def test_workers_are_listed(ready: Cli, queue: JobQueue, make_queue: MakeQueue) -> None:
    made = queue.register_worker("ann", info={"cores": 2})
    [known] = [w for w in ready("workers", "--json").json["workers"] if w["name"] == "ann"]
    assert (known["worker_id"], known["info"]) == (str(made), {"cores": 2})
    assert str(made) in ready("workers").out
    assert "ann" not in ready("workers", "--older-than", 60).out


def test_health_tells_a_probe(ready: Cli, queue: JobQueue) -> None:
    assert ready("health").code == 0
    assert ready("health", "--json").json == {"healthy": True, "problem": None, "oldest_ready_age": None}
    queue.enqueue("mail")
    wait_until(lambda: (queue.queues()[0].oldest_ready_age or 0) > 0.2)
    assert ready("health", "--max-age", 60).code == 0
    late = ready("health", "--max-age", 0.1)
    assert late.code == 1
    assert "'mail'" in late.line
    known = ready("health", "--max-age", 0.1, "--json")
    assert known.code == 1
    assert known.json["healthy"] is False
    queue.enqueue("other")
    assert ready("health", "--max-age", 0.1, "--queue", "mail").code == 1
    assert ready("health", "--queue", "mial").code == 1
    queue.pause("mail")
    assert ready("health", "--max-age", 60, "--queue", "mail").code == 0
    assert ready("health", "--max-age", 0.1, "--queue", "mail").code == 0
    gone = run("--url", "sqlite:///gone.db", "health", "--json")
    assert gone.code == 3
    assert gone.json["healthy"] is False


# enqueue


def test_a_job_is_enqueued(ready: Cli, queue: JobQueue) -> None:
    wanted = uuid4()
    first = ready("enqueue", "mail", '{"to": "ann"}', "--id", wanted, "--priority", 7, "--max-attempts", 2)
    assert (first.code, first.out) == (0, f"{wanted}\n")
    got = queue.reserve(0, queues=["mail"])
    assert (got.job_id, got.args, got.message.priority, got.message.max_attempts) == (wanted, {"to": "ann"}, 7, 2)
    then = ready("enqueue", "mail", "--depends-on", wanted, "--depends-on", wanted, "--channel", "x", "--json").json
    status = queue.status(then["job_id"])
    assert (status.state, status.depends_on, status.channel) == (JobState.BLOCKED, (wanted,), "x")
    later = ready("enqueue", "mail", "--delay", 60, "--expires-in", 90).out.strip()
    assert queue.status(later).state is JobState.SCHEDULED
    assert ready("enqueue", "mail", "--id", wanted).code == 1  # it is there
    assert ready("enqueue", "mail", "--depends-on", uuid4()).code == 1
    for bad in ("{", "NaN", "[1,]"):
        assert ready("enqueue", "mail", bad).code == 2, bad
    for bad in (["--priority", 256], ["--delay", -1], ["--id", "x"], ["--depends-on", "x"], ["--delay", "soon"]):
        assert ready("enqueue", "mail", *bad).code == 2, bad
    assert ready("enqueue", "x" * 300).code == 2


def test_arguments_are_read_from_stdin(ready: Cli, queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("[1, 2]"))
    assert ready("enqueue", "mail", "-").code == 0
    assert queue.reserve(0, queues=["mail"]).args == [1, 2]


# mending


def test_jobs_are_canceled(ready: Cli, queue: JobQueue) -> None:
    first = queue.enqueue("mail")
    then = queue.enqueue("mail", depends_on=[first])
    look = ready("cancel", first, "--dry-run", "--json")
    assert look.json == {
        "jobs": [
            {"job_id": str(first), "done": False, "detail": "would be canceled; it is ready, 1 jobs depend on it"}
        ],
        "dry_run": True,
    }
    assert queue.status(first).state is JobState.READY
    assert ready("cancel", first).code == 2  # nobody can be asked
    assert queue.status(first).state is JobState.READY
    assert ready("cancel", first, "--yes").code == 0
    assert queue.status(then).state is JobState.CANCELED
    unknown = uuid4()
    other = queue.enqueue("mail")
    several = ready("cancel", unknown, first, other, "-y", "--json")
    assert several.code == 1
    assert [job["done"] for job in several.json["jobs"]] == [False, False, True]
    said = ready("cancel", unknown, "-y")
    assert said.line == f"{unknown}: no such job"


def test_what_ended_is_retried(ready: Cli, queue: JobQueue) -> None:
    first = queue.enqueue("mail", max_attempts=1)
    then = queue.enqueue("mail", depends_on=[first], dependency_policy="succeeded")
    queue.reserve(0, queues=["mail"]).fail("no route")
    assert queue.status(then).state is JobState.CANCELED
    look = ready("retry", first, "--dry-run")
    assert "no route" in look.out
    assert queue.status(first).state is JobState.FAILED
    assert ready("retry", first, "--subtree").out == f"{first}: pending again, with 1 others\n"
    assert (queue.status(first).state, queue.status(then).state) == (JobState.READY, JobState.BLOCKED)
    again = ready("retry", first, uuid4())
    assert (again.code, again.err.count("\n")) == (1, 2)
    assert ready("retry", first, "--dry-run").code == 1
    assert ready("retry").code == 2
    assert ready("retry", first, "--all-dead").code == 2
    assert ready("retry", first, "--queue", "mail").code == 2


def test_all_dead_jobs_are_retried(ready: Cli, queue: JobQueue) -> None:
    queue.enqueue_many([JobMessage.new(name, n) for n in range(5) for name in ("mail", "other")])
    for name in ("mail", "other"):
        for held in queue.reserve_many(4, 0, queues=[name]):
            held.reject()
    queue.reserve(0, queues=["mail"]).fail()
    look = ready("retry", "--all-dead", "--dry-run", "--json").json
    assert len(look["jobs"]) == 8
    assert ready("retry", "--all-dead").code == 2
    done = ready("retry", "--all-dead", "--queue", "mail", "--yes", "--json").json
    assert [job["done"] for job in done["jobs"]] == [True] * 4
    counts = {q.name: (q.ready, q.dead) for q in queue.queues()}
    assert counts == {"mail": (4, 0), "other": (1, 4)}
    assert len(ready("retry", "--all-dead", "-y", "--json").json["jobs"]) == 4
    assert ready("retry", "--all-dead", "-y").out == ""


def test_records_are_discarded(ready: Cli, queue: JobQueue) -> None:
    first = queue.enqueue("mail")
    root = queue.enqueue("mail", depends_on=[first])
    queue.reserve(0, queues=["mail"]).ack()
    assert "has not ended" in ready("discard", root, "-y").line
    queue.reserve(0, queues=["mail"]).ack()
    refused = ready("discard", first, "-y")
    assert refused.code == 1
    assert "other jobs depend on it" in refused.line
    assert ready("discard", root).code == 2
    assert ready("discard", root, "--dry-run").out == f"{root}: would be deleted: 2 records\n"
    assert queue.status(root).state is JobState.SUCCEEDED
    assert ready("discard", root, "-y", "--json").json["jobs"][0]["done"] is True
    assert ready("show", first).code == 1
    assert ready("discard", root, "-y").line == f"{root}: no such job"


def test_no_live_dependency_goes_with_a_discarded_record(ready: Cli, queue: JobQueue) -> None:
    live, canceled = queue.enqueue("mail"), queue.enqueue("mail", 2)
    root = queue.enqueue("mail", depends_on=[live, canceled])
    queue.cancel(canceled)  # and with it the root
    assert queue.status(root).state is JobState.CANCELED
    refused = ready("discard", root, "-y")
    assert refused.code == 1
    assert f"its dependency {live} has not ended" in refused.line
    assert queue.status(live).state is JobState.READY


def test_a_leased_job_is_given_back(ready: Cli, queue: JobQueue) -> None:
    job_id = queue.enqueue("mail")
    assert ready("requeue", job_id).code == 1  # nobody has it
    queue.reserve(0, queues=["mail"])
    assert ready("requeue", job_id, "--json").json["jobs"][0]["done"] is True
    again = queue.reserve(5, queues=["mail"])
    assert (again.job_id, again.redelivered) == (job_id, True)
    assert ready("requeue", uuid4()).code == 1
    last = queue.enqueue("last", max_attempts=1)
    queue.reserve(0, queues=["last"])
    spent = ready("requeue", last)
    assert spent.code == 1
    assert "dead" in spent.line


# queues changed


def test_a_queue_is_purged(ready: Cli, queue: JobQueue) -> None:
    made = [queue.enqueue("mail", n) for n in range(3)]
    queue.reserve(0, queues=["mail"])
    assert ready("purge", "mail").code == 2
    assert "would cancel 2 ready, 0 scheduled and 0 blocked jobs" in ready("purge", "mail", "--dry-run").out
    known = ready("purge", "mail", "--yes", "--json").json
    assert known == {"queue": "mail", "channel": "", "pending": 2, "canceled": 2, "dry_run": False}
    assert [queue.status(i).state for i in made].count(JobState.CANCELED) == 2


def test_a_queue_is_paused_and_resumed(ready: Cli, queue: JobQueue) -> None:
    queue.enqueue("mail")
    queue.enqueue("mail", channel="x")
    assert ready("pause", "mail", "--json").json == {"queue": "mail", "channel": "", "paused": True, "changed": True}
    assert ready("pause", "mail").out == "mail: paused already\n"
    assert {q.channel: q.paused for q in queue.queues()} == {"": True, "x": False}
    assert ready("resume", "mail").out == "mail: not paused\n"
    assert ready("resume", "mail", "--channel", "x", "--json").json["changed"] is False


def test_a_queue_is_limited(ready: Cli, queue: JobQueue) -> None:
    queue.enqueue("mail")
    assert ready("limit", "mail").out == "mail: no limits\n"
    assert ready("limit", "mail", "--max-length", 1).out == "mail: max_length 1\n"
    assert ready("enqueue", "mail").line == "depqueue: queue 'mail' is full: its max_length is 1"
    assert ready("enqueue", "mail").code == 1
    known = ready("limit", "mail", "--max-body-bytes", 10, "--json").json
    assert known == {"queue": "mail", "channel": "", "max_length": None, "max_body_bytes": 10}
    assert ready("enqueue", "mail", json.dumps("x" * 99)).code == 2
    assert ready("limit", "mail", "--clear", "--max-length", 1).code == 2
    assert ready("limit", "mail", "--clear").out == "mail: no limits\n"
    assert ready("limit", "mial", "--max-length", 1).code == 1
    assert ready("enqueue", "mail").code == 0


def test_a_mistyped_queue_is_not_made(ready: Cli, queue: JobQueue) -> None:
    queue.enqueue("mail")
    for command in (["purge", "--yes"], ["pause"], ["resume"]):
        said = ready(command[0], "mial", *command[1:])
        assert said.code == 1
        assert said.line == "depqueue: no such queue: 'mial'; did you mean 'mail'?"
    assert [q.name for q in queue.queues()] == ["mail"]


def test_old_records_are_pruned(cli: Cli, make_queue: MakeQueue) -> None:
    queue = make_queue(retention=0.01)
    queue.enqueue_many([JobMessage.new("mail", n) for n in range(20)])
    queue.ack_many(queue.reserve_many(20, 0, queues=["mail"]))
    wait_until(lambda: queue.prunable() == 20)
    assert cli("prune").code == 2
    assert cli("prune", "--dry-run").out == "would delete 20 records\n"
    known = cli("prune", "--yes", "--json").json
    assert (known["prunable"], known["left"], known["dry_run"]) == (20, 0, False)
    assert queue.jobs().jobs == ()
    assert cli("prune", "--yes").out == "deleted 0 records\n"


# asking


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["y", "n"])
def test_whoever_sits_at_a_terminal_is_asked(
    ready: Cli, queue: JobQueue, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    job_id = queue.enqueue("mail")
    monkeypatch.setattr(sys, "stdin", _Terminal(f"{answer}\n"))
    said = ready("cancel", job_id)
    assert said.code == (0 if answer == "y" else 1)
    assert "Cancel 1 jobs" in said.err
    assert queue.status(job_id).state is (JobState.CANCELED if answer == "y" else JobState.READY)


# what goes wrong


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("nonsense", 2, "no database URL"),
        ("oracle://u:hunter2@h/d", 2, "not supported"),
        ("mysql+nosuch://u:hunter2@h/d", 2, "kombu-depqueue[mysql]"),
        ("mysql://u:hunter2@127.0.0.1:1/d", 3, "refused"),
        ("sqlite://", 2, "name a file"),
        ("sqlite:///there.is/no/such/folder.db", 3, "no such file"),
        ("sqlite:///random.db", 3, "not a database"),
        ("postgresql://u:hunter2@127.0.0.1:1/d", 3, "refused"),
        ("postgresql://u@127.0.0.1:1/d?password=hunter2", 3, "refused"),
        ("postgresql+nosuch://u:hunter2@h/d", 2, "nosuch"),
    ],
)
def test_a_wrong_database_is_told_in_one_line_without_the_password(
    tmp_path: Path, url: str, code: int, says: str
) -> None:
    (tmp_path / "random.db").write_bytes(b"no database" * 500)
    said = run("--url", url, "queues")
    assert said.code == code
    assert says in said.line
    assert said.line.startswith("depqueue: ")
    assert "hunter2" not in said.line


def test_a_missing_driver_names_the_extra() -> None:
    program = "import sys; sys.modules['psycopg'] = None; from kombu_depqueue.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "--url", "postgresql://u@h/d", "queues"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert Said(2, "", done.stderr).line.endswith("pip install kombu-depqueue[postgresql]")


@pytest.mark.bare
def test_tables_of_a_newer_library_are_left_alone(ready: Cli, queue: JobQueue, engine: Any) -> None:
    meta = queue._database.dialect.tables.meta
    with engine.begin() as connection:
        connection.execute(meta.update().where(meta.c.key == "schema_version").values(value="99"))
    for command in ("queues", "init"):
        said = ready(command)
        assert said.code == 3
        assert "newer" in said.line


def test_ids_and_jobs_that_are_none(ready: Cli) -> None:
    for command in ("show", "why", "graph", "requeue", "retry"):
        bad = ready(command, "nope")
        assert bad.code == 2, command
        assert bad.line == "depqueue: 'nope' is no job id (a UUID is wanted)"
        assert ready(command, uuid4()).code == 1, command
    unknown = uuid4()
    assert ready("why", unknown).line == f"depqueue: no such job: {unknown}"


def test_wrong_usage_is_2() -> None:
    for bad in (["nope"], ["queues", "--nope"], ["show"], ["jobs", "--limit", "0"], ["cancel"]):
        said = run(*bad)
        assert said.code == 2, bad
        assert "Traceback" not in said.err
    assert run("--help").code == run("jobs", "-h").code == run("--version").code == 0


@pytest.mark.only("sqlite")
def test_real_processes_end_with_the_same_codes(ready: Cli, queue: JobQueue) -> None:
    job_id = queue.enqueue("mail")
    assert ready.process("show", job_id).code == 0
    assert ready.process("show", uuid4()).code == 1
    assert ready.process("show", "nope").code == 2
    asked = ready.process("cancel", job_id)
    assert asked.code == 2
    assert "--yes" in asked.line
    assert Cli("sqlite:///none.db").process("queues").code == 3


@pytest.mark.only("sqlite")
def test_a_pipe_closed_early_is_no_error(ready: Cli, queue: JobQueue) -> None:
    queue.enqueue_many([JobMessage.new("mail", n) for n in range(5000)])
    for arguments in (["--limit", 5000], ["--limit", 5000, "--json"]):
        with ready.start("jobs", *arguments) as listing:
            assert listing.stdout is not None
            assert listing.stdout.read(1)
            listing.stdout.close()
            assert listing.stderr is not None
            assert listing.stderr.read() == ""
        assert listing.returncode == 141


def test_what_jobs_are_called_cannot_move_the_cursor(ready: Cli, queue: JobQueue) -> None:
    name = "a\x1b[2J\nb"
    job_id = queue.enqueue(name)
    for command in (["queues"], ["jobs"], ["show", job_id], ["graph", job_id], ["purge", name, "--dry-run"]):
        said = ready(*command)
        assert said.code == 0
        assert "\x1b" not in said.out, command
    assert "a\\x1b[2J\\nb" in ready("queues").out


# output


@pytest.mark.parametrize("rich", [True, False])
def test_tables_on_a_terminal(monkeypatch: pytest.MonkeyPatch, rich: bool) -> None:
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setenv("COLUMNS", "30")
    terminal = _Terminal()
    with contextlib.redirect_stdout(terminal):
        output.table(("ID", "COUNT"), [(str(UUID(int=7)), "12"), ("[bold]x", "3")], numbers=("COUNT",))
        output.table(("ID", "COUNT"), [])
    shown = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue())
    lines = [line.rstrip() for line in shown.splitlines()]
    assert lines[1].split() == [str(UUID(int=7)), "12"]
    assert lines[2].split() == ["[bold]x", "3"]


@pytest.mark.only("sqlite")
def test_long_reasons_are_cut_in_lists(ready: Cli, queue: JobQueue) -> None:
    queue.enqueue("mail")
    queue.reserve(0, queues=["mail"]).fail("no route " * 100)
    [_, line] = ready("jobs").out.splitlines()
    assert line.endswith("...")
    assert len(line) < 250


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (0, "0s"), (59.9, "59s"), (61, "1m 1s"), (3600, "1h"), (90_061, "1d 1h")]
)
def test_ages_are_short(seconds: float | None, shown: str) -> None:
    assert output.age(seconds) == shown


def test_counts_beyond_the_limit_say_so() -> None:
    assert (output.count(10_000), output.count(10_001)) == ("10000", ">10000")


# bounded work


@pytest.mark.slow
@pytest.mark.bare
@pytest.mark.parametrize("settled", [False, True], ids=["never analyzed", "analyzed"])
def test_two_hundred_thousand_jobs_are_looked_through_in_a_second(place: Place, settled: bool) -> None:
    filler = Filler(place)
    filler.leased(100)
    filler.ready(100_000)
    filler.delayed(30_000)
    filler.blocked(30_000)
    filler.ended(40_000, dead=100)
    if settled:
        filler.settle()
    cli = Cli(place.url)
    cli("workers")  # what is imported once
    for command in (
        ["queues"],
        ["jobs"],
        ["jobs", "--state", "leased"],
        ["jobs", "--state", "dead"],
        ["jobs", "--queue", "none such"],
        ["jobs", "--state", "expired"],
        ["health", "--max-age", 3600],
        ["prune", "--dry-run"],
    ):
        took = []
        for _ in range(3):  # the machine may be busy with something else for a moment
            began = time.perf_counter()
            assert cli(*command).code == 0
            took.append(time.perf_counter() - began)
        print(f"{' '.join(map(str, command))}: {min(took) * 1000:.0f} ms")
        assert min(took) < 1.0, command
    [counts] = cli("queues", "--json").json["queues"]
    assert (counts["ready"] + counts["leased"], counts["scheduled"], counts["blocked"]) == (10_001, 10_001, 10_001)
    found, after = [], []
    for _ in range(10):
        page = cli("jobs", "--state", "leased", "--limit", 1000, "--json", *after).json
        found += page["jobs"]
        if page["next"] is None:
            break
        after = ["--after", page["next"]]
    assert len(found) == 100


# the page


def _rows() -> Iterator[tuple[str, set[str]]]:
    table = PAGE.partition("## Commands")[2].partition("\n## ")[0]
    for line in re.findall(r"^\| `.*$", table, re.MULTILINE):
        usage, options = line.split("|")[1:3]
        yield usage.strip().strip("`").split()[0], set(re.findall(r"--[a-z-]+", options))


def test_the_page_names_every_command_with_its_options() -> None:
    said = dict(_rows())
    assert set(said) == set(depqueue.commands)
    for name, options in said.items():
        there = {o for p in depqueue.commands[name].params for o in p.opts if o.startswith("--")}
        common = {"--url", "--option", "--json"} if name != "demo" else set()
        assert common <= there, name
        assert options == there - common, name


def test_every_option_that_the_page_mentions_exists() -> None:
    there = {o for c in depqueue.commands.values() for p in c.params for o in p.opts} | {"-"}
    there |= {"-" + o.lstrip("-")[0] for o in there if o == "-o"}
    code = [*re.findall(r"`([^`\n]+)`", PAGE), *re.findall(r"^(?:\$ )?depqueue .*$", PAGE, re.MULTILINE)]
    used = {word for text in code for word in text.split() if re.match(r"--?[a-z]", word)}
    assert used <= there


def test_the_page_names_the_exit_codes() -> None:
    codes = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert codes == ["0", str(base.NO), str(base.USAGE), str(base.UNREACHABLE), "130", "141"]


def test_the_examples_of_the_page_run_as_shown() -> None:
    [session] = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for block in session.split("$ ")[1:]:
        command, _, wanted = block.partition("\n")
        name, *arguments = shlex.split(command)
        assert name == "depqueue"
        said = run(*arguments)
        assert said.code == 0, said.err
        checker = doctest.OutputChecker()
        assert checker.check_output(wanted, said.out, doctest.ELLIPSIS), f"{command} printed:\n{said.out}"


@pytest.mark.parametrize("file", ["README.md", "docs/command-line.md"])
def test_other_lines_that_show_commands_can_be_parsed(file: str) -> None:
    text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
    lines = re.findall(r"^depqueue .*$", text, re.MULTILINE)
    assert lines
    for line in lines:
        arguments = shlex.split(line.replace("ID", str(UUID(int=1))), comments=True)[1:]
        assert run(*arguments, "--help").code == 0, line


def test_the_shell_completes_commands_and_options() -> None:
    shown = re.search(r"_DEPQUEUE_COMPLETE=bash_source depqueue", PAGE)
    assert shown
    environment = {"_DEPQUEUE_COMPLETE": "bash_complete", "COMP_WORDS": "depqueue pu", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", "import sys; from kombu_depqueue.cli import main; sys.exit(main())"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "plain,purge")


def test_every_command_is_documented() -> None:
    for name, command in depqueue.commands.items():
        assert command.help, name
        short = click.Command.get_short_help_str(command, 80)
        assert not short.endswith("..."), name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help or option.name in ("form",), f"{name}: {option.name}"


def test_the_picture_shows_what_the_command_prints(tmp_path: Path) -> None:
    docs, drawn = Path(__file__).parents[1] / "docs", tmp_path / "drawn.svg"
    subprocess.run([sys.executable, docs / "picture.py", drawn], check=True, timeout=60)

    def text(file: Path) -> str:
        return re.sub(r"[0-9a-f]{8}(-?[0-9a-f]{4}){0,6}", "ID", file.read_text(encoding="utf-8"))

    def shown(file: Path) -> list[str]:
        return re.findall(r">([^<]*)</text>", re.sub(r"\b\d+s(?=\W)", "0s", text(file)))

    assert shown(drawn) == shown(docs / "depqueue.svg")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_runs() -> None:
    done = subprocess.run([*PROGRAM, "demo", "--workers", "2"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK: " in done.stdout
