"""The native door: all rules on JobQueues."""

from __future__ import annotations

from model.comparing import Comparing
from model.enqueueing import Enqueueing
from model.operating import Operating
from model.stale import Stale

__all__ = ["QueueMachine"]


class QueueMachine(Comparing, Enqueueing, Operating, Stale):
    """JobQueues against the model."""
