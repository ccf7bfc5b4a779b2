"""Run cells: `python tests/chaos [CELL ...] [--seed N] [--brief]`; all of them by default."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cell import BRIEF, FULL, run_cell
from cells import CELLS

from kombu_depqueue.testing.servers import ServerMissing


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/chaos", description=__doc__)
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"of {', '.join(CELLS)}")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--brief", action="store_true", help="fewer jobs and faults, as in the ordinary tests")
    asked = parser.parse_args()
    if unknown := set(asked.cells) - CELLS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(CELLS)}")
    bad = 0
    for name in asked.cells or CELLS:
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-"))
        try:
            report = run_cell(CELLS[name], asked.seed, folder, BRIEF if asked.brief else FULL)
        except ServerMissing as missing:
            print(f"{name}: left out: {missing}", flush=True)
            continue
        print(report, f"\n    {report.kinds()}", flush=True)
        if report.violations:
            bad += 1
            print(report.complaint(), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
