"""Every group of figures is run once, with hardly any jobs: an adapter or a figure that broke is noticed.

In a smoke test only (`--benchmark-disable`); to measure them is `python -m benchmarks`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import report
from catalogue import GROUPS, QUICK
from contenders import NATIVE, OURS, natives
from measure import Others, Row, Spread
from report import MARKS, Report
from scene import Scene

from kombu_depqueue.testing.servers import ServerMissing, postgresql

pytestmark = [
    pytest.mark.smoke,
    pytest.mark.filterwarnings("ignore"),  # the peers' own
]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgresql())
        except ServerMissing:
            server = None
        databases = ["sqlite"] if server is None else ["postgresql", "sqlite"]
        yield Scene(databases, server, "smoke", Others())


@pytest.mark.parametrize("name", GROUPS)
def test_group(name: str, scene: Scene, tmp_path: Path) -> None:
    rows = list(GROUPS[name](scene))
    assert not set(OURS[d] for d in scene.databases) & set(scene.left_out), scene.left_out
    if "postgresql" in scene.databases:
        assert rows or {"pgbench", "MariaDB"} & set(scene.left_out)
    for row in rows:
        row.group = name
        assert math.isfinite(row.value.low + row.value.median + row.value.high), row
        assert row.value.low <= row.value.median <= row.value.high, row
    result = Report.begun("smoke")
    result.rows = rows
    report.write(result, tmp_path)
    assert all(row.who in (tmp_path / "results.md").read_text() for row in rows)
    assert Report.read(tmp_path).rows == rows


def test_what_a_contender_took_is_gone(scene: Scene) -> None:
    """Whoever would count jobs that it did not take looks fast."""
    with natives(scene, list(NATIVE)) as found:
        assert set(found) | set(scene.left_out) >= set(NATIVE)
        for name, (_, peer) in found.items():
            peer.enqueue(7)
            peer.drain(5, 1)
            assert peer.take(1) == 1, name
            assert peer.take(1) == 1, name
            assert peer.take(1) == 0, name


def benchmarks(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300)


def test_the_command_lists_its_groups() -> None:
    done = benchmarks("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(GROUPS)
    assert set(QUICK) <= set(GROUPS)


@pytest.mark.parametrize("wrong", [["no-such-group"], ["--databases", "oracle"], ["--into", "no-such-file"]])
def test_the_command_refuses_what_it_does_not_know(wrong: list[str]) -> None:
    done = benchmarks(*wrong)
    assert done.returncode == 2
    assert wrong[-1] in done.stderr
    assert done.stdout == ""


def test_the_command_measures_and_reports(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    done = benchmarks("--smoke", "--databases", "sqlite", "--output", tmp_path, "--into", readme, "reserve")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "results.json").read_text())
    assert {row["group"] for row in written["rows"]} == {"reserve"}
    assert OURS["sqlite"] in written["settings"]
    assert "depqueue on PostgreSQL was left out" not in (tmp_path / "results.md").read_text()
    assert "old" not in readme.read_text()
    assert "(./results.md)" in readme.read_text()
    assert readme.read_text().endswith("\nafter\n")
    assert benchmarks("--render", "--output", tmp_path).returncode == 0
    assert benchmarks("--render", "--output", tmp_path / "nowhere").returncode == 2


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path) -> None:
    arguments = ["--smoke", "--databases", "sqlite", "--output", str(tmp_path), "waiting", "processes"]
    running = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    said = ""
    while "processes ..." not in said:
        more = running.stderr.read(1)
        assert more, said
        said += more
    running.terminate()
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "interrupted" in err
    assert "Interrupted: not all was measured" in out
    assert {row["group"] for row in json.loads((tmp_path / "results.json").read_text())["rows"]} == {"waiting"}


def test_the_page_names_every_group() -> None:
    page = (Path(__file__).parents[1] / "docs" / "benchmarks.md").read_text()
    assert [name for name in GROUPS if f"`{name}`" not in page] == []


def test_a_report_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    result = Report.begun("usual")
    quiet, slow = Spread(2.0, 1.0, 3.0), Spread(0.5, 0.4, 0.6)
    result.rows = [
        Row("drain", "depqueue", quiet, "/s", busy=0.1, group="reserve"),
        Row("drain", "other", slow, "/s", busy=0.9, group="reserve"),
        Row("drain", "depqueue", slow, least=1.0, against="other", busy=0.9, group="reserve"),
    ]
    result.left_out["Oban"] = "not installed"
    result.failed["latency"] = "TimeoutError"
    result.interrupted = True
    text = report.markdown(result)
    for said in (
        "noisy machine",
        "up to 0.9 cores",
        "Interrupted",
        "latency failed: TimeoutError",
        "Oban was left out",
    ):
        assert said in text
    assert "0.50 (0.40-0.60) missed (>= 1.00 x)" in text
    assert "0 of 1 were reached" in text
    result.rows[-1].value = quiet
    assert "1 of 1 were reached" in report.markdown(result)
