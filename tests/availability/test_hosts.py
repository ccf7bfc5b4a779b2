"""Several hosts in one URL: in which order they are tried, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from kombu_depqueue import InvalidJob, JobQueue
from kombu_depqueue.dialects.lean import PASS_OVER, connect_options


@pytest.mark.parametrize(
    ("given", "last", "wanted"),
    [
        ({"host": "a,b,c"}, None, {"host": "a,b,c"}),
        ({"host": "a,b,c"}, ("b", 5432), {"host": "b,a,c"}),
        ({"host": "a,b,c"}, ("d", 5432), {"host": "a,b,c"}),
        ({"host": "a,a", "port": "1,2"}, ("a", 2), {"host": "a,a", "port": "2,1"}),
        ({"host": "a,b", "port": "7"}, ("b", 7), {"host": "b,a", "port": "7,7"}),
        ({"host": "a,b", "hostaddr": "1.1.1.1,1.1.1.2"}, ("b", 5432), {"host": "a,b"}),
        ({"host": "a"}, ("b", 5432), {"host": "a"}),
        ({}, None, {}),
    ],
)
def test_the_host_that_was_good_last_is_tried_first(
    given: dict[str, Any], last: tuple[str, int] | None, wanted: dict[str, str]
) -> None:
    found = connect_options(given, 30.0, last)
    assert {name: found[name] for name in ("host", "port") if name in found} == wanted


@pytest.mark.parametrize(
    ("given", "left", "wanted"),
    [
        ({"host": "a"}, 30.0, 30),
        ({"host": "a"}, 0.1, 2),  # the least that libpq takes
        ({"host": "a,b,c"}, 30.0, PASS_OVER),
        ({"host": "a,b,c"}, 9.0, 3),
        ({"host": "a,b,c", "connect_timeout": "7"}, 9.0, "7"),
    ],
)
def test_a_host_that_says_nothing_leaves_time_for_the_others(
    given: dict[str, Any], left: float, wanted: object
) -> None:
    assert connect_options(given, left, None)["connect_timeout"] == wanted


def test_ports_in_a_list_of_hosts_are_refused_with_how_they_are_written() -> None:
    with pytest.raises(InvalidJob, match="host=h1:5432&host=h2:5433"):
        JobQueue("postgresql://u@h1:5433,h2:5434/db")
