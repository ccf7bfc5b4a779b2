"""The native door: all rules on JobQueues."""

from __future__ import annotations

from model.comparing import Comparing
from model.enqueueing import Enqueueing
from model.operating import Operating
from model.passing import Passing
from model.settling import Settling

__all__ = ["QueueMachine"]


class QueueMachine(Comparing, Enqueueing, Settling, Operating, Passing):
    """JobQueues against the model."""
