"""Progress: drawn in place on a terminal, in plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

__all__ = ["Bar", "Screen"]

WIDTH = 30
"""Characters of a bar."""
PLAIN_PAUSE = 1.0
"""Seconds between two plain lines of progress."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of progress."""

    label: str
    done: int
    total: int
    note: str = ""


class Screen:
    """Lines that stay (`say`) above bars that move (`show`)."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._live = self._out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._color = self._live and not os.environ.get("NO_COLOR")
        utf8 = (self._out.encoding or "").lower().replace("-", "") == "utf8"
        self._full, self._empty = ("█", "░") if utf8 else ("#", ".")
        self._drawn = 0
        self._next_plain = 0.0
        self._last_plain = ""

    def say(self, line: str = "", *, strong: bool = False) -> None:
        """Print a line that stays."""
        self.clear()
        print(f"\x1b[1m{line}\x1b[0m" if strong and self._color else line, file=self._out, flush=True)

    def show(self, bars: Sequence[Bar], *, final: bool = False) -> None:
        """Draw the bars over the ones before; on no terminal, print a line now and then."""
        if self._live:
            self._draw([self._line(bar) for bar in bars])
            if final:
                self._drawn = 0
            return
        line = "  ".join(f"{b.label} {b.done}/{b.total}" + (f" ({b.note})" if b.note else "") for b in bars)
        if line != self._last_plain and (final or time.monotonic() >= self._next_plain):
            self._next_plain, self._last_plain = time.monotonic() + PLAIN_PAUSE, line
            print(line, file=self._out, flush=True)

    def clear(self) -> None:
        """Take the bars away."""
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}A\r\x1b[J")
            self._drawn = 0

    def _line(self, bar: Bar) -> str:
        full = WIDTH * bar.done // max(1, bar.total)
        drawn = self._full * full + self._empty * (WIDTH - full)
        counted = f"{bar.done}/{bar.total}"
        line = f"{bar.label:<9} {drawn} {counted:>9}  {bar.note}"
        columns = shutil.get_terminal_size().columns
        line = line[: columns - 1]
        if self._color and len(line) > 10 + WIDTH:
            color = "32" if bar.done >= bar.total else "36"
            return f"{line[:10]}\x1b[{color}m{line[10 : 10 + WIDTH]}\x1b[0m{line[10 + WIDTH :]}"
        return line

    def _draw(self, lines: Sequence[str]) -> None:
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        # One write: no half-drawn picture can be seen.
        self._out.write(up + "".join(f"\r\x1b[2K{line}\n" for line in lines))
        self._out.flush()
        self._drawn = len(lines)
