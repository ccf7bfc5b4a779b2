"""The processes of a cell, and what befalls them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from history import History
from program import Task
from programs import main

__all__ = ["CELERY_POOLS", "Crew", "Killed", "Member", "Stopped"]

HERE = Path(__file__).parent
SOME = 3000
"""Bytes of history that a process has when it has done something: else a busy machine would only ever start them."""
CELERY_POOLS = {"threads": ("-c", "4"), "prefork": ("-c", "2")}


@dataclass
class Member:
    """One process."""

    kind: str
    name: str
    process: Any
    """Of multiprocessing or subprocess."""
    log: Path
    goes_on_at: float | None = None
    """It is stopped until then."""
    _lock: Any = field(default_factory=threading.Lock)
    """Of two threads that ask multiprocessing at once how a process has ended only one is told."""

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    @property
    def alive(self) -> bool:
        with self._lock:
            if isinstance(self.process, subprocess.Popen):
                return self.process.poll() is None
            return bool(self.process.is_alive())

    @property
    def code(self) -> int | None:
        """How it ended."""
        with self._lock:
            return self.process.returncode if isinstance(self.process, subprocess.Popen) else self.process.exitcode

    @property
    def at_work(self) -> bool:
        """Whether it has come so far that something can be taken from it."""
        if isinstance(self.process, subprocess.Popen):
            return " ready." in self.log.read_text(errors="replace")
        files = self.log.parent.glob(f"{self.kind}-{self.pid}-*.jsonl")
        return any(file.stat().st_size > SOME for file in files)

    def signal(self, number: int) -> None:
        """Of a Celery worker its children too, as when their machine dies."""
        if not self.alive:
            return  # its number may be somebody else's by now
        with contextlib.suppress(ProcessLookupError):
            if isinstance(self.process, subprocess.Popen) and number != signal.SIGTERM:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def wait(self, timeout: float) -> bool:
        """Whether it ended in time."""
        until = time.monotonic() + timeout
        while self.alive and time.monotonic() < until:
            time.sleep(0.005)
        return not self.alive


@dataclass
class Crew:
    """Starts processes, replaces the dead, lets the stopped go on."""

    task: Task
    history: History
    environment: Mapping[str, str] = field(default_factory=dict)
    """With one they are started anew, not forked off: what it asks for (a shifted clock) comes with the start."""
    wanted: dict[str, int] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Processes that ended by themselves."""
    _numbers: Any = field(default_factory=count)
    _lock: Any = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._context = multiprocessing.get_context("spawn" if self.environment else "forkserver")
        if not self.environment:
            self._context.set_forkserver_preload(["warm"])  # type: ignore[attr-defined]
            with _environment({"PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}):
                forkserver.ensure_running()  # before Python 3.13 it is not told of `sys.path`

    def start(self, kind: str, **changes: Any) -> Member:
        """Start one more."""
        with self._lock:
            number = next(self._numbers)
            task = replace(self.task, seed=f"{self.task.seed}-{number}", **changes)
            start = self._start_celery if kind.startswith("celery") else self._start_program
            name = f"{kind}{number}"
            log = Path(self.task.folder) / f"{name}.log"
            member = Member(kind, name, start(kind, task, str(log)), log)
            self.members.append(member)
            return member

    def _start_program(self, kind: str, task: Task, log: str) -> Any:
        process = self._context.Process(target=main, args=(kind, task, log))  # type: ignore[attr-defined]
        with _environment(self.environment):
            process.start()
        return process

    def _start_celery(self, kind: str, task: Task, log: str) -> Any:
        assert task.broker is not None
        pool = kind.removeprefix("celery-")
        command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-P", pool, *CELERY_POOLS[pool]]
        command += ["-l", "INFO", "-n", f"{Path(log).stem}@chaos", "--without-mingle", "--without-gossip"]
        mine = {"CHAOS_BROKER": task.broker, "CHAOS_FOLDER": task.folder, "PYTHONPATH": str(HERE)}
        theirs = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
        with open(log, "wb") as file:
            return subprocess.Popen(
                command,
                env={**theirs, **self.environment, **mine},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def of(self, kind: str) -> list[Member]:
        """Those of one kind ("celery" is any pool) that are at work, and not stopped."""
        with self._lock:
            found = [m for m in self.members if m.kind.startswith(kind) and m.goes_on_at is None]
            return [m for m in found if m.alive and m.at_work]

    def man(self, wanted: Mapping[str, int]) -> None:
        """Have so many of each kind from now on."""
        self.wanted = dict(wanted)
        self.tend()

    def tend(self) -> None:
        """Replace those that are gone, let those go on whose time has come."""
        with self._lock:
            for member in self.members:
                if member.goes_on_at is not None and time.monotonic() >= member.goes_on_at:
                    member.goes_on_at = None
                    member.signal(signal.SIGCONT)
            for member in [m for m in self.members if not m.alive]:
                self.members.remove(member)
                self._complain(member)
            for kind, number in self.wanted.items():
                for _ in range(number - sum(m.kind == kind for m in self.members)):
                    self.start(kind)

    def _complain(self, member: Member) -> None:
        if member.code not in (-signal.SIGKILL, -signal.SIGTERM, 0):
            said = member.log.read_text(errors="replace")[-3000:]
            self.problems.append(f"{member.name} ended with {member.code}:\n{said}")

    def any_stopped(self) -> bool:
        """Whether one of them is stopped: what it left open stays open."""
        return any(m.goes_on_at is not None for m in self.members)

    def dismiss(self, kinds: str, timeout: float = 20.0) -> None:
        """End those whose kind begins so by SIGTERM; those that do not end in time are a problem."""
        with self._lock:
            for kind in [k for k in self.wanted if k.startswith(kinds)]:
                del self.wanted[kind]
            leaving = [m for m in self.members if m.kind.startswith(kinds)]
            for member in leaving:
                member.goes_on_at = None
                member.signal(signal.SIGCONT)
                member.signal(signal.SIGTERM)
            until = time.monotonic() + timeout
            for member in leaving:
                if not member.wait(max(0.1, until - time.monotonic())):
                    self.problems.append(f"{member.name} did not end within {timeout} s")
                    member.signal(signal.SIGKILL)
                    member.wait(5)
            self.tend()

    def close(self) -> None:
        """Kill all that are left."""
        self.wanted = {}
        for member in self.members:
            member.signal(signal.SIGKILL)
        for member in self.members:
            member.wait(5)
        self.members = []


@contextlib.contextmanager
def _environment(wanted: Mapping[str, str]) -> Any:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass
class Killed:
    """kill -9 of one that works; another takes its place. False: there was none."""

    crew: Crew
    kind: str

    @property
    def name(self) -> str:
        return f"{self.kind} killed"

    def inject(self, chance: random.Random) -> bool:
        found = self.crew.of(self.kind)
        if found:
            member = chance.choice(found)
            member.signal(signal.SIGKILL)
            member.wait(5)
            self.crew.tend()
        return bool(found)


@dataclass
class Stopped:
    """SIGSTOP of one that works, for a while. False: there was none."""

    crew: Crew
    kind: str
    seconds: Callable[[random.Random], float]

    @property
    def name(self) -> str:
        return f"{self.kind} stopped"

    def inject(self, chance: random.Random) -> bool:
        found = self.crew.of(self.kind)
        if found:
            member = chance.choice(found)
            member.goes_on_at = time.monotonic() + self.seconds(chance)
            member.signal(signal.SIGSTOP)
        return bool(found)
