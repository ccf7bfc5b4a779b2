"""`python -m kombu_depqueue.cli` is the `depqueue` command."""

from __future__ import annotations

import sys

from kombu_depqueue.cli import main

if __name__ == "__main__":
    sys.exit(main())
