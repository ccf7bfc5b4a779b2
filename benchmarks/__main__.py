"""Measure this library beside the queues and brokers that a user would pick instead: `python -m benchmarks`.

    python -m benchmarks                   the whole comparison, under 20 minutes
    python -m benchmarks --quick           the chief groups, about two minutes
    python -m benchmarks celery-drain ...  only these groups (--list names them)
    python -m benchmarks --long            hours: an old snapshot for three minutes, every broker with every pool
    python -m benchmarks --render          tables and plots anew from results.json, with nothing measured

Writes results.json, results.md and plots (SVG) to `--output`. `docs/benchmarks.md` says how to read them.

PostgreSQL is the server of the tests (`DEPQUEUE_TEST_POSTGRESQL`, see `kombu_depqueue.testing.servers`), or a private
one if that one is not durable or runs without autovacuum. Everything lives in schemas, databases and files made for it
and removed afterwards, in a Redis started for it, and in queues of RabbitMQ with names of their own; nothing that was
there before is read or touched.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this one

import report
from catalogue import GROUPS, LONG, QUICK, about
from measure import Others, Row, listed
from report import Report
from scene import Scene
from server import ServerMissing, durable_postgresql, process_of, settings_of

OUTPUT = Path(".benchmarks")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; 1 if a group failed, 130 if it was interrupted."""
    given = _arguments(arguments)
    if given.list:
        for name in GROUPS:
            print(f"{name:15} {about(name)}")
        return 0
    if given.render:
        return _render(given)
    result = Report.begun(given.size)
    with ExitStack() as stack:
        stack.enter_context(_terminable())
        try:
            _measure_all(given, result, stack)
        except KeyboardInterrupt:
            result.interrupted = True
            print("\ninterrupted: what was measured until now is kept", file=sys.stderr)
    result.end()
    if result.rows:
        report.write(result, given.output, given.into)
        print(report.markdown(result))
        print(f"written to {given.output}/", file=sys.stderr)
    for name, why in result.failed.items():
        print(f"{name} failed: {why}", file=sys.stderr)
    return 130 if result.interrupted else int(bool(result.failed))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="group", help="measure only these (default: all)")
    parser.add_argument("--list", action="store_true", help="name the groups")
    size = parser.add_mutually_exclusive_group()
    for name, what in (("quick", "fewer rounds and rows"), ("long", "more of them"), ("smoke", "hardly any: a test")):
        size.add_argument(f"--{name}", dest="size", action="store_const", const=name, help=what)
    parser.add_argument("--databases", default="postgresql,sqlite", help="with a comma between (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=15.0, help="seconds to wait for a quiet machine")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the results (default: %(default)s)")
    parser.add_argument("--into", type=Path, action="append", default=[], help="a page whose short table is replaced")
    parser.add_argument("--render", action="store_true", help="write tables and plots anew from results.json")
    parser.set_defaults(size="usual")
    given = parser.parse_args(arguments)
    given.databases = given.databases.split(",")
    unknown = [n for n in given.names if n not in GROUPS]
    unknown += [d for d in given.databases if d not in ("postgresql", "sqlite")]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)} (groups: {', '.join(GROUPS)})")
    for page in given.into:
        if not report.has_marks(page):
            parser.error(f"{page} has no lines {' and '.join(report.MARKS)}")
    return given


def _render(given: argparse.Namespace) -> int:
    try:
        result = Report.read(given.output)
    except (OSError, ValueError, TypeError, KeyError) as error:
        print(f"no results to render in {given.output}: {error}", file=sys.stderr)
        return 2
    report.write(result, given.output, given.into)
    print(f"written to {given.output}/", file=sys.stderr)
    return 0


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM clear up as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before: Any = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _measure_all(given: argparse.Namespace, result: Report, stack: ExitStack) -> None:
    server, databases = None, given.databases
    if "postgresql" in databases:
        try:
            server = stack.enter_context(durable_postgresql())
        except ServerMissing as missing:
            result.left_out["PostgreSQL"] = str(missing)
            print(f"PostgreSQL is left out: {missing}", file=sys.stderr)
            databases.remove("postgresql")
    if server is not None:
        facts = settings_of(server)
        result.machine["PostgreSQL"] = f"{facts.pop('server_version')}, " + ", ".join(
            f"{k}={v}" for k, v in facts.items()
        )
    print("\n".join(f"{name}: {fact}" for name, fact in result.machine.items()), file=sys.stderr)
    others = Others(None if server is None else process_of(server), repeats=given.size == "long")
    scene = Scene(databases, server, given.size, others, result.left_out, result.settings)
    usual = [name for name in GROUPS if name not in LONG or given.size == "long"]
    for name in given.names or (QUICK if given.size == "quick" else usual):
        _measure(name, GROUPS[name], scene, given.patience, result)


def _measure(name: str, group: Callable[[Scene], Iterator[Row]], scene: Scene, patience: float, result: Report) -> None:
    if scene.size in ("usual", "long"):
        scene.others.quiet(patience)
    print(f"{name} ...", end=" ", flush=True, file=sys.stderr)
    before, started = scene.others.seconds(), time.monotonic()
    rows: list[Row] = []
    try:
        for row in group(scene):
            row.group = name
            rows.append(row)
    except Exception as error:  # the others are still worth measuring
        result.failed[name] = f"{type(error).__name__}: {error}"
    finally:
        result.rows += rows
    busy = max(0.0, scene.others.seconds() - before) / (time.monotonic() - started)
    for row in rows:
        row.busy = busy if row.busy is None else row.busy
    result.seconds[name] = round(time.monotonic() - started, 1)
    print(f"{result.seconds[name]:.0f} s\n{listed(rows)}\n", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
