"""Celery on kombu-depqueue: dependencies by outcome, results, chords without polling, transactions.

Active as soon as it is installed: the transport loads it in every process that has Celery in
it. What `__all__` names is public.
"""

from __future__ import annotations

from kombu_depqueue_celery.dependencies import After, after
from kombu_depqueue_celery.errors import JobFailed
from kombu_depqueue_celery.transactions import enlist, finish

__all__ = ["After", "JobFailed", "after", "enlist", "finish"]

__version__ = "0.1.0"
