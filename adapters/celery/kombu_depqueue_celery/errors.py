"""Exceptions that stand for what happened to a job outside of its code."""

from __future__ import annotations

__all__ = ["JobFailed"]


class JobFailed(Exception):
    """A job failed otherwise than by an exception in a task; the message is the reason.

    Such as: its worker was lost, its deliveries were used up, a native worker reported a failure.
    """
