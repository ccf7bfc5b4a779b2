"""From the processes that run tasks to the one that consumes: outcomes, told in the batches of its acks.

Celery's prefork pool runs tasks in child processes. Told from there, each outcome would be a
transaction of its own, and wait for the disk. Whatever fits into one atomic write (and most
outcomes do) goes through a pipe instead; the rest is told at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
from typing import NamedTuple
from uuid import UUID

from kombu_depqueue.dialects.steps import Ending, Key

__all__ = ["Pipe", "Told"]

_SIZE = struct.Struct("!I")


class Told(NamedTuple):
    """An outcome, and of what."""

    key: Key
    job_id: UUID
    ending: Ending


class Pipe:
    """Made before the children are forked; they write, their parent reads."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._rest = b""
        self._closed = False

    @property
    def fileno(self) -> int:
        """Readable when something was told."""
        return self._read

    @property
    def is_childs(self) -> bool:
        """Whether this process may write."""
        return self._pid != os.getpid() and not self._closed

    def send(self, told: Told) -> bool:
        """Tell the parent; False: it must be told otherwise."""
        key, job_id, ending = told
        if ending.letter is not None or os.getppid() != self._pid:  # nobody reads any more
            return False
        text = [None if part is None else part.decode() for part in (ending.result, ending.meta)]
        data = json.dumps([*key, job_id.hex, ending.status, ending.reason, *text, ending.keep]).encode()
        if len(data) + _SIZE.size > select.PIPE_BUF:
            return False
        try:
            os.write(self._write, _SIZE.pack(len(data)) + data)
        except OSError:  # it is full
            return False
        return True

    def receive(self) -> list[Told]:
        """What was told since."""
        if self._closed:
            return []
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._read, 1 << 16):
                self._rest += part
        found = []
        while len(self._rest) >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._rest)
            if len(self._rest) < _SIZE.size + size:
                break
            found.append(_told(self._rest[_SIZE.size : _SIZE.size + size]))
            self._rest = self._rest[_SIZE.size + size :]
        return found

    def close(self) -> None:
        """Read no more; no child that writes is left."""
        if not self._closed:
            self._closed = True
            os.close(self._read)
            os.close(self._write)


def _told(data: bytes) -> Told:
    queue, rank, seq, token, job_id, status, reason, result, meta, keep = json.loads(data)
    encoded = [None if part is None else part.encode() for part in (result, meta)]
    return Told(Key(queue, rank, seq, token), UUID(job_id), Ending(status, reason, encoded[0], keep, None, encoded[1]))
