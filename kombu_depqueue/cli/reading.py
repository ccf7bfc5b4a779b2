"""Commands that only look."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from kombu_depqueue.cli.base import NO, Command, Place, code_of, json_option
from kombu_depqueue.cli.base import job_id as as_job_id
from kombu_depqueue.cli.output import age, count, document, fields, moment, note, short, table
from kombu_depqueue.errors import InvalidJob, SchemaError, StorageError
from kombu_depqueue.graphs import connected, draw, edges
from kombu_depqueue.job import JobInfo, JobState, JobStatus, QueueInfo, Why

if TYPE_CHECKING:
    from kombu_depqueue.monitoring import Figures
    from kombu_depqueue.queue import JobQueue

__all__ = ["COMMANDS"]

PATIENCE = 0.7
"""Seconds that one `jobs` looks through pages, if few of their jobs are wanted: 10,000 jobs take some 15 ms."""
MOST_DRAWN = 500
LISTED = 20
"""Dependencies that are named one by one."""
HIDDEN = "hidden (--payload shows it)"


@click.command(cls=Command)
@click.option("--watch", type=click.FloatRange(0.1, 86_400), metavar="SECONDS", help="Look again and again.")
@json_option
@click.pass_obj
def queues(place: Place, watch: float | None, as_json: bool) -> None:
    """Show all queues and what they hold.

    OLDEST is how long the oldest ready job has waited. Counts end at 10,000. Dead jobs are counted among the latest
    10,000 that did not succeed. With --watch, ENDED/S is how many jobs a second have ended since the last look, five
    seconds ago: by then their commits are seen.
    """
    with place.open() as queue:
        if not watch:
            _show_queues(queue.queues(), as_json)
            return
        seen: Figures = queue.figures()
        rates: _Rates | None = None
        while True:
            found = queue.queues()
            if rates is not None and not as_json:
                click.clear()  # does nothing where there is no terminal
            _show_queues(found, as_json, rates, watched=True)
            time.sleep(watch)
            last, seen = seen, queue.figures(seen.mark)
            rates = _rates(seen, (seen.mark.at - last.mark.at).total_seconds())


_Rates = Mapping[tuple[str, str], float]


def _rates(seen: Figures, seconds: float) -> _Rates:
    """How many jobs of each queue (channel, name) ended in a second."""
    rates: defaultdict[tuple[str, str], float] = defaultdict(float)
    for ended in seen.ended if seconds > 0 else ():
        rates[ended.channel, ended.queue] += ended.count / seconds
    return rates


def _show_queues(
    found: Sequence[QueueInfo], as_json: bool, rates: _Rates | None = None, *, watched: bool = False
) -> None:
    """Print them; the first look knows no `rates`."""
    ended = [None if rates is None else rates.get((q.channel, q.name), 0.0) for q in found]
    if as_json:
        told = [{**asdict(q), "ended_per_second": rate} for q, rate in zip(found, ended, strict=True)]
        document({"queues": told if watched else found}, indent=None if watched else 2)
        return
    numbers = ("READY", "SCHEDULED", "BLOCKED", "LEASED", "DEAD", "OLDEST", *(["ENDED/S"] if watched else []))
    rows = []
    for q, rate in zip(found, ended, strict=True):
        counts = map(count, (q.ready, q.scheduled, q.blocked, q.leased, q.dead))
        pace = ["" if rate is None else f"{rate:,.1f}"] if watched else []
        rows.append((q.name, q.channel, *counts, age(q.oldest_ready_age), *pace, "paused" if q.paused else ""))
    table(("QUEUE", "CHANNEL", *numbers, ""), rows, numbers=numbers)


@click.command(cls=Command)
@click.option("--queue", metavar="NAME", help="Only of this queue.")
@click.option("--channel", metavar="NAME", help="Only of this channel.")
@click.option("--state", type=click.Choice([*(s.value for s in JobState), "dead"]), help="Only those in this state.")
@click.option("--after", type=as_job_id, metavar="ID", help="Only what comes behind this job: the next page.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Jobs at most.")
@json_option
@click.pass_obj
def jobs(
    place: Place,
    queue: str | None,
    channel: str | None,
    state: str | None,
    after: UUID | None,
    limit: int,
    as_json: bool,
) -> None:
    """List jobs, live and ended, the latest first.

    They come by id, from big to small: Celery's ids are random, and so is their order. Looks for a second at most;
    where the next page begins is said on stderr.
    """
    found: list[JobInfo] = []
    with place.open() as opened:
        until = time.monotonic() + PATIENCE
        while True:
            left = limit - len(found)
            page = opened.jobs(state, queue=queue, channel=channel, after=after, limit=left)
            found += page.jobs
            after = page.next
            if after is None or len(found) == limit or time.monotonic() > until:
                break
    if as_json:
        document({"jobs": found, "next": after})
        return
    rows = []
    for j in found:
        word = f"{j.state} (dead)" if j.dead else str(j.state)
        rows.append((str(j.job_id), j.job_type, j.channel, word, str(j.attempt), moment(j.queued), _when(j)))
    table(("ID", "QUEUE", "CHANNEL", "STATE", "ATTEMPT", "QUEUED", ""), rows, numbers=("ATTEMPT",))
    if after is not None:
        note(f"there are more: --after {after}")


def _when(job: JobInfo) -> str:
    if job.state is JobState.SCHEDULED:
        return f"due {moment(job.run_at)}"
    return " ".join(filter(None, (moment(job.finished), short(job.reason or ""))))


@click.command(cls=Command)
@click.argument("job_id", type=as_job_id, metavar="ID")
@click.option("--payload", is_flag=True, help="Also its arguments (or body), headers and result.")
@json_option
@click.pass_obj
def show(place: Place, job_id: UUID, payload: bool, as_json: bool) -> None:
    """Show what is known of a job. Its payload only if asked for."""
    with place.open() as queue:
        status, why = queue.status(job_id), queue.why(job_id)
        given = _payload(queue, job_id) if payload else None
    if as_json:
        known = asdict(status) | {"holder": why.holder, "leased_until": why.leased_until, "payload": given}
        document(known | {"result": status.result if payload else None, "redacted": not payload})
        return
    attempts = str(status.attempt) + (f" of {status.max_attempts}" if status.max_attempts else "")
    fields(
        [
            ("id", str(status.job_id)),
            ("queue", status.job_type),
            ("channel", status.channel),
            ("state", str(status.state)),
            ("reason", status.reason or ""),
            ("attempts", attempts),
            ("priority", str(status.priority)),
            ("queued", moment(status.queued)),
            ("due", moment(status.run_at)),
            ("started", moment(status.started)),
            ("finished", moment(status.finished)),
            ("held by", why.holder or ""),
            ("leased until", moment(why.leased_until)),
            ("depends on", _named(status.depends_on)),
            ("dependents", _named(status.dependents)),
            ("payload", json.dumps(given) if payload else HIDDEN),
            ("result", "" if status.result is None else json.dumps(status.result) if payload else HIDDEN),
        ]
    )


def _payload(queue: JobQueue, job_id: UUID) -> dict[str, Any] | None:
    try:
        message = queue.message_of(job_id)
    except InvalidJob as error:
        return {"problem": str(error)}
    if message is None:
        return None  # it has succeeded
    if message.body is None:
        return {"args": message.args, "headers": message.headers}
    # Kombu's bodies are text in all but name; others are shown by their length.
    try:
        body: str | None = message.body.decode()
    except UnicodeDecodeError:
        body = None
    size = len(message.body)
    return {"body": body, "bytes": size, "content_type": message.content_type, "headers": message.headers}


def _named(ids: Sequence[UUID]) -> str:
    more = f" and {len(ids) - LISTED} more" if len(ids) > LISTED else ""
    return " ".join(map(str, ids[:LISTED])) + more


@click.command(cls=Command)
@click.argument("job_id", type=as_job_id, metavar="ID")
@json_option
@click.pass_obj
def why(place: Place, job_id: UUID, as_json: bool) -> None:
    """Say what keeps a job from running, or how it ended."""
    with place.open() as queue:
        found = queue.why(job_id)
    if as_json:
        document(found)
        return
    fields([("why", str(found)), *_in_the_way(found)])


def _in_the_way(found: Why) -> list[tuple[str, str]]:
    waits = [(f"{one.job_id} is {one.state}") for one in found.unmet[:LISTED]]
    never = [(f"{one.job_id} is {one.state}") for one in found.never[:LISTED]]
    return [("waits for", text) for text in waits] + [("in vain for", text) for text in never]


@click.command(cls=Command)
@click.argument("job_id", type=as_job_id, metavar="ID")
@click.option("--format", "form", type=click.Choice(["mermaid", "dot", "json"]), default="mermaid", show_default=True)
@click.option("--most", type=click.IntRange(1, MOST_DRAWN), default=200, show_default=True, help="Jobs at most.")
@json_option
@click.pass_obj
def graph(place: Place, job_id: UUID, form: str, most: int, as_json: bool) -> None:
    """Draw a job's graph as text.

    What it depends on and what depends on it, and so on: for Mermaid, for Graphviz, or for a program.
    """
    with place.open() as queue:
        found = connected(queue, job_id, most)
    complete = len(found) < most or _is_complete(found)
    if as_json or form == "json":
        document({"jobs": [_node(job) for job in found], "edges": list(edges(found)), "complete": complete})
        return
    for line in draw(found, form):
        click.echo(line)
    if not complete:
        note(f"there are more jobs than {most}")


def _node(job: JobStatus) -> dict[str, Any]:
    names = ("job_id", "job_type", "channel", "state", "reason", "queued", "started", "finished")
    return {name: getattr(job, name) for name in names}


def _is_complete(found: Sequence[JobStatus]) -> bool:
    shown = {job.job_id for job in found}
    return all(shown.issuperset((*job.depends_on, *job.dependents)) for job in found)


@click.command(cls=Command)
@click.option("--older-than", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Not seen for so long.")
@json_option
@click.pass_obj
def workers(place: Place, older_than: float, as_json: bool) -> None:
    """List the workers. These are all that registered, and every JobQueue that consumes."""
    with place.open() as queue:
        found = queue.workers(older_than)
    if as_json:
        document({"workers": found})
        return
    rows = [(str(w.worker_id), w.name, w.channel, moment(w.started), moment(w.last_seen)) for w in found]
    table(("ID", "NAME", "CHANNEL", "STARTED", "LAST SEEN"), rows)


@click.command(cls=Command)
@click.option("--max-age", type=click.FloatRange(0), metavar="SECONDS", help="Ready jobs must not wait for longer.")
@click.option("--queue", "names", multiple=True, metavar="NAME", help="Look at this queue only; may be repeated.")
@json_option
@click.pass_obj
def health(place: Place, max_age: float | None, names: tuple[str, ...], as_json: bool) -> int:
    """Say whether all is well, for probes.

    That is: the database answers, the tables are there, no ready job has waited too long. Queues that are paused may
    wait.
    """
    problem, code = "", 0
    oldest: QueueInfo | None = None
    try:
        with place.open() as queue:
            found = [q for q in queue.queues() if not names or q.name in names]
        oldest = max((q for q in found if not q.paused), key=lambda q: q.oldest_ready_age or 0.0, default=None)
        if missing := set(names) - {q.name for q in found}:
            problem, code = f"no such queue: {min(missing)!r}", NO
    except (StorageError, SchemaError) as error:
        problem, code = place.said(error), code_of(error)
    waited = oldest.oldest_ready_age if oldest else None
    if oldest and waited is not None and max_age is not None and waited > max_age:
        problem, code = f"a job of {oldest.name!r} has been ready for {age(waited)}", NO
    if as_json:
        document({"healthy": code == 0, "problem": problem or None, "oldest_ready_age": waited})
    elif code:
        note(f"depqueue: {problem}")
    else:
        click.echo(f"ok: {place.shown}" + (f"; the oldest ready job has waited {age(waited)}" if waited else ""))
    return code


COMMANDS = (queues, jobs, show, why, graph, workers, health)
