"""Commands about the tables themselves: their version, and who may do what with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from kombu_depqueue.cli.base import NO, Command, Place, Refused, agreed, dry_run_option, json_option, yes_option
from kombu_depqueue.cli.output import document, note

if TYPE_CHECKING:
    from kombu_depqueue.migrating import Step
    from kombu_depqueue.versions import Facts

__all__ = ["COMMANDS"]


@click.command(cls=Command)
@click.option("--to", type=int, metavar="N", help="The schema version (default: this library's).")
@click.option("--check", is_flag=True, help="Only say whether anything is to be done: exit code 1 if so.")
@click.option("--sql", is_flag=True, help="Only print the statements.")
@click.option(
    "--patience",
    type=click.FloatRange(1, 86_400),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to try for locks.",
)
@dry_run_option
@yes_option
@json_option
@click.pass_obj
def migrate(
    place: Place, to: int | None, check: bool, sql: bool, patience: float, dry_run: bool, yes: bool, as_json: bool
) -> int:
    """Bring the tables to the schema version of this library, or to another.

    Workers and publishers go on meanwhile. A migration that was cut off is continued. Back to an older version: asks,
    since what only the newer one knows is lost.
    """
    from kombu_depqueue.migrating import Migrator  # not for --help, nor for the shell's completion
    from kombu_depqueue.schema import SCHEMA_VERSION

    to = SCHEMA_VERSION if to is None else to
    if check + sql + dry_run > 1:
        raise Refused("only one of --check, --sql and --dry-run makes sense")
    with Migrator(place.url, **place.checked()) as migrator:
        before = migrator.facts()
        plan = migrator.plan(to)
        if sql:
            return _print_sql(list(migrator.texts(plan)), as_json)
        look_only = check or dry_run
        back = any(not step.up for step in plan)
        if back and not look_only and not agreed(f"Go back from schema version {before.version} to {to}?", yes):
            return NO
        quiet = look_only or as_json
        done = [] if look_only else migrator.run(to, patience=patience, say=(lambda line: None) if quiet else note)
        after = migrator.facts()
    left = plan if look_only else []
    if as_json:
        document(_facts(after) | {"to": to, "done": [str(s) for s in done], "left": [str(s) for s in left]})
    else:
        _say(place, after, left, done)
    return NO if check and left else 0


def _print_sql(texts: Sequence[str], as_json: bool) -> int:
    if as_json:
        document({"statements": texts})
    else:
        for text in texts:
            click.echo(text if text.startswith("--") else f"{text};")
    return 0


def _facts(facts: Facts) -> dict[str, object]:
    return {"version": facts.version, "libraries": [facts.oldest, facts.newest], "migrating": facts.migrating}


def _say(place: Place, facts: Facts, left: Sequence[Step], done: Sequence[Step]) -> None:
    half = ""
    if facts.migrating:
        half = f", and a migration between {facts.migrating - 1} and {facts.migrating} was begun and not ended"
    nothing = "" if left or done else ": nothing to be done"
    click.echo(f"{place.shown}: schema version {facts.version}{half}{nothing}")
    for step in left:
        click.echo(f"to be done: {step}")


@click.command(cls=Command)
@click.option("--publisher", metavar="ROLE", help="Enqueues; reads no payload.")
@click.option("--consumer", metavar="ROLE", help="Works: reserves and settles.")
@click.option("--operator", metavar="ROLE", help="Uses these commands.")
@click.option("--migrator", metavar="ROLE", help="Creates and changes the tables.")
@json_option
@click.pass_obj
def grants(place: Place, /, as_json: bool, **roles: str | None) -> int:
    """Print the statements that give roles of the database their rights.

    Nothing is executed: read them, and run them as the owner. ROLE is a role or user that exists; on MariaDB and MySQL
    a user is NAME@HOST.
    """
    from kombu_depqueue.dialects import dialect_for
    from kombu_depqueue.grants import statements
    from kombu_depqueue.settings import parse

    if not any(roles.values()):
        raise Refused("for whom? Say --publisher, --consumer, --operator or --migrator ROLE")
    dialect = dialect_for(parse(place.url, place.options))  # it connects to nothing here
    texts = [text for role, name in roles.items() if name is not None for text in statements(dialect, role, name)]
    return _print_sql(texts, as_json)


COMMANDS = (migrate, grants)
