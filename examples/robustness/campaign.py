"""Kills, full disks, fuzzing and long runs: one table of what was tried, what survived and what was lost.

python examples/robustness/campaign.py                          # everything, some hours
python examples/robustness/campaign.py kill --trials 50
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

CAMPAIGNS = ("kill",)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"of: {', '.join(CAMPAIGNS)}")
    parser.add_argument("--trials", type=int, default=50, help="kills over all verbs")
    parser.add_argument("--verbs", nargs="*", help="those to kill")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before anything heavy is imported: OpenMP's threads would wait busily
    sys.path.insert(0, str(Path(__file__).parent))
    from kills import kill_campaign
    from table import printed
    from tiny import VERBS

    chosen = arguments.campaigns or CAMPAIGNS
    rows = []
    if "kill" in chosen:
        rows += kill_campaign(arguments.trials, arguments.seed, tuple(arguments.verbs or VERBS))
    print(printed(rows))
    return int(any(row.lost for row in rows))


if __name__ == "__main__":
    sys.exit(main())
