"""A worker process: `python -m kombu_depqueue.demo.worker`, told by its standard input what to do.

The first line is JSON with `url`, `name`, `lease` (seconds) and `threads`: not on the command line, where all
users of the machine could read a password. The end of the input is the end of whoever started this process,
be it by `kill -9`: then the worker stops too.
"""

from __future__ import annotations

import json
import sys
import threading
import warnings

from kombu_depqueue import JobQueue, Worker
from kombu_depqueue.demo.graph import handlers_for

__all__ = ["main"]


def main() -> None:
    """Run jobs until SIGTERM or the end of the standard input."""
    warnings.simplefilter("ignore")  # what the parser thinks of other people's backslashes
    told = json.loads(sys.stdin.readline())
    with JobQueue(told["url"], name=told["name"], lease=told["lease"], create=False) as queue:
        worker = Worker(queue, handlers_for(queue, told["name"]), threads=told["threads"])

        def watch() -> None:
            sys.stdin.read()
            worker.stop()

        threading.Thread(target=watch, daemon=True).start()
        worker.run()


if __name__ == "__main__":
    main()
