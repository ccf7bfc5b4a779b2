"""What is measured: modules, one by one, then added up. These functions know nothing of jobs."""

from __future__ import annotations

import ast
import os
import sysconfig
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["COUNTED", "Module", "add_up", "measure", "modules_of_the_standard_library", "summarize"]

COUNTED = ("modules", "lines", "statements", "functions", "classes", "branches", "documented")
"""The numbers that are added up; `documented`: functions and classes with a docstring."""

TOP = 10
"""How many of the most complex functions a summary keeps."""

_SKIPPED = frozenset(("__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test"))
"""Not standard library, or its tests: Debian has those in a package of their own."""

_PARSING = threading.Lock()
"""Python 3.11 counts the depth of all threads together: two that parse at once end with "recursion depth mismatch"."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.match_case,
    ast.Assert,
)


@dataclass(frozen=True, slots=True)
class Module:
    """A source file of the standard library."""

    name: str
    package: str
    """The package it is in; "(top level)" for a module by itself."""
    path: str


def modules_of_the_standard_library() -> list[Module]:
    """Find all modules that are there as source, in a stable order: package by package."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for directory, inner, files in os.walk(root):
        inner[:] = sorted(d for d in inner if d not in _SKIPPED and not d.startswith("config-"))
        parts = Path(directory).relative_to(root).parts
        for file in sorted(f for f in files if f.endswith(".py")):
            if not os.path.isfile(os.path.join(directory, file)):
                continue  # Debian links sitecustomize.py to where there may be nothing
            stem = file.removesuffix(".py")
            name = ".".join(parts if stem == "__init__" and parts else (*parts, stem))
            found.append(Module(name, ".".join(parts) or "(top level)", os.path.join(directory, file)))
    return sorted(found, key=lambda m: (m.package, m.path))


def measure(name: str, path: str) -> dict[str, Any]:
    """Parse one module and count what is in it; of one that is no Python, the lines."""
    source = Path(path).read_bytes()
    counts = dict.fromkeys(COUNTED, 0) | {"modules": 1, "lines": source.count(b"\n")}
    complex_functions: list[list[Any]] = []
    try:
        with _PARSING:
            tree = ast.parse(source, path)
    except (SyntaxError, ValueError):
        return {"name": name, "counts": counts, "complex": complex_functions}
    for node in ast.walk(tree):
        counts["statements"] += isinstance(node, ast.stmt)
        counts["branches"] += _branches(node)
        if isinstance(node, (_Function, ast.ClassDef)):
            counts["documented"] += ast.get_docstring(node, clean=False) is not None
            counts["classes"] += isinstance(node, ast.ClassDef)
        if isinstance(node, _Function):
            counts["functions"] += 1
            complexity = 1 + sum(map(_branches, _own_nodes(node)))
            complex_functions.append([complexity, f"{name}.{node.name}", node.lineno])
    return {"name": name, "counts": counts, "complex": _most_complex(complex_functions)}


def _branches(node: ast.AST) -> int:
    """How many ways a node adds to McCabe's complexity."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return int(isinstance(node, _BRANCHES))


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """Everything in a function but what is in the functions and classes inside it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (_Function, ast.ClassDef)):
            todo += ast.iter_child_nodes(node)


def _most_complex(functions: Iterable[list[Any]]) -> list[list[Any]]:
    return sorted(functions, key=lambda f: (-f[0], f[1], f[2]))[:TOP]


def summarize(name: str, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up what was measured of modules, or summaries of packages: the outcome has the same form."""
    counts = add_up(part["counts"] for part in parts)
    return {"name": name, "counts": counts, "complex": _most_complex(f for p in parts for f in p["complex"])}


def add_up(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Add up numbers by name."""
    total = dict.fromkeys(COUNTED, 0)
    for one in counts:
        for key in COUNTED:
            total[key] += one[key]
    return total
