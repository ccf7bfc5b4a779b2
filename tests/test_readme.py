"""README.md and docs/ are true: their examples run as shown, their tables say what the code says.

The python blocks of a section (`##`) run in order in one namespace, on each database; a ```text block after
one is what it prints (`...` stands for anything). Only the URLs are replaced. Where they use Celery each block
is a program of its own, beside the `tasks.py` of README.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import subprocess
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Engine

from kombu_depqueue import JobQueue
from kombu_depqueue.settings import Settings, option_names
from kombu_depqueue.testing.fixtures import Place
from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.transport import address

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEVELOP = (ROOT / "docs/develop.md").read_text(encoding="utf-8")
MOVE = "docs/move-from-redis-or-rabbitmq.md"
CELERY = {"Celery", "More for Celery", "What is otherwise"}
"""The sections whose blocks are programs beside tasks.py."""
SETTINGS = "Settings"


@dataclass
class Block:
    line: int
    code: str
    prints: str = ""


@dataclass
class Section:
    file: str
    title: str
    blocks: list[Block] = field(default_factory=list)


def _files() -> list[str]:
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]


def _sections(*files: str) -> list[Section]:
    """Find the sections with python blocks, and what each block prints."""
    return [section for name in files or _files() for section in _sections_of(name)]


def _sections_of(name: str) -> list[Section]:
    found = [Section(name, "before all")]
    fence: str | None = None
    text: list[str] = []
    after_python = False
    for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
        if fence is None and line.startswith("```"):
            fence, text, start = line[3:].strip(), [], number
        elif line == "```":
            if fence == "python":
                found[-1].blocks.append(Block(start, "\n".join(text) + "\n"))
            elif fence == "text":
                assert after_python, f"{name}:{start}: a text block belongs behind a python block"
                found[-1].blocks[-1].prints = "\n".join(text) + "\n"
            after_python, fence = fence == "python", None
        elif fence is not None:
            text.append(line)
        else:
            after_python &= not line.strip()
            if line.startswith("## "):
                found.append(Section(name, line[3:]))
    assert fence is None, "a block is not closed"
    return [section for section in found if section.blocks]


def _adapted(code: str, place: Place) -> str:
    """Put this test's place where README has its database."""
    ours = "" if place.schema is None else f"?options={quote('-csearch_path=' + place.schema)}"
    level = ', isolation_level="READ COMMITTED"' if place.prefix else ""  # as README says of MySQL
    code = re.sub(r'create_engine\("[^"]+"', lambda _: f"create_engine({place.engine_url + ours!r}{level}", code)
    code = re.sub("(TABLE|INTO) orders", rf"\1 {place.prefix}orders", code)
    code = re.sub(
        r'^(app\.conf\.broker_url = )".+"', lambda m: f'{m[1]}"depqueue+{place.url}"', code, flags=re.MULTILINE
    )
    return re.sub(r'(JobQueue|create_tables)\("[^"]+"', lambda m: f"{m[1]}({place.url!r}", code)


def _native() -> list[Section]:
    return [s for s in _sections() if s.title not in CELERY and (s.file, s.title) != (MOVE, SETTINGS)]


@pytest.mark.parametrize("section", _native(), ids=lambda s: s.title)
def test_the_examples_run_as_shown(
    section: Section, place: Place, make_queue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if place.schema is not None or place.prefix:
        make_queue()  # the tables are there
    namespace: dict[str, Any] = {"__name__": "readme"}
    opened: list[Any] = []
    try:
        for block in section.blocks:
            code = compile("\n" * block.line + _adapted(block.code, place), section.file, "exec")
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code, namespace)  # noqa: S102 - README is ours
            opened += [v for v in namespace.values() if isinstance(v, (JobQueue, Engine))]
            same = doctest.OutputChecker().check_output(block.prints, printed.getvalue(), doctest.ELLIPSIS)
            assert same, f"{section.file}:{block.line} printed:\n{printed.getvalue()}"
    finally:
        for one in opened:
            one.close() if isinstance(one, JobQueue) else one.dispose()


@pytest.fixture
def tasks(place: Place, make_queue: Any, tmp_path: Path) -> Place:
    """README's tasks.py, with this test's place."""
    if place.schema is not None or place.prefix:
        make_queue()  # the tables are there
    [code] = [b.code for s in _sections("README.md") for b in s.blocks if b.code.startswith("# tasks.py\n")]
    (tmp_path / "tasks.py").write_text(_adapted(code, place), encoding="utf-8")
    return place


def _run(block: Block, file: str, place: Place, folder: Path) -> None:
    code = "\n" * block.line + _adapted(block.code, place)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{file}:{block.line}:\n{done.stderr}"
    same = doctest.OutputChecker().check_output(block.prints, done.stdout, doctest.ELLIPSIS)
    assert same, f"{file}:{block.line} printed:\n{done.stdout}"


@pytest.mark.slow
def test_the_examples_of_celery_run_as_shown(tasks: Place, tmp_path: Path) -> None:
    first, *others = [s for s in _sections("README.md") if s.title in CELERY]
    shown = re.search(r"^(celery -A tasks worker)$", README, re.MULTILINE)
    assert shown is not None
    command = [sys.executable, "-m", *shown[1].split(), "-P", "solo", "-l", "INFO"]
    said = tmp_path / "worker.log"
    with said.open("wb") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        for block in [*first.blocks[1:], *(b for s in others for b in s.blocks)]:
            _run(block, first.file, tasks, tmp_path)
        wanted = ["2 + 3 = 5", "4 + 5 = 9", "70 + 1 = 71", "1 + 1 = 2", "2 + 2 = 4"]
        assert wait_until(lambda: all(line in said.read_text(errors="replace") for line in wanted), 60), (
            said.read_text()
        )
        assert "80 + 1" not in said.read_text()
    finally:
        worker.terminate()
        worker.wait(30)


def test_the_examples_of_the_move_run_as_shown(tasks: Place, tmp_path: Path) -> None:
    [section] = [s for s in _sections(MOVE) if s.title == "What is otherwise"]
    for block in section.blocks:
        _run(block, section.file, tasks, tmp_path)


def test_the_settings_of_the_move_are_celerys() -> None:
    from celery import Celery
    from celery.app.defaults import SETTING_KEYS

    [section] = [s for s in _sections(MOVE) if s.title == SETTINGS]
    app = Celery("settings", set_as_current=False)
    for block in section.blocks:
        exec(block.code, {"app": app})  # noqa: S102 - the page is ours
    given = set(app.conf.changes) - {"deprecated_settings"}  # Celery's own note
    assert given
    assert given <= SETTING_KEYS


def test_the_table_of_the_moves_options_is_complete_and_right() -> None:
    text = (ROOT / MOVE).read_text(encoding="utf-8").partition("## Options")[2].partition("\n## ")[0]
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    said = {name: what for names, _, what in rows for name in re.findall(r"`(\w+)`", names)}
    known = {*address.RENAMED, *address.CHANNEL_OPTIONS, *address.TOLERATED, *address.GONE}
    assert {name for name, what in said.items() if not what.startswith("refused")} == known
    for name, what in said.items():
        if name in address.RENAMED:
            assert what.startswith(f"is `{address.RENAMED[name]}`"), name
        elif name in address.CHANNEL_OPTIONS:
            assert what.startswith("applies"), name
        elif name in known:
            assert what.startswith("ignored"), name
            assert ("warning" in what) == (name in address.GONE), name
        else:
            assert name not in option_names(), name


def test_links_between_the_pages_lead_somewhere() -> None:
    for file in _files():
        page = ROOT / file
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{file}: {link}"


def test_each_promise_names_a_test_that_exists() -> None:
    section = README.partition("## Guarantees")[2].partition("Not promised")[0]
    promises = re.findall(r"^- \*\*P(\d+) (.+?)(?=^- |\Z)", section, re.MULTILINE | re.DOTALL)
    assert [int(number) for number, _ in promises] == list(range(1, 12))
    for number, text in promises:
        named = re.findall(r"\[`(test_\w+)`\]\(([\w/]+\.py)\)", text)
        assert named, f"P{number} names no test"
        for name, file in named:
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"P{number}: {file}::{name}"


def test_examples_are_found() -> None:
    titles = {
        "Alembic",
        "Celery",
        "More for Celery",
        "Without Celery",
        "More of the API",
        "What is otherwise",
        "In an application",
        SETTINGS,
    }
    assert titles == {section.title for section in _sections()}
    for file in _files():
        text = (ROOT / file).read_text(encoding="utf-8")
        assert sum(text.count(f"```{kind}\n") for kind in ("python", "py", "pycon")) == sum(
            len(section.blocks) for section in _sections(file)
        )


def test_the_quickstart_is_short() -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```", README.partition("## Celery")[2], re.MULTILINE | re.DOTALL)
    shown = [line for block in blocks for line in block.splitlines() if line.strip()][:25]
    assert {"celery -A tasks worker", "add.delay(2, 3)"} <= set(shown)
    assert any("pip install" in line for line in shown)
    assert any("countdown" in line for line in shown)


def test_the_table_of_options_is_complete_and_right() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", README, re.MULTILINE))
    defaults = {f.name: f.default for f in fields(Settings) if f.name != "url"}
    assert list(rows) == list(defaults)
    for name, default in defaults.items():
        if name not in ("schema", "table_prefix", "name"):  # they depend on the database, and the process
            shown = str(default) if isinstance(default, str) else default
            assert rows[name].strip("`") == repr(shown).replace("'", '"'), name


def test_the_layout_names_every_module_and_nothing_else() -> None:
    table = DEVELOP.partition("## Where what lives")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    package = ROOT / "kombu_depqueue"
    there = {p.name for p in package.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert named == there - {"__init__.py", "_version.py"}


def test_the_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", README + DEVELOP, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.slow
def test_the_shipped_suite_is_found_from_any_directory(tmp_path: Path) -> None:
    shown = re.search(r"pytest (-p \S+ --pyargs \S+) --databases postgresql$", DEVELOP, re.MULTILINE)
    assert shown is not None
    command = [sys.executable, "-m", "pytest", *shown[1].split(), "--databases", "sqlite", "--collect-only", "-q"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    count = re.search(r"^(\d+) tests collected", done.stdout, re.MULTILINE)
    assert count is not None
    assert int(count[1]) >= 250
