"""Imported by the process that the programs are forked off: what they would each load anew is there already."""

from __future__ import annotations

import celery_app
import programs

from kombu_depqueue import JobQueue

__all__ = ["celery_app", "programs"]

for _url in ("sqlite:////dev/null/none", "postgresql://nobody@127.0.0.1:1/none", "mysql://nobody@127.0.0.1:1/none"):
    JobQueue(_url).close()  # never connects
