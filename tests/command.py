"""The `depqueue` command in tests: in this process, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from kombu_depqueue.cli import main

__all__ = ["PROGRAM", "Cli", "Said", "run"]

PROGRAM = [sys.executable, "-m", "kombu_depqueue.cli"]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code in (0, 1, 3), self.err
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The only line on stderr."""
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.strip()


def run(*arguments: Any) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(a) for a in arguments])
    return Said(code, out.getvalue(), err.getvalue())


class Cli:
    """The command on this test's database."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *arguments: Any) -> Said:
        return run("--url", self.url, *arguments)

    def start(self, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
        command = [*PROGRAM, "--url", self.url, *map(str, arguments)]
        piped: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, **{**piped, **options})

    def process(self, *arguments: Any, **options: Any) -> Said:
        with self.start(*arguments, **options) as started:
            out, err = started.communicate(timeout=60)
        return Said(started.returncode, out, err)
