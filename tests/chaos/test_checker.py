"""The checker finds what breaks an invariant, and nothing in what is just within it."""

from __future__ import annotations

import pytest
from checker import Record, Rules, check
from tales import HOLD, ORDERED, OTHER, Tale, end, handed_out, tale

Case = tuple[str, Tale, Rules, dict[str, Record] | None]

BROKEN: dict[str, Case] = {
    "delivered, and nobody published it": ("I2", Tale().reserve(2, 3), HOLD, None),
    "delivered before it was published": ("I2", Tale().reserve(2, 3).publish(4, 5), HOLD, None),
    "delivered though each publish had failed": ("I2", Tale().publish(0, 1, how="fail").reserve(2, 3), HOLD, None),
    "a duplicate of what had failed": (
        "I2",
        Tale().publish(0, 1, how="fail").publish(2, 3, how="fail", error="Duplicate"),
        HOLD,
        None,
    ),
    "a task that nobody sent": ("I2", Tale().run(2, 3), HOLD, None),
    "one token twice": ("I3", handed_out().reserve(8, 9, attempt=2, token="t1"), HOLD, None),
    "given to another while the lease lasts": ("I4", handed_out().reserve(3, 3.9, attempt=2), HOLD, None),
    "a body that runs twice at once": ("I4", tale().run(2, None).run(3, 4, source="d"), HOLD, None),
    "an old token is believed": ("I5", handed_out().reserve(6, 7, 2).settle("requeue", 8, 9), HOLD, None),
    "an old lease is extended": ("I5", handed_out().reserve(6, 7, 2).settle("extend", 8, 9), HOLD, None),
    "delivered before its dependency was finished": (
        "I6",
        Tale().publish(0, 1, OTHER).publish(2, 3, deps=[OTHER]).reserve(4, 5).settle("ack", 6, 7, job=OTHER),
        HOLD,
        None,
    ),
    "delivered though its dependency only lost its lease": (
        "I6",
        Tale()
        .publish(0, 1, OTHER)
        .publish(0, 1, deps=[OTHER])
        .settle("ack", 2, 3, said="lost", job=OTHER)
        .reserve(4, 5),
        HOLD,
        None,
    ),
    "delivered early": ("I8", Tale().publish(0, 1, delay=5.0).reserve(4, 4.9), HOLD, None),
    "a task that runs early": ("I8", Tale().publish(0, 1, delay=5.0).run(4.9, 6), HOLD, None),
    "delivered early after it was given back": (
        "I8",
        handed_out().settle("requeue", 4, 5, delay=3.0).reserve(6, 6.9, 2),
        HOLD,
        None,
    ),
    "handed out after its end": ("I9", handed_out().settle("ack", 4, 5).reserve(6, 7, 2), HOLD, None),
    "ended, and handed out to another in between": (
        "I9",
        handed_out().settle("ack", 4, 9).reserve(6, 7, 2),
        HOLD,
        None,
    ),
    "handed out after it was canceled": ("I9", tale().cancel(2, 3).reserve(4, 5), HOLD, None),
    "settled after it was canceled": ("I9", handed_out().cancel(4, 5).settle("ack", 6, 7), HOLD, None),
    "ended twice by one": ("I10", handed_out().settle("ack", 4, 5).again(6, 7, "ok"), HOLD, None),
    "asked once more, another answer": (
        "I10",
        handed_out().settle("ack", 4, 5, said="info", result=1).settle("ack", 6, 7, said="lost", result=1),
        HOLD,
        end("succeeded", result=1),
    ),
    "a later one first": (
        "I11",
        tale().publish(2, 3, OTHER).reserve(4, 5, job=OTHER).reserve(6, 7),
        ORDERED,
        None,
    ),
    "two hand-outs of one number": ("I13", handed_out().reserve(6, 7, 1, token="u"), HOLD, None),
    "numbers that go back": ("I13", tale().reserve(2, 3, 2).reserve(6, 7, 1), HOLD, None),
    "two ended it": (
        "I14",
        handed_out().settle("ack", 4, 10).reserve(6, 7, 2).settle("fail", 8, 9, attempt=2),
        HOLD,
        None,
    ),
    "another result than was accepted": (
        "I14",
        handed_out().settle("ack", 4, 5, result=1),
        HOLD,
        end("succeeded", result=2),
    ),
    "another state than was accepted": ("I14", handed_out().settle("fail", 4, 5), HOLD, end("succeeded")),
    "canceled, and its record denies it": ("I14", handed_out().cancel(4, 5), HOLD, end("succeeded")),
    "handed out too often": ("I15", Tale().publish(0, 1, most=1).reserve(2, 3).reserve(7, 8, 2), HOLD, None),
    "handed out while its queue was paused": (
        "paused",
        Tale().queue("pause", 0, 1).publish(2, 3).reserve(4, 5).queue("resume", 6, 7),
        HOLD,
        None,
    ),
}

LEGAL: dict[str, Case] = {
    "delivered before its publish had returned": ("I2", Tale().publish(0, 9).reserve(2, 3), HOLD, None),
    "delivered though its publisher was killed": ("I2", Tale().publish(0, None).reserve(2, 3), HOLD, None),
    "a duplicate of what was unsure": (
        "I2",
        Tale().publish(0, 1, how="info").publish(2, 3, how="fail", error="Duplicate"),
        HOLD,
        None,
    ),
    "two tokens": ("I3", handed_out().reserve(8, 9, attempt=2), HOLD, None),
    "given to another when the lease was over": ("I4", handed_out().reserve(3, 4, attempt=2), HOLD, None),
    "given to another when it had been given back": (
        "I4",
        handed_out().settle("requeue", 3, None).reserve(3, 3.5, attempt=2),
        HOLD,
        None,
    ),
    "given to another when its process had closed": ("I4", handed_out().close(3).reserve(3, 3.5, 2), HOLD, None),
    "a body that ran, and runs again": ("I4", tale().run(2, 2.5).run(3, 4, source="d"), HOLD, None),
    "an old token is believed before another has one": (
        "I5",
        handed_out().settle("requeue", 6.5, 9).reserve(6, 7, 2),
        HOLD,
        None,
    ),
    "an old token gives back what others have had, and its connection was cut": (
        "I5",
        handed_out().reserve(6, 7, 2).settle("requeue", 8, 9),
        Rules(),
        None,
    ),
    "an old token is refused": ("I5", handed_out().reserve(6, 7, 2).settle("ack", 8, 9, said="lost"), HOLD, None),
    "delivered while its dependency was being finished": (
        "I6",
        Tale().publish(0, 1, OTHER).publish(0, 1, deps=[OTHER]).settle("ack", 4, None, job=OTHER).reserve(4, 5),
        HOLD,
        None,
    ),
    "delivered on time": ("I8", Tale().publish(0, 1, delay=4.0).reserve(2, 4.5), HOLD, None),
    "delivered on time by another's clock": (
        "I8",
        Tale().publish(0, 1, delay=5.0).reserve(2, 3),
        Rules(clock_jumps=True),
        None,
    ),
    "delivered on time after it was given back": (
        "I8",
        handed_out().settle("requeue", 4, 5, delay=1.0).reserve(4, 5.5, 2),
        HOLD,
        None,
    ),
    "handed out when the end was refused": (
        "I9",
        handed_out().reserve(6, 7, 2).settle("ack", 8, 9, said="lost"),
        HOLD,
        None,
    ),
    "handed out while it was being canceled": ("I9", tale().reserve(2, 4).cancel(2, 3), HOLD, None),
    "given back when it may have been before, and was canceled since": (
        "I9",
        handed_out().cancel(4, 5).settle("requeue", 6, 7),
        Rules(),
        None,
    ),
    "canceled when it had ended": ("I9", tale().cancel(2, 3, did=False).reserve(4, 5).settle("ack", 6, 7), HOLD, None),
    "not ended twice": ("I10", handed_out().settle("ack", 4, 5).again(6, 7, "fail"), HOLD, None),
    "asked once more, the same answer": (
        "I10",
        handed_out().settle("ack", 4, 5, said="info", result=1).settle("ack", 6, 7, result=1),
        HOLD,
        end("succeeded", result=1),
    ),
    "asked once more when another had it": (
        "I10",
        handed_out().settle("ack", 4, 5, said="info").reserve(6, 7, 2).settle("ack", 8, 9, said="lost"),
        HOLD,
        end("failed", 2),
    ),
    "one first whose publish overlapped": (
        "I11",
        tale().publish(0.5, 3, OTHER).reserve(4, 5, job=OTHER).reserve(6, 7),
        ORDERED,
        None,
    ),
    "the later one first, being handed out again": (
        "I11",
        tale().publish(2, 3, OTHER).reserve(4, 5, job=OTHER).reserve(6, 7, attempt=2),
        ORDERED,
        None,
    ),
    "numbers that rise while windows overlap": ("I13", tale().reserve(2, 9, 1).reserve(6, 8, 2), Rules(), None),
    "one ended it": (
        "I14",
        handed_out()
        .reserve(6, 7, 2)
        .settle("ack", 8, 9, attempt=2, result=1)
        .settle("ack", 8, 9, said="lost", result=2),
        HOLD,
        end("succeeded", 2, result=1),
    ),
    "unsure which of two results": (
        "I14",
        handed_out().settle("ack", 4, None, result=1),
        HOLD,
        end("succeeded", result=1),
    ),
    "handed out as often as it may be": (
        "I15",
        Tale().publish(0, 1, most=2).reserve(2, 3).reserve(7, 8, 2),
        HOLD,
        None,
    ),
    "handed out while its queue was being paused": (
        "paused",
        Tale().publish(0, 1).queue("pause", 2, 3).reserve(2.5, 5).queue("resume", 6, 7),
        HOLD,
        None,
    ),
    "handed out while its queue was being resumed": (
        "paused",
        Tale().publish(0, 1).queue("pause", 2, 3).queue("resume", 4, 7).reserve(3.5, 5),
        HOLD,
        None,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_an_invariant_is_found(name: str) -> None:
    rule, story, rules, records = BROKEN[name]
    found = check(story.book(), rules, records)
    assert rule in {v.rule.split()[0] for v in found}


@pytest.mark.parametrize("name", LEGAL)
def test_what_is_just_within_an_invariant_is_none(name: str) -> None:
    _, story, rules, records = LEGAL[name]
    assert check(story.book(), rules, records) == []
