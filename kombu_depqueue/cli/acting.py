"""Commands that make and change queues. What destroys can be looked at first (`--dry-run`), and asks."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from kombu_depqueue.cli.base import (
    NO,
    Command,
    No,
    Place,
    Refused,
    agreed,
    dry_run_option,
    json_option,
    yes_option,
)
from kombu_depqueue.cli.base import (
    job_id as as_job_id,
)
from kombu_depqueue.cli.output import COUNTED, clean, count, document
from kombu_depqueue.errors import SchemaError
from kombu_depqueue.job import QueueInfo

if TYPE_CHECKING:
    from kombu_depqueue.queue import JobQueue

__all__ = ["COMMANDS"]

channel_option = click.option("--channel", default="", metavar="NAME", help="The queue's channel.")


@click.command(cls=Command)
@json_option
@click.pass_obj
def init(place: Place, as_json: bool) -> None:
    """Create the tables where they are missing. Nothing that is there is changed."""
    there = True
    try:
        with place.open() as queue:
            queue.queues()
    except SchemaError as error:
        if error.found is not None:  # another version: not ours to touch
            raise
        there = False
        with place.open(create=True):
            pass
    if as_json:
        document({"created": not there})
    else:
        click.echo(f"{place.shown}: " + ("the tables were there already" if there else "tables created"))


@click.command(cls=Command)
@click.argument("job_type", metavar="TYPE")
@click.argument("args", metavar="[JSON]", required=False)
@click.option("--delay", type=float, metavar="SECONDS", help="Not before so many seconds from now.")
@click.option("--priority", type=int, default=0, show_default=True, help="0 to 255, bigger first.")
@click.option("--depends-on", type=as_job_id, multiple=True, metavar="ID", help="Not before this job; may be repeated.")
@click.option("--id", "job_id", type=as_job_id, metavar="ID", help="The job's id (default: a new one).")
@click.option("--channel", default="", metavar="NAME", help="The channel of its queue.")
@click.option("--max-attempts", type=int, metavar="N", help="How often it may be handed out.")
@click.option("--expires-in", type=float, metavar="SECONDS", help="Then it ends as expired, if nobody has it.")
@json_option
@click.pass_obj
def enqueue(place: Place, /, job_type: str, args: str | None, as_json: bool, **given: Any) -> None:
    """Enqueue a job and print its id.

    Its arguments are any JSON value ("-": read from stdin), null by default.
    """
    if args == "-":
        args = sys.stdin.read()
    try:
        value = None if args is None else json.loads(args)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the arguments are no JSON: {error}") from None
    with place.open() as queue:
        made = queue.enqueue(job_type, value, **given)
    if as_json:
        document({"job_id": made})
    else:
        click.echo(str(made))


def _known(queue: JobQueue, name: str, channel: str) -> QueueInfo:
    """A queue that is there: a mistyped name must not make one."""
    found = queue.queues()
    for info in found:
        if (info.name, info.channel) == (name, channel):
            return info
    near = difflib.get_close_matches(name, [q.name for q in found if q.channel == channel], n=1)
    where = f" in channel {channel!r}" if channel else ""
    raise No(f"no such queue{where}: {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


@click.command(cls=Command)
@click.argument("name", metavar="QUEUE")
@channel_option
@dry_run_option
@yes_option
@json_option
@click.pass_obj
def purge(place: Place, name: str, channel: str, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Cancel all pending jobs of a queue; leased ones are left alone."""
    with place.open() as queue:
        q = _known(queue, name, channel)
        what = f"{count(q.ready)} ready, {count(q.scheduled)} scheduled and {count(q.blocked)} blocked jobs"
        if not dry_run and not agreed(f"Cancel {what} of queue {name!r}?", yes):
            return NO
        there = min(q.ready + q.scheduled + q.blocked, COUNTED + 1)
        canceled = 0 if dry_run else queue.purge(name, channel=channel)
    if as_json:
        document({"queue": name, "channel": channel, "pending": there, "canceled": canceled, "dry_run": dry_run})
    else:
        click.echo(clean(f"{name}: " + (f"would cancel {what}" if dry_run else f"{canceled} jobs canceled")))
    return 0


@click.command(cls=Command)
@click.argument("name", metavar="QUEUE")
@channel_option
@json_option
@click.pass_obj
def pause(place: Place, name: str, channel: str, as_json: bool) -> None:
    """Hand out no more jobs of a queue, anywhere, until `resume`."""
    _pause(place, name, channel, True, as_json)


@click.command(cls=Command)
@click.argument("name", metavar="QUEUE")
@channel_option
@json_option
@click.pass_obj
def resume(place: Place, name: str, channel: str, as_json: bool) -> None:
    """End `pause`."""
    _pause(place, name, channel, False, as_json)


def _pause(place: Place, name: str, channel: str, paused: bool, as_json: bool) -> None:
    with place.open() as queue:
        before = _known(queue, name, channel)
        (queue.pause if paused else queue.resume)(name, channel=channel)
    if as_json:
        document({"queue": name, "channel": channel, "paused": paused, "changed": before.paused is not paused})
        return
    word = "paused" if paused else "not paused"
    click.echo(clean(f"{name}: {word}" + (" already" if before.paused is paused else "")))


@click.command(cls=Command)
@click.argument("name", metavar="QUEUE")
@channel_option
@click.option("--max-length", type=click.IntRange(0), metavar="N", help="Jobs that have not ended.")
@click.option("--max-body-bytes", type=click.IntRange(0), metavar="N", help="Bytes of a payload with its headers.")
@click.option("--clear", is_flag=True, help="Take all limits away.")
@json_option
@click.pass_obj
def limit(
    place: Place,
    name: str,
    channel: str,
    max_length: int | None,
    max_body_bytes: int | None,
    clear: bool,
    as_json: bool,
) -> None:
    """Bound the number and the size of a queue's jobs.

    Without options its limits are shown. An enqueue beyond them is refused (QueueFull). They take the place of those
    before; all processes know them within 5 seconds.
    """
    given = (max_length, max_body_bytes)
    if clear and given != (None, None):
        raise Refused("--clear and a limit exclude each other")
    with place.open() as queue:
        _known(queue, name, channel)
        if clear or given != (None, None):
            queue.limit(name, max_length=max_length, max_body_bytes=max_body_bytes, channel=channel)
        length, size = queue.limits(name, channel=channel)
    if as_json:
        document({"queue": name, "channel": channel, "max_length": length, "max_body_bytes": size})
        return
    shown = ", ".join(f"{what} {n}" for what, n in (("max_length", length), ("max_body_bytes", size)) if n is not None)
    click.echo(clean(f"{name}: {shown or 'no limits'}"))


@click.command(cls=Command)
@dry_run_option
@yes_option
@json_option
@click.pass_obj
def prune(place: Place, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Do the upkeep now, and delete old records.

    The records of ended jobs that are out of time go; what dead workers held is freed, what is due becomes ready.
    Consumers do all this by themselves.
    """
    with place.open() as queue:
        left = total = queue.prunable()
        if not dry_run and not agreed(f"Delete {count(total)} records of ended jobs?", yes):
            return NO
        rounds = 0
        while not dry_run and (left or not rounds) and rounds < COUNTED:
            queue.maintain()
            left, before, rounds = queue.prunable(), left, rounds + 1
            if left >= before and before <= COUNTED:
                break  # what is left is worked on by others
    if as_json:
        document({"prunable": total, "left": left, "rounds": rounds, "dry_run": dry_run})
    elif dry_run:
        click.echo(f"would delete {count(total)} records")
    else:
        click.echo(f"deleted {count(total)} records" if not left else f"{count(left)} of {count(total)} records left")
    return 0


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), default=3, show_default=True, help="Worker processes.")
@click.option("--database", metavar="URL", help="Use this database (default: a temporary SQLite file).")
@click.option("--keep", is_flag=True, help="Keep the jobs and the workers' logs afterwards.")
def demo(workers: int, database: str | None, keep: bool) -> int:
    """Run the demonstration (about 15 seconds).

    A graph of jobs measures Python's standard library; one of the worker processes is killed with kill -9.
    """
    from kombu_depqueue.demo.__main__ import main

    arguments: Sequence[str] = ["--workers", str(workers)]
    arguments = [*arguments, *(["--database", database] if database else []), *(["--keep"] if keep else [])]
    return main(arguments)


COMMANDS = (init, enqueue, purge, pause, resume, limit, prune, demo)
