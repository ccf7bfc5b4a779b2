"""The `depqueue` command: what is in the queues, why a job does not run, and what operators do about it.

base.py       where the database is, options that all commands have, how errors end a command
output.py     tables, fields and JSON documents
reading.py    commands that only look
acting.py     commands that make and change queues
mending.py    commands that mend single jobs
observing.py  how the queue and its database are: metrics, doctor
measuring.py  bench
schema.py     commands about the tables themselves
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import click

from kombu_depqueue._version import __version__
from kombu_depqueue.cli import acting, measuring, mending, observing, reading, schema
from kombu_depqueue.cli.base import Group, Interrupted, PipeClosed, Place, code_of, place_options
from kombu_depqueue.errors import DepQueueError

__all__ = ["depqueue", "main"]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@place_options(envvar="DEPQUEUE_URL")
@click.version_option(__version__, prog_name="depqueue")
def depqueue() -> None:
    """Look after a job queue in a SQL database.

    Exit codes: 0 done; 1 the answer is no (no such job, refused, unhealthy); 2 wrong usage or input; 3 the
    database cannot be reached, or has no tables.
    """


for module in (reading, acting, mending, observing, measuring, schema):
    for command in module.COMMANDS:
        depqueue.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    place = Place()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may be in any script, the terminal in ASCII
    try:
        given = None if arguments is None else list(arguments)
        code = depqueue.main(given, prog_name="depqueue", obj=place, standalone_mode=False)
        sys.stdout.flush()
    except (PipeClosed, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python complains when it flushes at its end
        return 141
    except (Interrupted, click.exceptions.Abort):
        return _ended("interrupted", 130)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except DepQueueError as error:
        return _ended(place.said(error), code_of(error))
    return int(code or 0)


def _ended(line: str, code: int) -> int:
    click.echo(f"depqueue: {line}", err=True)
    return code
