"""Histories made by hand, for the tests of the checker."""

from __future__ import annotations

from itertools import count
from typing import Any

from book import Book
from checker import Record, Rules

__all__ = ["HOLD", "JOB", "ORDERED", "OTHER", "Tale", "end", "handed_out", "tale"]

SECOND = 1_000_000_000
JOB, OTHER, THIRD = "job", "other", "third"


class Tale:
    """A history made by hand: what is said takes place between two moments (seconds)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self._numbers = count()

    def _say(self, op: str, begin: float, end: float | None, how: str, source: str, facts: Any, answer: Any) -> Tale:
        number = next(self._numbers)
        self.lines.append((source, {"n": number, "at": begin * SECOND, "op": op, **facts}))
        if end is not None:
            self.lines.append((source, {"n": number, "at": end * SECOND, "is": how, **answer}))
        return self

    def publish(self, begin: float, end: float | None, job: str = JOB, how: str = "ok", **facts: Any) -> Tale:
        answer = {"error": facts.pop("error")} if "error" in facts else {}
        jobs = [{"id": job, "queue": "work", **facts}]
        return self._say("publish", begin, end, how, "p", {"jobs": jobs}, answer)

    def reserve(
        self, begin: float, end: float, attempt: int = 1, job: str = JOB, token: str | None = None, source: str = "w"
    ) -> Tale:
        given = [[job, token or f"t{attempt}", attempt, int(attempt > 1)]]
        return self._say("reserve", begin, end, "ok", source, {}, {"jobs": given})

    def settle(
        self,
        how: str,
        begin: float,
        end: float | None,
        attempt: int = 1,
        said: str = "ok",
        job: str = JOB,
        **facts: Any,
    ) -> Tale:
        lost = {"lost": [job]} if said == "lost" else {}
        facts["items"] = [[job, f"t{attempt}"]]
        return self._say("settle", begin, end, "ok" if lost else said, "w", {"how": how, **facts}, lost)

    def again(self, begin: float, end: float, said: str) -> Tale:
        return self._say("again", begin, end, said, "w", {"id": JOB, "token": "t1"}, {})

    def cancel(self, begin: float, end: float, did: bool = True) -> Tale:
        return self._say("cancel", begin, end, "ok", "o", {"id": JOB}, {"did": did})

    def run(self, begin: float, end: float | None, source: str = "c") -> Tale:
        return self._say("run", begin, end, "ok", source, {"id": JOB, "redelivered": 0}, {})

    def queue(self, what: str, begin: float, end: float) -> Tale:
        return self._say(what, begin, end, "ok", "o", {"queue": "work"}, {})

    def close(self, at: float) -> Tale:
        return self._say("close", at, None, "ok", "w", {}, {})

    def book(self) -> Book:
        made = Book()
        made.read(self.lines)
        return made


def tale() -> Tale:
    """A job that was published between 0 and 1."""
    return Tale().publish(0, 1)


def handed_out() -> Tale:
    return tale().reserve(2, 3)


def end(state: str, attempt: int = 1, **facts: Any) -> dict[str, Record]:
    return {JOB: Record(state, attempt, **facts)}


HOLD = Rules(hold=2.0)
ORDERED = Rules(one_consumer=True)
