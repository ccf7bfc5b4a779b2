"""The same statements through `pgbench`: what the database can do when the client costs next to nothing.

The texts are the library's own, with its parameters replaced by pgbench's variables or
by constants; job ids are made of a counter by an expression in the statement. pgbench cannot carry the order numbers of claimed jobs over to the ack, but
there they are known beforehand: one client, an empty table, a sequence without gaps.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from server import binaries
from sqlalchemy import make_url

from kombu_depqueue import JobQueue
from kombu_depqueue.dialects.lean import tuned
from kombu_depqueue.dialects.postgresql import PostgreSQL
from kombu_depqueue.testing.fill import Filler

__all__ = ["PgBench"]

BODY = "null"
_KEPT = 3600
"""Seconds that the record of an ended job is kept: the library's default."""


class PgBench:
    """Scripts for one place, which must stay empty but for what they do."""

    def __init__(self, filler: Filler) -> None:
        self._filler = filler
        self._url = make_url(filler.place.engine_url)
        with JobQueue(filler.place.url) as queue:
            dialect = queue._database.dialect
            assert isinstance(dialect, PostgreSQL)
            self._own, self._add_job = dialect.own, dialect.sql.add_job.sql
        found = binaries()
        if found is None:
            raise FileNotFoundError("pgbench is not installed here")
        self._pgbench = found / "pgbench"

    # scripts

    def enqueue(self, batch: int) -> str:
        """What `enqueue` (1) or `enqueue_many` (more) sends."""
        common = {
            "queue_id": f"{self._filler.queue}",
            "rank": "255",
            "attempt": "0",
            "max_attempts": "0",
            "flags": "0",
            "run_at": "NULL",
            "expires_in": "NULL::float8",
        }
        count = f"\\set base :base + {batch}\n"
        if batch == 1:
            values = {**common, "job_id": _id(":base"), "envelope": "NULL", "body": f"'{BODY}'"}
            return f"{count}{_filled(self._add_job, {f'p_{k}': v for k, v in values.items()})};\n"
        ids = f"ARRAY(SELECT {_id(':base + n')}::uuid FROM generate_series(1, {batch}) AS s(n))"
        values = {**common, "queues": ":queues", "ranks": ":ranks"}
        values |= {"ids": ids, "envelope": ":envelopes", "body": ":bodies"}
        return f"{count}{_filled(self._own['add_jobs'], values)};\n"

    def drain(self, batch: int) -> str:
        """What `reserve_many` and `ack_many` send; for one job `reserve` and `ack`."""
        claim = {
            "consumer": "7::bigint",
            "token": "8::bigint",
            "limit": f"{batch}",
            "queues": f"'{{{self._filler.queue}}}'",
        }
        key = {"queue": f"{self._filler.queue}", "rank": "255", "seq": ":seq::bigint", "token": "8::bigint"}
        ack = {
            "held_queues": ":queues",
            "held_ranks": ":ranks",
            "held_seqs": f"ARRAY(SELECT generate_series(:seq::bigint, :seq::bigint + {batch - 1}))",
            "held_tokens": ":tokens",
            "keep": str(_KEPT),
        }
        ack_text = (
            _filled(self._own["ack_one"], {**key, "result": "NULL", "meta": "NULL", "keep": str(_KEPT)})
            if batch == 1
            else _filled(self._own["ack_many"], ack)
        )
        claim_text = _filled(self._own["claim"], claim)
        return f"{claim_text};\n{ack_text};\n\\set seq :seq + {batch}\n"

    # running

    def _variables(self, script: str, first: int) -> dict[str, object]:
        """What differs from job to job is sent each time, as the library sends it; the rest is in the text."""
        batch = int(re.search(r"\+ (\d+)\n", script)[1])  # type: ignore[index]
        arrays = {"envelopes": ["NULL"] * batch, "bodies": [f'"{BODY}"'] * batch, "tokens": [8] * batch}
        arrays |= {"queues": [self._filler.queue] * batch, "ranks": [255] * batch}
        used = {name: _array(values) for name, values in arrays.items() if f":{name}" in script}
        return {"base": 0, "seq": first, **used}

    def run(self, script: str, times: int) -> float:
        """Run a script so many times and return the seconds it took, without the connecting."""
        first = self._filler.rows(f"SELECT min(seq) FROM {self._filler.table('job')}")[0][0] or 0
        environment = {
            **os.environ,
            "PGOPTIONS": tuned({}, 60.0)["options"],
            "PGPASSWORD": self._url.password or "",
            "PGHOST": self._url.host or "",
            "PGPORT": str(self._url.port or 5432),
            "PGUSER": self._url.username or "",
        }
        with TemporaryDirectory() as directory:
            file = Path(directory) / "script.sql"
            file.write_text(script)
            command = [self._pgbench, "-n", "-M", "prepared", "-t", str(times), "-f", file]
            for name, value in self._variables(script, first).items():
                command += ["-D", f"{name}={value}"]
            command.append(self._url.database or "postgres")
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        found = re.search(r"tps = ([\d.]+)", done.stdout)
        if done.returncode or found is None:
            raise RuntimeError(f"pgbench: {done.stderr.strip()[-2000:]} {done.stdout[-500:]}")
        return times / float(found[1])


def _filled(statement: str, values: Mapping[str, Any]) -> str:
    """Replace psycopg's parameters."""
    return _one_line(re.sub(r"%\((\w+)\)s", lambda m: values[m[1]], statement).replace("%%", "%"))


def _one_line(statement: str) -> str:
    return " ".join(statement.split())


def _id(number: str) -> str:
    return f"('00000000-0000-7000-8000-' || lpad(to_hex(({number})::bigint), 12, '0'))"


def _array(values: Sequence[object]) -> str:
    return "{" + ",".join(map(str, values)) + "}"
