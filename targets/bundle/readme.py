"""The README.md of a bundle: what it is and what to type, for whoever finds it on a board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from targets.bundle.selftest import SelfTest
from targets.input import Framing

if TYPE_CHECKING:
    from targets.bundle.write import BundleOptions, Encoding

__all__ = ["readme"]


def readme(options: BundleOptions, framing: Framing, encodings: Sequence[Encoding], tested: SelfTest) -> str:
    """The text; `framing` is the network's."""
    rows = [
        f"| {encoding.file} | {', '.join(encoding.runtimes)} | {tested.errors[encoding.file]:.3%} | "
        f"{tested.tolerances[encoding.file]:.3%} |"
        for encoding in encodings
    ]
    height, width = tested.picture.shape[:2]
    inside = "Frames go in as the camera gives them: crop and resize are in the graph."
    outside = "run.py crops and resizes for the network; `edgekd bundle --camera` moves that into the graph."
    blind = tested.blind_to()
    caution = f"The self-test would not notice {' nor '.join(blind)}: check a picture by eye.\n\n" if blind else ""
    return _TEXT.format(
        name=options.name,
        unit="metres" if options.metric else "an unknown unit",
        measure="" if options.metric else _OWN_UNIT,
        height=height,
        width=width,
        framed=inside if options.camera else outside,
        part=_part(framing, options.camera),
        rows="\n".join(rows),
        caution=caution,
    )


def _part(framing: Framing, camera: tuple[int, int] | None) -> str:
    """What the depth is of: the network need not see the whole picture."""
    height, width = camera or _EXAMPLE
    box = left, top, right, bottom = framing.box(height, width)
    of_all = box == (0, 0, width, height)
    part = "everything" if of_all else f"the columns {left:.0f} to {right:.0f} and the rows {top:.0f} to {bottom:.0f}"
    return (
        f"Of a {'frame' if camera else 'picture'} of {width}x{height} the network sees {part}, and depth is of that. "
        "run.py says it of each picture\n(`seen` in --json, `Predictor.seen` in Python)."
    )


_EXAMPLE = (480, 640)  # height and width of most cameras

_OWN_UNIT = """
The network was distilled from one whose depth has no known unit: only ratios of depth are meaningful. "Metres" and
"millimetres" here are that unit.
"""

_TEXT = """\
# {name}: depth in {unit} from one picture
{measure}
    python3 run.py                  build what is missing, self-test, latency of every precision
    python3 run.py PICTURE FOLDER   depth as 16-bit millimetres and in colour, in ./depth
    python3 run.py --camera 0       a camera (OpenCV)
    python3 run.py --help           all options

Needs Python 3.8 or newer, numpy, and a runtime that the models are for. Nothing is installed or downloaded.

Input `image` uint8 [N, {height}, {width}, 3] RGB, output `depth` float32 [N, h, w] in {unit}; normalisation is inside.
{framed}
{part}

| model | for | self-test: from fp32 | allowed |
| --- | --- | --- | --- |
{rows}

{caution}TensorRT builds an engine for this device and version on first use, into engines/. After an update of either
`python3 run.py --rebuild` rebuilds it; `sh build.sh` does it with trtexec. manifest.json has every file's digest.
"""
