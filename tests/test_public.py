"""What is public: the names, their documentation, and that they keep to the ports."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

import kombu_depqueue
from kombu_depqueue import ports


def test_all_names_can_be_imported_and_no_others_are_listed() -> None:
    assert sorted(kombu_depqueue.__all__) == dir(kombu_depqueue)
    for name in kombu_depqueue.__all__:
        assert getattr(kombu_depqueue, name) is not None
    with pytest.raises(AttributeError):
        kombu_depqueue.no_such_name  # noqa: B018


def test_every_public_class_and_method_is_documented() -> None:
    for name in kombu_depqueue.__all__:
        thing = getattr(kombu_depqueue, name)
        if inspect.isclass(thing):
            assert thing.__doc__, name
            for method, function in inspect.getmembers(thing, inspect.isfunction):
                if not method.startswith("_") and function.__module__.startswith("kombu_depqueue"):
                    assert function.__doc__, f"{name}.{method}"


def test_importing_the_package_imports_no_sqlalchemy() -> None:
    program = "import sys, kombu_depqueue; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("port", "made"),
    [(ports.JobQueue, kombu_depqueue.JobQueue), (ports.Reservation, kombu_depqueue.Reservation)],
    ids=["JobQueue", "Reservation"],
)
def test_the_implementation_keeps_to_the_port(port: Any, made: Any) -> None:
    for name, promised in inspect.getmembers(port):
        if name.startswith("_"):
            continue
        found = inspect.getattr_static(made, name, None)
        assert found is not None, f"{made.__name__} lacks {name}"
        if isinstance(promised, property):
            assert isinstance(found, property), name
            continue
        wanted, given = inspect.signature(promised).parameters, inspect.signature(found).parameters
        assert list(wanted) == list(given), name
        for parameter in wanted:
            assert wanted[parameter].default == given[parameter].default, f"{name}({parameter})"
            assert wanted[parameter].kind == given[parameter].kind, f"{name}({parameter})"
