"""The run from start to verdict: `python -m kombu_depqueue.demo`."""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from kombu_depqueue import DepQueueError, JobQueue, JobStatus
from kombu_depqueue.demo.graph import build
from kombu_depqueue.demo.measure import modules_of_the_standard_library
from kombu_depqueue.demo.place import Place, open_place
from kombu_depqueue.demo.processes import LEASE, Workers
from kombu_depqueue.demo.run import DemoError, Run
from kombu_depqueue.demo.screen import Screen

__all__ = ["main"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; 0 if every job succeeded and the totals agree."""
    options = _parser().parse_args(arguments)
    warnings.simplefilter("ignore", SyntaxWarning)  # of the modules that are parsed
    warnings.simplefilter("ignore", DeprecationWarning)
    before = {number: signal.getsignal(number) for number in _ENDING}
    _handle_signals(_stop)
    screen = Screen()
    try:
        with open_place(options.database, keep=options.keep) as place:
            verdict = _run(place, options.workers, screen)
            if options.keep:
                screen.say(f"kept: {place}; logs of the workers in {place.directory}")
            return verdict
    except (DepQueueError, DemoError) as error:
        screen.say(f"FAILED: {error}", strong=True)
        return 1
    except KeyboardInterrupt:
        screen.say("interrupted; everything is cleared away")
        return 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kombu_depqueue.demo",
        description="Measure the Python standard library with a graph of jobs, worker processes and a kill -9.",
    )
    parser.add_argument("--workers", type=_count, default=3, metavar="N", help="worker processes (default 3)")
    parser.add_argument("--database", metavar="URL", help="use this database (default: a temporary SQLite file)")
    parser.add_argument("--keep", action="store_true", help="keep the jobs and the workers' logs afterwards")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 64:
        raise argparse.ArgumentTypeError("between 1 and 64, please")
    return number


def _handle_signals(handler: signal.Handlers | Callable[[int, FrameType | None], None]) -> None:
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave through all `with` blocks; the clearing away takes seconds and is not to be interrupted."""
    _handle_signals(signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(place: Place, workers: int, screen: Screen) -> int:
    modules = modules_of_the_standard_library()
    if not modules:
        raise DemoError("the standard library is not there as source")
    graph = build(modules)
    with (
        JobQueue(place.url, name="demo", lease=LEASE, create=True) as queue,
        Workers(place.url, place.directory) as crew,
    ):
        screen.say(f"{workers} worker process{'es' * (workers > 1)} on {place}")
        for _ in range(workers):
            crew.start()
        began = time.monotonic()
        queue.enqueue_many(graph.jobs)
        screen.say(
            f"{len(graph.jobs)} jobs with {graph.edges} dependencies enqueued in one transaction: "
            f"{time.monotonic() - began:.2f} s"
        )
        run = Run(queue, graph, crew, screen, began=began)
        run.watch()
        took = time.monotonic() - began
        statuses = run.statuses()
        _print_report(screen, next(s for s in statuses if s.job_id == graph.report))
        screen.say(f"\n{len(graph.jobs)} jobs in {took:.1f} s, {len(graph.jobs) / took:.0f} per second")
        faults = run.faults(statuses, modules)
    redelivered = sum(s.attempt > 1 for s in statuses)
    screen.say(f"redelivered: {redelivered} jobs, {len(run.returned)} of them held by the killed worker")
    for fault in faults[:20]:
        screen.say(f"WRONG: {fault}")
    good = "every job succeeded exactly once, and the totals agree"
    screen.say("FAILED" if faults else f"OK: {good}", strong=True)
    return 1 if faults else 0


def _print_report(screen: Screen, status: JobStatus) -> None:
    report: dict[str, Any] | None = status.result
    if report is None:
        screen.say(f"there is no report: it is {status.state}, {status.reason}")
        return
    screen.say(f"\nThe standard library of Python {platform.python_version()}", strong=True)
    columns = ("modules", "lines", "functions", "classes", "branches")
    screen.say(f"{'package':<24}" + "".join(f"{c:>11}" for c in columns))
    packages = sorted(report["packages"], key=lambda p: (-p["counts"]["lines"], p["name"]))
    for package in [*packages[:8], {"name": f"all {len(packages)} packages", "counts": report["counts"]}]:
        numbers = "".join(f"{package['counts'][c]:>11,}" for c in columns)
        screen.say(f"{package['name']:<24}{numbers}")
    screen.say(f"\n{'most complex functions':<46} line  complexity")
    for complexity, name, line in report["complex"][:6]:
        screen.say(f"{name:<46}{line:>5}{complexity:>12}")
    shares = ", ".join(f"{name} {count}" for name, count in report["workers"].items())
    screen.say(f"\nmodules measured by {shares}")


if __name__ == "__main__":
    sys.exit(main())
