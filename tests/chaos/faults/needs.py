"""What a fault needs and is not to be had: a skip that says why, or a failure where it should be there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import pytest

from kombu_depqueue.testing.servers import ServerMissing

__all__ = ["had"]

T = TypeVar("T")


@contextmanager
def had(what: AbstractContextManager[T]) -> Iterator[T]:
    """The same, for a test: with `CI=true` what comes from PyPI has to be there."""
    with ExitStack() as stack:
        try:
            thing = stack.enter_context(what)
        except ServerMissing as missing:
            if missing.expected and os.environ.get("CI") == "true":
                pytest.fail(f"not there in CI: {missing}", pytrace=False)
            pytest.skip(str(missing))
        yield thing
