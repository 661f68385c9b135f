"""What each lever of int8 quality is worth: the table of levers in targets/README.md.

    edgekd calibrate --teacher fastdepth            # or edgekd distill
    python examples/calibration/levers.py runs/fastdepth [--pairs PAIRS/index.csv]

Measures the model as it is built, then with each lever changed alone, calibrated on the run's own set. Prints agreement
with the model's own fp32 depth on simulated rooms of the photographed look, by which the levers were chosen, and on the
real frames of PAIRS, which only confirm.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from onnx import helper, numpy_helper
from pictures import Images, rooms

from calibration.images import CalibrationSet
from calibration.progress import Quiet
from calibration.script import run_script
from edgekd.evaluate import open_dataset
from edgekd.run import find_run
from edgekd.steps.artefacts import run_model
from targets.calibrated import Calibrated, encode_nodes, infer_quantised, quantise
from targets.drift import Drift, measure_drift
from targets.encode import encode
from targets.encodings import S8, U8S8
from targets.equalise import EQUALISING, SMOOTHING, channel_factors, divide_channels, measure_reach
from targets.gaussian import propagate
from targets.graph import DepthGraph, copy_model, read_graph
from targets.layers import ConvLayer, Weights, conv_layers
from targets.nodes import body, inner
from targets.quantise import calibrate
from targets.ranges import KEPT, RANGED_ON, activations, measure_ranges, spread
from targets.reference import emulate_model, fold, infer_model
from targets.rounding import round_layers
from targets.statistics import read_statistics
from targets.widening import REACH, divide_statistics, widen

Infer = Callable[[Images], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Levers:
    """Those that act while calibrating; the defaults are what is built."""

    equalising: float = EQUALISING
    smoothing: float = SMOOTHING
    learned: bool = True
    corrected: bool = True
    kept: float = KEPT
    reach: float = REACH  # stored BatchNorm deviations that the ranges cover; 0: none
    ends: bool = False  # whether the first and the output layer are int8 too


def calibrated_with(levers: Levers, graph: DepthGraph, images: Images, floats: tuple[str, ...]) -> Calibrated:
    folded = fold(graph.model)
    reach = measure_reach(folded, images, Quiet())
    factors = channel_factors(folded, reach, levers.equalising, levers.smoothing)
    model = divide_channels(folded, factors)
    nodes = inner(model, U8S8.kinds)
    if levers.ends:
        nodes = [*body(model, U8S8.kinds), *[node for node in model.graph.node if node.op_type == "Conv"][-1:]]
    layers = {name: layer for name, layer in conv_layers(model).items() if name in {node.name for node in nodes}}
    names = activations(model, nodes)
    ranges = measure_ranges(model, images, names, Quiet(), levers.kept)
    statistics = divide_statistics(read_statistics(graph.model), factors)
    if levers.reach:
        ranges = widen(ranges, propagate(model, statistics, graph.input), levers.reach)
    rounded = round_layers(model, layers, images[::2], Quiet(), learned=levers.learned)
    if not levers.corrected:
        rounded = {name: uncorrected(weights, layers[name]) for name, weights in rounded.items()}
    return Calibrated(model, ranges, rounded, floats)


def uncorrected(weights: Weights, layer: ConvLayer) -> Weights:
    return replace(weights, bias=layer.weights.bias)


def both(calibrated: Calibrated) -> Infer:
    return lambda images: (infer_quantised(calibrated, U8S8, images), infer_quantised(calibrated, S8, images))


def uncentred(calibrated: Calibrated) -> Infer:
    nodes = [node.name for node in inner(calibrated.model, S8.kinds) if node.name not in calibrated.float_layers]
    model = encode(calibrated.model, S8, calibrated.ranges, calibrated.rounded, nodes)
    return lambda images: (infer_quantised(calibrated, U8S8, images), emulate_model(model, images))


def with_end(calibrated: Calibrated, end: int) -> Infer:
    """With the first (0) or the output layer (-1) in int8 too."""
    name = [node.name for node in calibrated.model.graph.node if node.op_type == "Conv"][end]

    def infer(images: Images) -> tuple[np.ndarray, np.ndarray]:
        models = []
        for encoding in (U8S8, S8):
            inside = {node.name for node in quantise(calibrated, encoding).graph.node}
            chosen = [node.name for node in inner(calibrated.model, encoding.kinds) if node.name in inside]
            models.append(encode_nodes(calibrated, encoding, [*chosen, name]))
        return infer_model(models[0], images), emulate_model(models[1], images)

    return infer


def with_rounded_end(calibrated: Calibrated) -> Infer:
    """With what the output layer reads rounded as well, in U8S8 as in S8."""
    source = [node for node in calibrated.model.graph.node if node.op_type == "Conv"][-1].input[0]
    low, high = calibrated.ranges[source]
    step = (high - low) / 255

    def infer(images: Images) -> tuple[np.ndarray, np.ndarray]:
        depths = []
        for encoding, run in ((U8S8, infer_model), (S8, emulate_model)):
            model = copy_model(quantise(calibrated, encoding))
            last = [node for node in model.graph.node if node.op_type == "Conv"][-1]
            constants = {"end_scale": np.float32(step), "end_zero": np.uint8(round(-low / step))}
            model.graph.initializer.extend(numpy_helper.from_array(np.array(v), name) for name, v in constants.items())
            at = next(index for index, node in enumerate(model.graph.node) if node.name == last.name)
            read = last.input[0]
            last.input[0] = "end"
            for kind, given, taken in (("DequantizeLinear", "end_codes", "end"), ("QuantizeLinear", read, "end_codes")):
                model.graph.node.insert(at, helper.make_node(kind, [given, *constants], [taken], name=kind + "_end"))
            depths.append(run(model, images))
        return depths[0], depths[1]

    return infer


def output_codes(graph: DepthGraph, *, log: bool) -> Infer:
    """The fp32 depth in 256 steps: what an int8 output layer loses by its output alone."""

    def infer(images: Images) -> tuple[np.ndarray, np.ndarray]:
        depth = infer_model(graph.model, images)
        low, high = max(float(depth.min()), 0.1), float(depth.max())
        if log:
            step = np.log(high / low) / 255
            rounded = low * np.exp(np.round(np.log(depth.clip(low) / low) / step) * step)
        else:
            rounded = np.round(depth / (high / 255)) * (high / 255)
        return rounded.astype(np.float32), rounded.astype(np.float32)

    return infer


def rows(graph: DepthGraph, images: Images) -> Iterator[tuple[str, Infer]]:
    built = calibrate(graph, images, Quiet())
    floats, chosen = built.float_layers, spread(images, RANGED_ON)

    def changed(levers: Levers) -> Calibrated:
        return calibrated_with(levers, graph, chosen, floats)

    yield f"as built ({len(floats)} layers left in float)", both(built)
    yield "nearest rounding in place of learned", both(changed(Levers(learned=False)))
    yield "no bias correction", both(changed(Levers(corrected=False)))
    yield "nearest rounding, no bias correction", both(changed(Levers(learned=False, corrected=False)))
    yield "no equalisation across layers", both(changed(Levers(equalising=0)))
    yield "full equalisation", both(changed(Levers(equalising=1)))
    yield "outlier channels smoothed by half too", both(changed(Levers(smoothing=0.5)))
    for reach in (0, 3, 6):
        yield (
            f"ranges that hold {reach} stored deviations" if reach else "ranges of the pictures alone",
            both(changed(Levers(reach=reach))),
        )
    yield "what the output layer reads rounded too", with_rounded_end(built)
    yield "no centring (S8 alone)", uncentred(built)
    yield "no layer left in float", both(replace(built, float_layers=()))
    yield "first layer in int8 too", with_end(changed(Levers(ends=True)), 0)
    yield "output layer in int8 too", with_end(changed(Levers(ends=True)), -1)
    yield "fp32, its depth in 256 even steps", output_codes(graph, log=False)
    yield "fp32, its depth in 256 steps of the logarithm", output_codes(graph, log=True)
    for kept in (1.0, 0.9999, 0.999):
        yield f"ranges that keep {kept:.2%} of the values", both(changed(Levers(kept=kept)))


def figures(drift: Drift) -> str:
    return f"{drift.within_5:.3f} / {drift.within_1:.3f} / {drift.scale_ratio:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run of edgekd calibrate or distill")
    parser.add_argument("--pairs", help="index.csv of RGB-D frames to confirm on")
    arguments = parser.parse_args()
    run = find_run(arguments.run, Quiet())
    graph = read_graph(run_model(run))
    images = np.asarray(CalibrationSet.open(run.folder / "calibration").split()[0])
    places = {"photographed rooms": rooms(graph.input.framing, 32, "photographed")[0]}
    if arguments.pairs:
        data = open_dataset(arguments.pairs)
        places["real frames"] = np.stack([graph.input.framing.image(data[index].rgb) for index in range(len(data))])
    expected = {place: infer_model(graph.model, pictures) for place, pictures in places.items()}
    print(f"{graph.path}: within 5 % / within 1 % / scale ratio\n")
    columns = [f"{place}, {encoding}" for place in places for encoding in ("U8S8", "S8")]
    print(f"| lever | {' | '.join(columns)} |")
    print("| --- " * (1 + len(columns)) + "|", flush=True)
    for label, infer in rows(graph, images):
        print(label, file=sys.stderr)
        cells = [
            figures(measure_drift(depth, expected[place]))
            for place, pictures in places.items()
            for depth in infer(pictures)
        ]
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    run_script(main)
