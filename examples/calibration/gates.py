"""Products with a sigmoid (SiLU, squeeze-and-excitation) in int8, rounded and in float: speed and drift, in turns.

    cd examples/teachers                  # any teacher with such products; this one has random weights
    edgekd calibrate --teacher library_networks:efficientnet --no-transformation --images 200 --out ../../runs/gates
    python ../calibration/gates.py ../../runs/gates

Drift is the mean relative difference of depth from fp32, on 16 calibration pictures that nothing was calibrated on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from speed import REPEATS, ROUNDS, onnxruntime_call, openvino_call

from calibration.images import CalibrationSet
from calibration.progress import Quiet
from calibration.script import run_script
from edgekd.run import find_run
from edgekd.steps.artefacts import run_model
from targets.calibrated import quantise
from targets.drift import measure_drift
from targets.encodings import U8S8, U8S8_FLOAT_SUMS
from targets.graph import read_graph
from targets.nodes import GATES
from targets.quantise import calibrate
from targets.quick import quantise_for_onnxruntime
from targets.reference import infer_model
from targets.turns import time_in_turns

HELD_OUT = 16
KINDS = {"rounded": U8S8.kinds, "in float": U8S8.kinds - GATES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run with its exported model and calibration set")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    run = find_run(arguments.run, Quiet())
    images = np.asarray(CalibrationSet.open(run.folder / "calibration").images)
    held_out = images[-HELD_OUT:]
    graph = read_graph(run_model(run))
    calibrated, expected = calibrate(graph, images[:-HELD_OUT], Quiet()), infer_model(graph.model, held_out)
    calls = {
        ("onnxruntime", "fp32"): onnxruntime_call(graph.model, arguments.threads, held_out[:1]),
        ("openvino", "fp32"): openvino_call(graph.model, arguments.threads, held_out[:1]),
    }
    drifts, models = {}, {}
    for name, kinds in KINDS.items():
        model = quantise_for_onnxruntime(calibrated, replace(U8S8, kinds=kinds))
        models[name] = model.SerializeToString(deterministic=True)
        drifts[name] = measure_drift(infer_model(model, held_out), expected).abs_rel
        calls["onnxruntime", name] = onnxruntime_call(model, arguments.threads, held_out[:1])
        for_openvino = quantise(calibrated, replace(U8S8_FLOAT_SUMS, kinds=U8S8_FLOAT_SUMS.kinds | (kinds & GATES)))
        calls["openvino", name] = openvino_call(for_openvino, arguments.threads, held_out[:1])
    if models["rounded"] == models["in float"]:
        raise SystemExit(f"{run.folder} has no products with a sigmoid between int8 layers: both models are the same")
    times = time_in_turns(calls, ROUNDS, REPEATS)
    print(f"{run.folder}, {arguments.threads} thread(s), {ROUNDS} rounds of {REPEATS}")
    print(f"drift: rounded {drifts['rounded']:.4f}, in float {drifts['in float']:.4f}\n")
    print("| runtime | fp32 ms | int8, gates in float, ms | int8, gates rounded, ms | rounded over float |")
    print("| --- | --- | --- | --- | --- |")
    for runtime in ("onnxruntime", "openvino"):
        fp32, floats, rounded = (float(np.median(times[runtime, kind])) for kind in ("fp32", "in float", "rounded"))
        print(f"| {runtime} | {fp32:.2f} | {floats:.2f} | {rounded:.2f} | {rounded / floats:.2f} |")


if __name__ == "__main__":
    run_script(main)
