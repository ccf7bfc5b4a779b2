"""The gate: whether the tests would notice. A run draws a handful of the seeded bugs; `--full` has them all."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from layers import LAYERS, layer_of

sys.path.insert(0, str(Path(__file__).parent))  # for this folder's own modules

from seeded import BUGS, LONGER, PATIENCE, ROOT, copy_of_the_package, run

HANDFUL = 4


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    option = metafunc.config.option
    if "name" in metafunc.fixturenames:
        quick = sorted(name for name, bug in BUGS.items() if not bug.slow)
        some = sorted(BUGS) if option.full else random.Random(option.seed).sample(quick, HANDFUL)
        metafunc.parametrize("name", some)
    if "options" in metafunc.fixturenames:
        metafunc.parametrize("options", sorted({bug.options for bug in BUGS.values()}), ids=" ".join)


def test_every_bug_can_be_put_into_the_package_as_it_is() -> None:
    for bug in BUGS.values():
        texts: dict[str, str] = {}
        for edit in bug.edits:
            text = texts.setdefault(edit.file, (ROOT / "kombu_depqueue" / edit.file).read_text(encoding="utf-8"))
            texts[edit.file] = edit.applied(text)


def test_every_bug_has_its_tests_in_the_layer_named_for_it() -> None:
    for bug in BUGS.values():
        for test in bug.tests:
            assert layer_of(test) == bug.layer, f"{bug.name}: {test}"
            file, _, name = test.partition("::")
            text = (ROOT / file).read_text(encoding="utf-8")
            assert not name or re.search(rf"^def {re.escape(name.partition('[')[0])}\(", text, re.MULTILINE), test
    assert len(BUGS) >= 24
    assert {bug.layer for bug in BUGS.values()} <= LAYERS.keys() - {"L10"}


@pytest.mark.timeout(360)
def test_a_seeded_bug_is_found(name: str, tmp_path: Path, record_property: Any) -> None:
    bug = BUGS[name]
    copy_of_the_package(tmp_path, bug.edits)
    verdict = run(tmp_path, bug.tests, *bug.options, patience=LONGER if bug.slow else PATIENCE)
    if not verdict.passed and not verdict.failures and " skipped" in verdict.said:
        pytest.skip(f"no {bug.databases}")
    killer = verdict.kills(bug.because)
    why = f"{verdict.passed} tests passed, failures: {verdict.failures}"
    assert killer is not None, f"{bug.layer} did not notice that {name!r}: {why}\n{verdict.said[-3000:]}"
    record_property("figure", "1 bugs")
    test = killer["test"].rpartition("::")[2]
    record_property("bug", f"{bug.layer:6} {name:58} {verdict.seconds:5.1f} s  {test}: {killer['error']}")


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_without_a_bug_the_same_tests_pass(options: tuple[str, ...], tmp_path: Path) -> None:
    """Else a bug would be found by what is no find."""
    tests = list(dict.fromkeys(test for bug in BUGS.values() if bug.options == options for test in bug.tests))
    copy_of_the_package(tmp_path)
    verdict = run(tmp_path, tests, *options, patience=1100)
    if not verdict.passed and not verdict.failures and " skipped" in verdict.said:
        pytest.skip(f"nothing to test on: {options}")
    assert not verdict.failures, verdict.said[-3000:]
    assert verdict.passed >= len(tests), verdict.said[-3000:]
