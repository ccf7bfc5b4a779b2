"""Jobs on their way in: messages made fast are as others, and JSON is the same with and without orjson."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
import pickle
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any
from uuid import UUID

import pytest

from kombu_depqueue import InvalidJob, JobMessage
from kombu_depqueue import entry as entries
from kombu_depqueue.entry import encode_json

ID = UUID(int=7 << 76 | 2 << 62 | 1)


class Colour(enum.Enum):
    RED = "red"


class Name(str):
    __slots__ = ()


def test_a_message_made_by_new_is_as_one_made_in_full() -> None:
    """It has only four attributes of its own, until somebody copies it."""
    made = JobMessage.new("resize", {"w": 80})
    full = JobMessage(made.job_id, job_type="resize", args={"w": 80}, id_is_new=True)
    assert made == full
    assert repr(made) == repr(full)
    assert dataclasses.asdict(made) == dataclasses.asdict(full)
    for same in (copy.copy(made), pickle.loads(pickle.dumps(made)), dataclasses.replace(made)):
        assert same == full
        assert same.id_is_new
    assert made.with_job_type("other") == dataclasses.replace(full, job_type="other")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.priority = 3  # type: ignore[misc]


@pytest.fixture(params=["json", "orjson"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "json":
        monkeypatch.setattr(entries, "orjson", None)
    elif find_spec("orjson") is None:
        pytest.skip("orjson is not installed")
    yield request.param


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "text",
        {},
        {"a": 1, "b": None, "c": '\u00e9\u2028\x7f\0"\\'},
        {"a": "\ud800"},
        {"a": 2**70, "b": -(2**63)},
        {1: 2, None: 3},
        {Name("a"): Name("b")},
        {"a": [1.5, {"b": (2, 3)}]},
        [1, [2]],
        1.5,
    ],
)
def test_json_is_read_as_it_was_given(encoder: str, value: Any) -> None:
    assert json.loads(encode_json("args", value)) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        {"a": float("inf")},
        {"a": ID},
        ID,
        Colour.RED,
        {"a": Colour.RED},
        {"a": b"x"},
        {ID: 1},
    ],
    ids=repr,
)
def test_what_json_cannot_hold_is_refused(encoder: str, value: Any) -> None:
    with pytest.raises(InvalidJob, match="JSON cannot hold it"):
        encode_json("args", value)


def test_orjson_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("orjson")
    monkeypatch.setattr(entries, "_ENCODER", None)
    assert encode_json("args", {"a": 1}) == b'{"a":1}'
