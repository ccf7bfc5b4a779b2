"""What is SQLite's alone."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from kombu_depqueue import StorageError
from kombu_depqueue.testing.fixtures import MakeQueue

pytestmark = pytest.mark.only("sqlite")


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL])
def test_a_commit_that_fails_leaves_no_transaction_open(
    code: int, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite leaves it open, and the connection could never begin another one."""
    queue = make_queue(pool_size=1)
    dialect = queue._database.dialect
    commit = dialect.commit

    def fail_once(cursor: Any) -> None:
        monkeypatch.setattr(dialect, "commit", commit)
        error = sqlite3.OperationalError("it cannot be committed")
        error.sqlite_errorcode = code
        raise error

    queue.enqueue("t")
    monkeypatch.setattr(dialect, "commit", fail_once)
    if code == sqlite3.SQLITE_FULL:
        with pytest.raises(StorageError) as caught:
            queue.pause("t")
        assert not caught.value.maybe_committed
    queue.pause("t")
    assert [info.paused for info in queue.queues() if info.name == "t"] == [True]
