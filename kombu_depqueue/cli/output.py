"""Tables, fields and JSON documents: drawn by rich on a terminal, plain text elsewhere."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import click

__all__ = ["age", "clean", "count", "document", "fields", "moment", "note", "plain", "short", "table"]

PIECE = 8000

COUNTED = 10_000
"""Counts beyond this are not exact."""


def clean(text: str) -> str:
    """Text as a terminal may have it: what came from a job must neither move its cursor nor begin a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def count(number: int) -> str:
    """A bounded count."""
    return f">{COUNTED}" if number > COUNTED else str(number)


def age(seconds: float | None) -> str:
    """A duration in its two biggest units."""
    if seconds is None:
        return ""
    left = int(seconds)
    parts: list[str] = []
    for name, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size or (name == "s" and not parts):
            parts.append(f"{left // size}{name}")
            left %= size
    return " ".join(parts[:2])


def moment(time: datetime | None) -> str:
    """A time, UTC."""
    return "" if time is None else time.strftime("%Y-%m-%d %H:%M:%SZ")


def plain(value: Any) -> Any:
    """What JSON has no word for: dataclasses, times, ids and bytes (base64)."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not known here")


def document(value: Any, *, indent: int | None = 2) -> None:
    """Print one JSON document."""
    text = json.dumps(value, default=plain, indent=indent)
    # In pieces: of one big write Python loses the error when the pipe is closed midway (seen with 2 MB, 3.11).
    for start in range(0, len(text), PIECE):
        click.echo(text[start : start + PIECE], nl=start + PIECE >= len(text))


def note(line: str) -> None:
    """Say something that is no data: on stderr."""
    click.echo(clean(line), err=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()) -> None:
    """Print a table; the columns named in `numbers` are aligned to the right."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    if not (sys.stdout.isatty() and _rich_table(headings, cleaned, numbers)):
        for line in _plain_table(headings, cleaned, numbers):
            click.echo(line)


def _plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        cells = zip(headings, row, widths, strict=True)
        yield "  ".join(c.rjust(w) if h in numbers else c.ljust(w) for h, c, w in cells).rstrip()


def _rich_table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ModuleNotFoundError:
        return False
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    shown = [n for n in range(len(headings)) if not rows or any(row[n] for row in rows)]
    for n in shown:
        side: Any = "right" if headings[n] in numbers else "left"
        drawn.add_column(headings[n], justify=side, no_wrap=True)
    for row in rows:
        drawn.add_row(*(Text(row[n]) for n in shown))
    # As wide as it must be: an id that is cut off is of no use, and the terminal breaks lines by itself.
    needed = sum(2 + max(len(headings[n]), *(len(row[n]) for row in rows), 0) for n in shown)
    Console(width=max(needed, Console().width), soft_wrap=True).print(drawn)
    return True


def short(text: str, most: int = 100) -> str:
    """The beginning of a text."""
    return text if len(text) <= most else text[: most - 3] + "..."


def fields(pairs: Sequence[tuple[str, str]]) -> None:
    """Print what is known of one thing, a line each; what is empty is left out."""
    shown = [(name, clean(text)) for name, text in pairs if text]
    width = max((len(name) for name, _ in shown), default=0)
    for name, text in shown:
        click.echo(f"{name.ljust(width)}  {text}")
