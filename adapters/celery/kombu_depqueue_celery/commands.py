"""`celery depqueue ...`: what is in the queues, why a task does not run, what depends on what, what has died."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click
from celery.bin.base import CeleryCommand, handle_preload_options

from kombu_depqueue import DepQueueError

if TYPE_CHECKING:
    from kombu_depqueue.extending import MessageQueue

__all__ = ["depqueue"]


class _Command(CeleryCommand):
    """A command that reports our errors as its own."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DepQueueError as error:
            raise click.ClickException(str(error)) from error


@click.group(name="depqueue")
@click.pass_context
@handle_preload_options
def depqueue(ctx: click.Context) -> None:
    """Look into a kombu-depqueue broker."""


def _queue(ctx: click.Context) -> MessageQueue:
    from kombu_depqueue_celery.broker import broker_queue  # not for every other `celery` command

    queue = broker_queue(ctx.obj.app)
    if queue is None:
        raise click.ClickException("the broker of this application is none of kombu-depqueue's (depqueue+...)")
    return queue


@depqueue.command(cls=_Command)
@click.pass_context
def status(ctx: click.Context) -> None:
    """Show all queues with their counts (up to 10,000 each)."""
    rows = [("QUEUE", "READY", "LEASED", "SCHEDULED", "BLOCKED", "")]
    for q in _queue(ctx).queues():
        counts = (str(q.ready), str(q.leased), str(q.scheduled), str(q.blocked))
        rows.append((q.name, *counts, "paused" if q.paused else ""))
    for line in _table(rows):
        click.echo(line)


@depqueue.command(cls=_Command)
@click.argument("task_id")
@click.pass_context
def why(ctx: click.Context, task_id: str) -> None:
    """Say what keeps a task (or native job) from running."""
    click.echo(str(_queue(ctx).why(_id(task_id))))


@depqueue.command(cls=_Command)
@click.argument("task_id")
@click.option("--format", "form", type=click.Choice(["mermaid", "dot"]), default="mermaid", show_default=True)
@click.option("--most", default=200, show_default=True, help="Jobs shown at most.")
@click.pass_context
def graph(ctx: click.Context, task_id: str, form: str, most: int) -> None:
    """Draw the jobs that a task depends on and those that depend on it, as text."""
    from kombu_depqueue.extending import connected, draw

    for line in draw(connected(_queue(ctx), _id(task_id), most), form):
        click.echo(line)


@depqueue.command(cls=_Command)
@click.option("--most", default=50, show_default=True, help="Jobs shown at most.")
@click.pass_context
def dead(ctx: click.Context, most: int) -> None:
    """List the latest jobs that died: rejected, out of deliveries, or lost with their worker."""
    rows = [("ID", "QUEUE", "WHEN", "WHY")]
    for job_id, queue, reason, when in _queue(ctx).dead(most):
        rows.append((str(job_id), queue, when.isoformat(" ", "seconds"), reason))
    for line in _table(rows):
        click.echo(line)


@depqueue.command(cls=_Command)
@click.argument("task_ids", nargs=-1, required=True)
@click.option("--subtree", is_flag=True, help="Also what was canceled because of it.")
@click.pass_context
def retry(ctx: click.Context, task_ids: tuple[str, ...], subtree: bool) -> None:
    """Let failed, dead, revoked or expired tasks run again."""
    queue = _queue(ctx)
    for task_id in task_ids:
        count = queue.retry(_id(task_id), subtree=subtree)
        click.echo(f"{task_id}: {count} re-opened")


def _id(text: str) -> UUID:
    from kombu_depqueue.extending import text_id

    return text_id(text)


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
