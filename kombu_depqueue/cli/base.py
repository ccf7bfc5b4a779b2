"""Where the database is, options that all commands have, and how errors end a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click

from kombu_depqueue.cli.output import clean
from kombu_depqueue.errors import DepQueueError, InvalidJob, SchemaError, StorageError

if TYPE_CHECKING:
    from kombu_depqueue.queue import JobQueue

__all__ = [
    "NO",
    "Command",
    "Group",
    "Interrupted",
    "No",
    "PipeClosed",
    "Place",
    "Refused",
    "agreed",
    "code_of",
    "dry_run_option",
    "job_id",
    "json_option",
    "place_options",
    "yes_option",
]

F = TypeVar("F", bound=Callable[..., Any])

NO, USAGE, UNREACHABLE = 1, 2, 3
"""Exit codes: the answer is no; wrong usage or input; no database, or no tables in it."""


class Refused(click.ClickException):
    """Wrong usage or input, said in one line on stderr."""

    exit_code = USAGE

    def show(self, file: Any = None) -> None:
        """Say it as all other errors are said."""
        click.echo(f"depqueue: {clean(self.message)}", err=True)


class No(Refused):
    """The answer is no."""

    exit_code = NO


class Interrupted(Exception):
    """Ctrl-C."""


class PipeClosed(Exception):
    """Whoever read our output has enough of it."""


def code_of(error: DepQueueError) -> int:
    """The exit code for an error."""
    if isinstance(error, InvalidJob):
        return USAGE
    return UNREACHABLE if isinstance(error, (StorageError, SchemaError)) else NO


class Place:
    """The database that a command works on: its URL and options as they were given."""

    def __init__(self) -> None:
        self.url = "depqueue://"
        self.options: dict[str, str] = {}
        self._shown = ""

    def open(self, *, create: bool = False) -> JobQueue:
        """Open it, and create what is missing only if asked to: a mistyped path must not become a new database."""
        from kombu_depqueue.queue import JobQueue  # not for --help, nor for the shell's completion

        options = self.checked(create=create)
        return JobQueue(self.url, **options)

    def checked(self, *, create: bool = False) -> dict[str, Any]:
        """The options with which it is opened."""
        from kombu_depqueue.settings import parse, shown_url

        settings = parse(self.url, self.options)
        self._shown = shown_url(settings.url)
        create = create or bool(settings.create)
        file = settings.url.database
        is_file = settings.url.get_backend_name() == "sqlite" and "uri" not in settings.url.query
        if is_file and file and file != ":memory:" and not create and not os.path.exists(file):
            raise SchemaError("there is no such file: `depqueue init` makes it", found=None, wanted=())
        return {**self.options, "create": create}

    def said(self, error: DepQueueError) -> str:
        """An error in one line: with the database, if that is what it is about."""
        text = clean(str(error))
        return f"{self._shown}: {text}" if isinstance(error, (StorageError, SchemaError)) else text

    @property
    def shown(self) -> str:
        """The URL without its password, once it was opened."""
        return self._shown


class Group(click.Group):
    """All commands; what ends them other than an error is kept from click, which would end the process."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None
        except BrokenPipeError:
            raise PipeClosed from None


class Command(click.Command):
    """A command that takes the place's options too: before its name or behind it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params += _place_params()


def _place_params(envvar: str | None = None) -> list[click.Parameter]:
    url = click.Option(
        ["--url"],
        metavar="URL",
        envvar=envvar,
        expose_value=False,
        callback=_take_url,
        help="The database (default: DEPQUEUE_URL in the environment, else the SQLite file depqueue.db).",
    )
    option = click.Option(
        ["-o", "--option"],
        metavar="NAME=VALUE",
        multiple=True,
        expose_value=False,
        callback=_take_options,
        help="An option of the JobQueue, as schema=jobs or deadline=5; may be repeated.",
    )
    return [url, option]


def place_options(envvar: str) -> Callable[[F], F]:
    """The same for the group."""

    def decorate(function: F) -> F:
        params: list[click.Parameter] = getattr(function, "__click_params__", [])
        function.__click_params__ = [*params, *reversed(_place_params(envvar))]  # type: ignore[attr-defined]
        return function

    return decorate


def _take_url(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        ctx.ensure_object(Place).url = value


def _take_options(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> None:
    for text in values:
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise Refused(f"-o {text}: NAME=VALUE is wanted")
        ctx.ensure_object(Place).options[name] = value


def job_id(text: str | UUID) -> UUID:
    """Read a job id."""
    try:
        return text if isinstance(text, UUID) else UUID(text)
    except ValueError:
        raise Refused(f"{text!r} is no job id (a UUID is wanted)") from None


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


def agreed(question: str, yes: bool) -> bool:
    """Whether it may be done. Where nobody can be asked, only `--yes` will do."""
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise Refused(f"{question} Nobody can be asked here: say --yes, or look with --dry-run")
    if click.confirm(clean(question), err=True):
        return True
    click.echo("nothing was changed", err=True)
    return False
