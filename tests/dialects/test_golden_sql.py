"""Each statement, compiled for each database, is what its file in tests/sql says.

`pytest tests/dialects/test_golden_sql.py --update-golden` writes the files anew;
what a change does to the SQL then shows in the diff. Nothing connects here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kombu_depqueue.dialects import Dialect, dialect_for
from kombu_depqueue.settings import parse
from kombu_depqueue.sql import statement

GOLDEN = Path(__file__).parents[1] / "sql"
URLS = {"mysql": "mysql://u@h/d", "postgresql": "postgresql://u@h/d", "sqlite": "sqlite:///jobs.db"}
WIDTH = 100

_BREAKS = re.compile(r"(?<=,) | (?=(?:AND|OR|UNION ALL|FROM|WHERE|ORDER BY|RETURNING|LIMIT|EXISTS) )")
"""Where a long line may be broken: never within a name, a parameter or a literal."""


@cache
def dialect_of(name: str) -> Dialect:
    return dialect_for(parse(URLS[name]))


def shared(dialect: Dialect) -> Iterator[tuple[str, str, str]]:
    """Name, purpose and text of the statements that all databases share."""
    for name in dir(type(dialect.sql)):
        made = getattr(type(dialect.sql), name)
        if isinstance(made, statement):
            yield name, made.__doc__ or "", getattr(dialect.sql, name).sql


def own(dialect: Dialect) -> Iterator[tuple[str, str, str]]:
    """The same of the texts that a database has instead."""
    texts: Any = getattr(dialect, "own", None)
    if texts is not None:
        for name, text in texts.items():
            yield f"own_{name}", "", text


class _Recorder:
    """A connection that notes what would be executed on it."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def execute(self, text: str, parameters: object = None) -> _Recorder:
        self.texts.append(text.strip())
        return self

    def cursor(self) -> _Recorder:
        return self

    def fetchone(self) -> tuple[None]:
        return (None,)


def schema(dialect: Dialect) -> tuple[str, str, str]:
    """All that `create_tables` executes."""
    recorder = _Recorder()
    dialect.create_tables(recorder)
    tidy = (re.sub(r"\s+\n", "\n", text.replace("\t", "  ")) for text in recorder.texts)
    return "create_tables", "The tables and indexes.", ";\n\n".join(tidy)


@cache
def golden_texts(name: str) -> dict[str, str]:
    """What the files of one database should hold."""
    dialect = dialect_of(name)
    found = [*shared(dialect), *own(dialect), schema(dialect)]
    return {file: formatted(purpose, text) for file, purpose, text in found}


def formatted(purpose: str, text: str) -> str:
    """One statement, with its purpose as a comment and no line much longer than others.

    Only white space differs from what is executed.
    """
    head = f"-- {purpose}\n" if purpose else ""
    return head + "\n".join(wrapped(line.rstrip()) for line in text.split("\n")) + "\n"


def wrapped(line: str) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    lines, current = [], ""
    for part in _BREAKS.split(line):
        if current and len(current) + 1 + len(part) > WIDTH:
            lines.append(current)
            current = f"{indent}    {part}"
        else:
            current = f"{current} {part}" if current else part
    return "\n".join([*lines, current])


CASES = [(dialect, name) for dialect in URLS for name in sorted(golden_texts(dialect))]


@pytest.mark.parametrize(("dialect", "name"), CASES)
def test_statement_is_as_its_file_says(dialect: str, name: str, pytestconfig: pytest.Config) -> None:
    file = GOLDEN / dialect / f"{name}.sql"
    text = golden_texts(dialect)[name]
    if pytestconfig.getoption("--update-golden"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert file.exists(), f"{file} is missing: write it with --update-golden"
    assert text == file.read_text(), f"{file} is stale: look at the change, then --update-golden"


@pytest.mark.parametrize("dialect", URLS)
def test_no_file_without_its_statement(dialect: str, pytestconfig: pytest.Config) -> None:
    extra = {file for file in GOLDEN.glob(f"{dialect}/**/*") if file.is_file()}
    extra -= {GOLDEN / dialect / f"{name}.sql" for name in golden_texts(dialect)}
    if pytestconfig.getoption("--update-golden"):
        for file in extra:
            file.unlink()
        extra = set()
    assert not extra, f"no statement is called so: {sorted(f.name for f in extra)}"


def test_every_database_has_its_files() -> None:
    assert {folder.name for folder in GOLDEN.iterdir()} == set(URLS)


@pytest.mark.parametrize("dialect", URLS)
def test_formatting_changes_white_space_only(dialect: str) -> None:
    for name, purpose, text in [*shared(dialect_of(dialect)), *own(dialect_of(dialect))]:
        shown = formatted(purpose, text).removeprefix(f"-- {purpose}\n")
        assert shown.split() == text.split(), name
