"""Commands that mend single jobs: cancel, retry, discard, requeue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from kombu_depqueue.cli.base import NO, Command, Place, Refused, agreed, dry_run_option, json_option, yes_option
from kombu_depqueue.cli.base import job_id as as_job_id
from kombu_depqueue.cli.output import clean, document
from kombu_depqueue.errors import LeaseLost, NotExist, NotPending, NotRunning
from kombu_depqueue.job import JobInfo, JobState

if TYPE_CHECKING:
    from kombu_depqueue.queue import JobQueue

__all__ = ["COMMANDS"]

MOST_DISCARDED = 10_000
"""A graph of more jobs is too much to look through one by one before it is deleted."""
FOR_EVER = 2**31 - 1


class Report:
    """What was done to each job; whether all of it was done."""

    def __init__(self, as_json: bool, dry_run: bool = False) -> None:
        self._as_json, self._dry_run = as_json, dry_run
        self._jobs: list[dict[str, Any]] = []
        self.refused = 0

    def done(self, job_id: UUID, detail: str) -> None:
        """It was done (or would be)."""
        self._add(job_id, detail, True)

    def no(self, job_id: UUID, detail: str) -> None:
        """It was not."""
        self.refused += 1
        self._add(job_id, detail, False)

    def _add(self, job_id: UUID, detail: str, done: bool) -> None:
        if self._as_json:
            self._jobs.append({"job_id": job_id, "done": done and not self._dry_run, "detail": detail})
        else:
            click.echo(clean(f"{job_id}: {detail}"), err=not done)

    def end(self) -> int:
        """Print the document; the exit code."""
        if self._as_json:
            document({"jobs": self._jobs, "dry_run": self._dry_run})
        return NO if self.refused else 0


@click.command(cls=Command)
@click.argument("job_ids", type=as_job_id, nargs=-1, required=True, metavar="ID...")
@dry_run_option
@yes_option
@json_option
@click.pass_obj
def cancel(place: Place, job_ids: tuple[UUID, ...], dry_run: bool, yes: bool, as_json: bool) -> int:
    """Cancel jobs, waiting or running. What depends on them follows its policy."""
    if not dry_run and not agreed(f"Cancel {len(job_ids)} jobs, and what can no longer run without them?", yes):
        return NO
    report = Report(as_json, dry_run)
    with place.open() as queue:
        for job_id in job_ids:
            _cancel(queue, job_id, dry_run, report)
    return report.end()


def _cancel(queue: JobQueue, job_id: UUID, dry_run: bool, report: Report) -> None:
    try:
        status = queue.status(job_id)
        if status.state.is_finished or not (dry_run or queue.cancel(job_id)):
            report.no(job_id, f"it has ended: {queue.status(job_id).state}")
        elif dry_run:
            report.done(job_id, f"would be canceled; it is {status.state}, {len(status.dependents)} jobs depend on it")
        else:
            report.done(job_id, "canceled")
    except NotExist:
        report.no(job_id, "no such job")


@click.command(cls=Command)
@click.argument("job_ids", type=as_job_id, nargs=-1, metavar="[ID...]")
@click.option("--all-dead", is_flag=True, help="All that were rejected, had no attempt left, or were lost.")
@click.option("--queue", metavar="NAME", help="With --all-dead: only of this queue.")
@click.option("--channel", metavar="NAME", help="With --all-dead: only of this channel.")
@click.option("--subtree", is_flag=True, help="Also what was canceled because of them.")
@dry_run_option
@yes_option
@json_option
@click.pass_obj
def retry(
    place: Place,
    job_ids: tuple[UUID, ...],
    all_dead: bool,
    queue: str | None,
    channel: str | None,
    subtree: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Let failed, dead, canceled or expired jobs run again. Their attempts are counted anew."""
    if all_dead == bool(job_ids):
        raise Refused("retry: name jobs by their ids, or say --all-dead")
    if (queue or channel) and not all_dead:
        raise Refused("retry: --queue and --channel go with --all-dead")
    where = f" of queue {queue!r}" if queue else ""
    if all_dead and not dry_run and not agreed(f"Retry all dead jobs{where}?", yes):
        return NO
    report = Report(as_json, dry_run)
    with place.open() as opened:
        chosen: Iterable[UUID] = (j.job_id for j in _dead(opened, queue, channel)) if all_dead else job_ids
        for job_id in chosen:
            _retry(opened, job_id, subtree, dry_run, report)
    return report.end()


def _dead(opened: JobQueue, queue: str | None, channel: str | None) -> Iterator[JobInfo]:
    after = None
    while True:
        page = opened.jobs("dead", queue=queue, channel=channel, after=after, limit=1000)
        yield from page.jobs
        after = page.next
        if after is None:
            return


def _retry(queue: JobQueue, job_id: UUID, subtree: bool, dry_run: bool, report: Report) -> None:
    try:
        if not dry_run:
            opened = queue.retry(job_id, subtree=subtree)
            report.done(job_id, "pending again" + (f", with {opened - 1} others" if opened > 1 else ""))
            return
        status = queue.status(job_id)
        if not status.state.is_finished or status.state is JobState.SUCCEEDED:
            report.no(job_id, f"it is {status.state}")
        else:
            report.done(job_id, f"would be retried; it is {status.state}: {status.reason or 'no reason given'}")
    except (NotExist, NotPending) as error:
        report.no(job_id, _reason(error, job_id))


def _reason(error: Exception, job_id: UUID) -> str:
    """An error about a job whose id is said already."""
    return str(error).replace(f"no such job: {job_id}", "no such job").replace(f"job {job_id} ", "it ")


@click.command(cls=Command)
@click.argument("job_ids", type=as_job_id, nargs=-1, required=True, metavar="ID...")
@dry_run_option
@yes_option
@json_option
@click.pass_obj
def discard(place: Place, job_ids: tuple[UUID, ...], dry_run: bool, yes: bool, as_json: bool) -> int:
    """Delete the records of ended jobs.

    With them go those dependencies that nobody else needs.
    Refused: a job that another depends on; one that has not ended, or has such a dependency: cancel that first.
    """
    if not dry_run and not agreed(f"Delete the records of {len(job_ids)} jobs and what only they need?", yes):
        return NO
    report = Report(as_json, dry_run)
    with place.open() as queue:
        for job_id in job_ids:
            try:
                doomed = _doomed(queue, job_id)
                if dry_run:
                    report.done(job_id, f"would be deleted: {doomed} records")
                else:
                    report.done(job_id, f"deleted: {queue.delete_job(job_id)} records")
            except (NotExist, NotPending) as error:
                report.no(job_id, _reason(error, job_id))
    return report.end()


def _doomed(queue: JobQueue, root: UUID) -> int:
    """How many records go with a root. Raises NotPending if one of them is still needed, or has not ended."""
    gone: set[UUID] = set()
    todo = [root]
    while todo:
        job_id = todo.pop()
        try:
            status = queue.status(job_id)
        except NotExist:
            if job_id == root:
                raise
            continue
        if not gone.issuperset(status.dependents):
            if job_id == root:
                raise NotPending(root, detail="other jobs depend on it")
            continue  # looked at again with its last dependent, if that goes as well
        if not status.state.is_finished:
            which = "it" if job_id == root else f"its dependency {job_id}"
            raise NotPending(root, detail=f"{which} has not ended ({status.state})")
        gone.add(job_id)
        if len(gone) > MOST_DISCARDED:
            raise NotPending(root, detail=f"more than {MOST_DISCARDED} records would go with it")
        todo += [dep for dep in status.depends_on if dep not in gone]
    return len(gone)


@click.command(cls=Command)
@click.argument("job_ids", type=as_job_id, nargs=-1, required=True, metavar="ID...")
@json_option
@click.pass_obj
def requeue(place: Place, job_ids: tuple[UUID, ...], as_json: bool) -> int:
    """Give leased jobs back to their queues. For workers that hang: whoever held them can settle them no more."""
    report = Report(as_json)
    with place.open() as queue:
        for job_id in job_ids:
            try:
                if queue.status(job_id).state is JobState.RUNNING:
                    report.no(job_id, "it was acked, and only its outcome is owed: it is never handed out again")
                elif queue.requeue_or_finish(job_id, FOR_EVER):
                    report.done(job_id, "given back")
                else:
                    report.no(job_id, "its attempts were used up: it is dead now")
            except (NotExist, NotRunning, LeaseLost) as error:
                report.no(job_id, _reason(error, job_id))
    return report.end()


COMMANDS = (cancel, retry, discard, requeue)
