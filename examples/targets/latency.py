"""Median and tail latencies of artefacts, measured in turns so that a busy machine slows all of them alike.

    python examples/targets/latency.py runs/kitchen/artefacts/*

This is for choosing settings; for figures to quote use `edgekd bench`. Artefacts of onnxruntime are also measured with
threads that spin, which is ONNX Runtime's default.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from calibration.script import run_script
from targets import get_target
from targets.artefact import open_artefact
from targets.base import RunnerOptions
from targets.reference import import_onnxruntime
from targets.trial import trial_pictures
from targets.turns import time_in_turns

ROUNDS, REPEATS = 20, 10


def spinning(path: Path, threads: int, picture: np.ndarray) -> Callable[[], object]:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["depth"], {"image": picture})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefacts", nargs="+", type=Path, metavar="ARTEFACT")
    calls: dict[str, Callable[[], object]] = {}
    for folder in parser.parse_args().artefacts:
        artefact = open_artefact(folder)
        if not artefact.can_run_here:
            print(f"{artefact.name} cannot run here", file=sys.stderr)
            continue
        picture = trial_pictures(artefact.input.height, artefact.input.width)[:1]
        for threads in (1, 2):
            runner = get_target(artefact.target).open(artefact, RunnerOptions(threads=threads))
            calls[f"{artefact.name}, {threads} thread{'s' * (threads > 1)}"] = lambda runner=runner, picture=picture: (
                runner.infer(picture)
            )
            if artefact.target == "onnxruntime":
                calls[f"{artefact.name}, {threads} spinning thread{'s' * (threads > 1)}"] = spinning(
                    artefact.path, threads, picture
                )
    times = time_in_turns(calls, ROUNDS, REPEATS)
    print("| artefact | p50 ms | p90 ms | p99 ms |")
    print("| --- | --- | --- | --- |")
    for name, taken in times.items():
        p50, p90, p99 = np.percentile(taken, [50, 90, 99])
        print(f"| {name} | {p50:.2f} | {p90:.2f} | {p99:.2f} |")


if __name__ == "__main__":
    run_script(main)
