"""Options and marks of these tests; the fixtures are in `kombu_depqueue.testing.fixtures`."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for this folder's own modules

from roles import as_role

from kombu_depqueue.testing.fixtures import BRIEFLY

__all__ = ["as_role"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("depqueue", "kombu-depqueue")
    group.addoption("--update-golden", action="store_true", help="write the SQL files in tests/sql anew")
    group.addoption("--full", action="store_true", help="run all of what is else drawn by lot, or cut short")
    group.addoption("--seed", type=int, help="draw by this seed (default: another one each time; it is printed)")


@pytest.hookimpl(tryfirst=True)  # before xdist hands the options to its processes
def pytest_configure(config: pytest.Config) -> None:
    if config.option.seed is None:
        config.option.seed = random.randrange(1_000_000)
    config.addinivalue_line("markers", "only(names): about facts of these databases, and run on them alone")
    config.addinivalue_line(
        "markers",
        "drawn(names, module=False): run in one setting, drawn by lot, of these parameters (database, pool), with all "
        "tests of the module in the same one if `module`; in every one with --full",
    )


def pytest_report_header(config: pytest.Config) -> str:
    return f"drawn by lot: --seed {config.option.seed}{' --full' * config.option.full}"


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether all is wanted, however long it takes."""
    return bool(pytestconfig.option.full)


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """What is drawn by lot is drawn by this."""
    return int(pytestconfig.option.seed)


def _setting(item: pytest.Item, mark: pytest.Mark) -> tuple[str, ...]:
    """What is drawn: the values of the parameters that the mark names."""
    given = item.callspec.params if hasattr(item, "callspec") else {}
    return tuple(str(given.get(name)) for name in mark.args or ("database", "pool"))


def _settings_not_drawn(config: pytest.Config, items: list[pytest.Item]) -> list[pytest.Item]:
    """All items marked `drawn` but those in the setting that the seed draws for them."""
    of: dict[str, dict[tuple[str, ...], list[pytest.Item]]] = {}
    for item in items:
        mark = item.get_closest_marker("drawn")
        if mark is not None and not config.option.full:
            name = str(item.path) if mark.kwargs.get("module") else item.nodeid.partition("[")[0]
            of.setdefault(name, {}).setdefault(_setting(item, mark), []).append(item)
    left = []
    for name, found in of.items():
        settings = sorted(found)
        if not config.getoption("--databases"):  # a machine may have no MariaDB: then nothing would be run
            settings = [one for one in settings if not set(one) & set(BRIEFLY)] or settings
        drawn = random.Random(f"{config.option.seed} {Path(name).name}").choice(settings)
        left += [item for setting, those in found.items() if setting != drawn for item in those]
    return left


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked for another database, or not drawn: to skip it would look like something missing."""
    others = []
    for item in items:
        mark = item.get_closest_marker("only")
        callspec = getattr(item, "callspec", None)
        if mark is not None and callspec is not None and callspec.params.get("database") not in mark.args:
            others.append(item)
    others += _settings_not_drawn(config, [item for item in items if item not in others])
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def pytest_collection_finish(session: pytest.Session) -> None:
    """See that xdist keeps groups together: a pytest that it does not know yet lets it keep none, without a word."""
    config = session.config
    if hasattr(config, "workerinput") and config.getvalue("loadgroup"):
        lost = [i.nodeid for i in session.items if i.get_closest_marker("xdist_group") and "@" not in i.nodeid]
        assert not lost, f"pytest {pytest.__version__} and pytest-xdist make no groups: {lost[0]}"
