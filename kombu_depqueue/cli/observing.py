"""Commands that tell how the queue and its database are: for monitoring, and for whoever is called at night."""

from __future__ import annotations

import signal
import threading
from dataclasses import asdict
from types import FrameType

import click

from kombu_depqueue.cli.base import NO, Command, Place, Refused, json_option
from kombu_depqueue.cli.output import clean, document, fields, note
from kombu_depqueue.dialects import Severity

__all__ = ["COMMANDS"]

PORT = 9808
"""That of celery-exporter, whose names we have too."""


@click.command(cls=Command)
@click.option("--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, help="0: any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--once", is_flag=True, help="Print the metrics, and serve nothing.")
@json_option
@click.pass_obj
def metrics(place: Place, port: int, host: str, once: bool, as_json: bool) -> None:
    """Serve the metrics for Prometheus, until SIGTERM or Ctrl-C.

    One exporter sees all that is in the database. Each scrape is one bounded look. With --json one look is printed
    for other programs: all but the counters, which begin with the exporter.
    """
    if as_json:
        with place.open() as queue:
            seen = queue.figures()
        tables = [size._asdict() for size in seen.tables]
        names = ("queues", "consumers", "silence", "expired", "subscribed")
        document({name: getattr(seen, name) for name in names} | {"tables": tables})
        return
    try:
        from prometheus_client.exposition import generate_latest, start_wsgi_server

        from kombu_depqueue.prometheus import registry_of
    except ModuleNotFoundError as error:
        raise Refused(f"{error.name!r} is not installed: pip install kombu-depqueue[prometheus]") from None
    with place.open() as queue:
        queue.queues()  # what is wrong is told now, not to Prometheus
        registry = registry_of(queue)
        if once:
            click.echo(generate_latest(registry).decode(), nl=False)
            return
        try:
            server, thread = start_wsgi_server(port, host, registry)
        except OSError as error:
            raise Refused(f"cannot listen on {host}:{port}: {error.strerror}") from None
        try:
            note(f"serving http://{host}:{server.server_port}/metrics of {place.shown}")
            _await_end()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@click.command(cls=Command)
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings, too.")
@json_option
@click.pass_obj
def doctor(place: Place, strict: bool, as_json: bool) -> int:
    """Say what is wrong with the tables and their database.

    Durability, privileges, clocks, poolers, vacuum, tables that were changed, upkeep that nobody does: what was found,
    what it means, what to do. Exits with 1 if there is an error. Changes nothing.
    """
    with place.open() as queue:
        report = queue.examine()
    bad = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    code = NO if report.worst() in bad else 0
    if as_json:
        document({"healthy": code == 0, **asdict(report)})
        return code
    fields(
        [
            ("database", report.database),
            ("server", report.server),
            ("driver", report.driver),
            ("library", report.library),
        ]
    )
    for one in report.findings:
        click.echo(clean(f"{one.severity.upper()} {one.code}: {one.found}"))
        for line in filter(None, (one.means, one.cure)):
            click.echo(clean(f"  {line}"))
    if not report.findings:
        click.echo("nothing was found")
    return code


def _await_end() -> None:
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    before = signal.signal(signal.SIGTERM, end)
    try:
        ended.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


COMMANDS = (metrics, doctor)
