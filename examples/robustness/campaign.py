"""Kills, full disks, fuzzing and long runs: one table of what was tried, what survived and what was lost.

    python examples/robustness/campaign.py                          # everything
    python examples/robustness/campaign.py kill --trials 50
    python examples/robustness/campaign.py fuzz --inputs 100000 --parsers onnx picture
    python examples/robustness/campaign.py soak --steps 10000 --plot memory.png

The exit code is 1 when anything was lost. Each loss is printed on standard error as it is found.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

CAMPAIGNS = ("kill", "limits", "fuzz", "soak")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"any of {', '.join(CAMPAIGNS)}; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=50, help="number of kills, over all verbs")
    parser.add_argument("--verbs", nargs="*", help="verbs to kill")
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs for each parser")
    parser.add_argument("--parsers", nargs="*", default=[], help="parsers to fuzz")
    parser.add_argument("--unguided", action="store_true", help="fuzz by mutation only")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--exports", type=int, default=100)
    parser.add_argument("--predictions", type=int, default=1000)
    parser.add_argument("--plot", type=Path, help="write a PNG of memory over time here")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.campaigns) - {*CAMPAIGNS}):
        parser.error(f"there is no campaign {unknown[0]}; choose of {', '.join(CAMPAIGNS)}")
    if min(arguments.steps, arguments.exports, arguments.predictions) < 2:
        parser.error("--steps, --exports and --predictions must be at least 2: one measurement shows no growth")
    os.environ["OMP_NUM_THREADS"] = "1"  # set before heavy imports: OpenMP's threads would busy-wait
    sys.path.insert(0, str(Path(__file__).parent))
    from parsers import PARSERS
    from table import Row, printed
    from tiny import VERBS

    for what, given, known in (("verb", arguments.verbs, VERBS), ("parser", arguments.parsers, PARSERS)):
        if unknown := sorted(set(given or ()) - {*known}):
            parser.error(f"there is no {what} {unknown[0]}; choose of {', '.join(known)}")
    chosen = arguments.campaigns or CAMPAIGNS
    rows: list[Row] = []
    if "kill" in chosen:
        from kills import kill_campaign

        rows += kill_campaign(arguments.trials, arguments.seed, tuple(arguments.verbs or VERBS))
    if "limits" in chosen:
        from limits import limits_campaign

        rows += limits_campaign(arguments.seed)
    if "fuzz" in chosen:
        from fuzzing import fuzz_campaign

        guided = not arguments.unguided
        rows += fuzz_campaign(arguments.inputs, arguments.seed, tuple(arguments.parsers), guided=guided)
    if "soak" in chosen:
        from soak import plot, soak_campaign

        memory = soak_campaign(arguments.steps, arguments.exports, arguments.predictions)
        rows += [one.row() for one in memory]
        if arguments.plot is not None:
            plot(memory, arguments.plot)
    print(printed(rows))
    return int(any(row.lost for row in rows))


if __name__ == "__main__":
    sys.exit(main())
