"""Options and marks of these tests; the fixtures are in `kombu_depqueue.testing.fixtures`."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for this folder's own modules

from layers import Counting
from roles import as_role

from kombu_depqueue.testing.fixtures import BRIEFLY

__all__ = ["as_role"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("depqueue", "kombu-depqueue")
    group.addoption("--update-golden", action="store_true", help="write the SQL files in tests/sql anew")
    group.addoption("--cells", metavar="NAMES", help="only these cells of chaos, with commas between")
    group.addoption("--full", action="store_true", help="run all of what is else drawn by lot, or cut short")
    group.addoption("--layers", metavar="FILE", help="add up in this file what was counted of each layer of tests")
    group.addoption("--seed", type=int, help="draw by this seed (default: another one each time; it is printed)")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # a process of xdist draws what all of them draw
        config.option.seed = config.workerinput["seed"]
    elif config.option.seed is None:
        config.option.seed = random.randrange(1_000_000)
    config.addinivalue_line("markers", "only(names): about facts of these databases, and run on them alone")
    config.addinivalue_line("markers", "full: run with --full alone")
    if not hasattr(config, "workerinput"):  # each would add its own share to what the one that collects them has
        config.pluginmanager.register(Counting(config))
    config.addinivalue_line(
        "markers",
        "drawn(names, module=False, chance=1): run in one setting, drawn by lot, of these parameters (database, pool), "
        "with all tests of the module in the same one if `module`, or with this chance only; in every one with --full",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of xdist the seed: of the options it gets only those given on the command line."""
    node.workerinput["seed"] = node.config.option.seed


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


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what tests have counted, as `record_property("tally", ...)`."""
    reports = [r for some in terminalreporter.stats.values() for r in some if getattr(r, "when", "") == "call"]
    tallies = sorted(str(text) for r in reports for name, text in r.user_properties if name == "tally")
    if tallies and (config.option.full or config.option.verbose > 0):
        terminalreporter.section("counted")
        for text in tallies:
            terminalreporter.write_line(text)


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
        lot = random.Random(f"{config.option.seed} {Path(name).name}")
        drawn = lot.choice(settings)
        chance = found[drawn][0].get_closest_marker("drawn").kwargs.get("chance", 1)
        runs = lot.random() < chance
        left += [item for setting, those in found.items() if setting != drawn or not runs for item in those]
    return left


def _is_elsewhere(item: pytest.Item) -> bool:
    mark, callspec = item.get_closest_marker("only"), getattr(item, "callspec", None)
    return mark is not None and callspec is not None and callspec.params.get("database") not in mark.args


def _is_for_full(item: pytest.Item, config: pytest.Config) -> bool:
    return item.get_closest_marker("full") is not None and not config.option.full


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for another database or run, or not drawn: to skip it would look like something missing."""
    others = [item for item in items if _is_elsewhere(item) or _is_for_full(item, config)]
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
