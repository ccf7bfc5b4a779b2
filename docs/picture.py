"""Draws docs/depqueue.svg, the picture in README, from what the command really prints: `python docs/picture.py`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from kombu_depqueue import JobQueue
from kombu_depqueue.cli import main

FILE = Path(__file__).with_name("depqueue.svg")


class Terminal(io.StringIO):
    """What the command takes for a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def prepare(queue: JobQueue) -> str:
    """Enqueue a little of everything; returns the id of a job that waits for two others."""
    for n in range(42):
        queue.enqueue("mail", n)
    for _ in range(3):
        queue.reserve(0, queues=["mail"])
    queue.reserve(0, queues=["mail"]).reject()
    queue.enqueue("report", delay=3600)
    queue.pause("report")
    resize, scan = queue.enqueue("resize", 1), queue.enqueue("scan", 1)
    queue.reserve(0, queues=["scan"])
    publish = queue.enqueue("publish", depends_on=[resize, scan])
    queue.enqueue("index", depends_on=[publish])
    return str(publish)


def drawn() -> str:
    """The picture as SVG."""
    os.environ |= {"COLUMNS": "112", "TERM": "xterm-256color", "DEPQUEUE_URL": "sqlite:///jobs.db"}
    console = Console(record=True, width=112, file=io.StringIO())
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        JobQueue(os.environ["DEPQUEUE_URL"], name="worker-1") as queue,
    ):
        job_id = prepare(queue)
        for command in (["queues"], ["why", job_id], ["graph", job_id]):
            out = Terminal()
            with contextlib.redirect_stdout(out):
                main(command)
            console.print(Text.assemble(("$ ", "bold green"), ("depqueue " + " ".join(command), "bold")))
            console.print(Text.from_ansi(out.getvalue()))
    svg = console.export_svg(title="depqueue", unique_id="depqueue")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # nothing is fetched to see it


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    file.write_text(drawn(), encoding="utf-8")
