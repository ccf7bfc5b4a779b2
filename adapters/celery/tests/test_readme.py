"""The README is true: its example runs as shown, its tables name what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from adapter_helpers import plain_url

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(section: str) -> list[tuple[str, str]]:
    """The fenced blocks of a section: language and text."""
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
    assert found is not None
    return re.findall(r"^```(\w*)\n(.*?)^```", found[1], re.DOTALL | re.MULTILINE)


@pytest.mark.xdist_group("orders")  # on a server they have the table `orders` in common
@pytest.mark.parametrize("kind", ["prefork", "threads"])
def test_the_example_runs_as_shown(database_url: str, tmp_path: Path, kind: str) -> None:
    found = blocks("An order, in one transaction")
    programs = {text.splitlines()[0].removeprefix("# "): text for language, text in found if language == "python"}
    [expected] = [text for language, text in found if language == "text"]
    for name, text in programs.items():
        if not database_url.startswith("sqlite"):
            plain, ours = plain_url(database_url), f"{database_url}{'&' if '?' in database_url else '?'}create=true"
            text = text.replace('DATABASE = "sqlite:///orders.db"', f"DATABASE = {plain!r}")
            text = text.replace('f"depqueue+{DATABASE}"', repr(f"depqueue+{ours}"))
            if plain.startswith("mysql"):
                text = text.replace(
                    "create_engine(DATABASE", 'create_engine(DATABASE, isolation_level="READ COMMITTED"'
                )
            text = text.replace("create_tables(DATABASE)", f"create_tables({ours!r})")
        (tmp_path / name).write_text(text)
    log = (tmp_path / "worker.log").open("wb")
    command = [sys.executable, "-m", "celery", "-A", "orders", "worker", "-P", kind, "-c", "2"]
    worker = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        done = subprocess.run(
            [sys.executable, "place_orders.py"], cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr + (tmp_path / "worker.log").read_text()
        assert done.stdout == expected
    finally:
        worker.terminate()
        worker.wait(30)
        log.close()
        if not database_url.startswith("sqlite"):
            _drop(plain_url(database_url))


def _drop(url: str) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS orders"))
    engine.dispose()


def test_the_commands_are_there() -> None:
    from kombu_depqueue_celery.commands import depqueue

    named = set(re.findall(r"depqueue (\w+)", "".join(text for _, text in blocks("Commands"))))
    assert named == set(depqueue.commands)


def test_the_public_names_are_there() -> None:
    import kombu_depqueue_celery

    assert {"after", "enlist", "finish"} <= set(kombu_depqueue_celery.__all__)
    for name in kombu_depqueue_celery.__all__:
        assert getattr(kombu_depqueue_celery, name) is not None
    assert dir(kombu_depqueue_celery) == sorted(kombu_depqueue_celery.__all__)


def test_only_public_names_of_the_core_are_used() -> None:
    package = Path(__file__).parents[1] / "kombu_depqueue_celery"
    used = {name for path in package.glob("*.py") for name in re.findall(r"kombu_depqueue(?:\.\w+)+", path.read_text())}
    modules = {name for name in used if not name.startswith("kombu_depqueue.extending")}
    assert modules <= {"kombu_depqueue.plugins"}, modules  # of which the docstrings speak
