"""The demonstration does what it shows, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect

from kombu_depqueue.demo.measure import measure
from kombu_depqueue.testing.fixtures import Database
from kombu_depqueue.testing.helpers import wait_until

# It computes for about 20 s on one core, and the machine may be busy with other tests.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COMMAND = [sys.executable, "-m", "kombu_depqueue.demo"]


def _environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(tmp_path)}


def _workers() -> dict[int, int]:
    """The worker processes of all demonstrations on this machine: pid -> who started it."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc to see processes in")
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if b"kombu_depqueue.demo.worker" in (process / "cmdline").read_bytes():
                found[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def _check_output(out: str) -> None:
    jobs = re.search(r"^(\d+) jobs with (\d+) dependencies enqueued in one transaction", out, re.MULTILINE)
    assert jobs is not None, out
    assert int(jobs[1]) > 500
    assert re.search(r"^ +[\d.]+ s  worker-\d killed with -9; it held [a-z_]", out, re.MULTILINE), out
    assert re.search(r"^ +[\d.]+ s  redelivered [\d.]+ s after the kill: \S+.*, attempt [2-9]$", out, re.MULTILINE)
    assert re.search(r"the delayed job, due after 3\.00 s, was handed out after ", out)
    assert re.search(r"^all \d+ packages +\d+ +[\d,]+ ", out, re.MULTILINE)
    assert re.search(r"^redelivered: [1-9]\d* jobs, [1-9]\d* of them held by the killed worker$", out, re.MULTILINE)
    assert out.rstrip().endswith("OK: every job succeeded exactly once, and the totals agree")
    assert "\x1b" not in out


def test_it_ends_well_on_sqlite(tmp_path: Path) -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, env=_environment(tmp_path), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    _check_output(done.stdout)
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_it_ends_well_in_a_given_database(database: Database, tmp_path: Path) -> None:
    if database.admin is None:
        pytest.skip("SQLite is its default")
    before = _leftovers(database.admin)
    url = database.admin.url.render_as_string(hide_password=False)
    command = [*COMMAND, "--database", url, "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(tmp_path), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    _check_output(done.stdout)
    assert _leftovers(database.admin) <= before


def _leftovers(admin: Engine) -> set[str]:
    """Schemas and tables of demonstrations."""
    found = inspect(admin)
    return {name for name in (*found.get_schema_names(), *found.get_table_names()) if name.startswith("demo_")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True, env=_environment(tmp_path)) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if re.search(r"^module [1-9]", line):
                break
        assert demo.pid in _workers().values()
        demo.send_signal(number)
        assert "interrupted" in demo.stdout.read()
    assert demo.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_killed_itself_its_workers_end(tmp_path: Path) -> None:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True, env=_environment(tmp_path)) as demo:
        assert demo.stdout is not None
        next(line for line in demo.stdout if re.search(r"^module [1-9]", line))
        pids = {pid for pid, starter in _workers().items() if starter == demo.pid}
        assert pids
        demo.kill()
    wait_until(lambda: not pids & _workers().keys(), timeout=60)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--workers", "0"], "between 1 and 64"),
        (["--database", "nonsense"], "no database URL"),
        (["--database", "postgresql://nobody@127.0.0.1:1/none"], "refused"),
    ],
)
def test_what_it_cannot_do_it_says(arguments: list[str], says: str, tmp_path: Path) -> None:
    command = [*COMMAND, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(tmp_path), check=False)
    assert done.returncode in (1, 2)
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_complexity_is_counted_by_function(tmp_path: Path) -> None:
    file = tmp_path / "sample.py"
    file.write_text(
        "def outer(a, b):\n"
        "    '''Text.'''\n"
        "    if a and b:\n"
        "        return [x for x in a if x]\n"
        "    def inner():\n"
        "        while a:\n"
        "            pass\n"
        "    return inner\n"
        "class C:\n"
        "    pass\n"
    )
    found = measure("sample", str(file))
    assert found["complex"] == [[5, "sample.outer", 1], [2, "sample.inner", 5]]
    counts = {"modules": 1, "lines": 10, "statements": 10, "functions": 2, "classes": 1, "branches": 5, "documented": 1}
    assert found["counts"] == counts
