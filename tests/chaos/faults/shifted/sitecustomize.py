"""Python imports this at its start, in programs whose clock is shifted (see `faults.clock`)."""

import select
import time


def sleep(seconds: float) -> None:
    """As `time.sleep`, by another call of the system: that one libfaketime 0.9.10 gets wrong (EINVAL)."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = sleep
