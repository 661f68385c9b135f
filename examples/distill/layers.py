"""How far a run's pictures are from its teacher's stored statistics, layer by layer: simulated, and transformed.

    python examples/distill/layers.py runs/fastdepth-slim-l IMAGES [--pictures 200] [--out examples/distill]

IMAGES is a simulated set (`edgekd simulate --out IMAGES`). Prints the table and writes OUT/<teacher>-layers.svg,
and the run's last preview as OUT/<teacher>-pictures.jpg.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calibration.files import write_bytes
from calibration.script import run_script
from edgekd.distill.adapt import load_transform, transformed_images
from edgekd.distill.adaptation import measure_adaptation
from edgekd.distill.settings import TransformSettings
from edgekd.distill.statistics import stored_statistics
from edgekd.models.teachers import load_teacher
from edgekd.run import Run
from edgekd.simulate.store import SimulatedSet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("examples/distill"))
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    assert run.manifest.teacher is not None
    teacher = load_teacher(run.manifest.teacher.spec)
    images = SimulatedSet.open(arguments.images)
    if not 1 <= arguments.pictures <= len(images):
        parser.error(f"--pictures {arguments.pictures}, but {arguments.images} holds {len(images)}")
    framing = teacher.input.framing
    simulated = np.stack([framing.image(images[index].rgb) for index in range(arguments.pictures)])
    transformed = transformed_images(load_transform(run.folder / "transform.safetensors"), simulated, seed=0)
    stored = stored_statistics(teacher.module)
    found = measure_adaptation(teacher, stored, TransformSettings(), simulated, transformed)
    before, after, matched = np.array(found.simulated), np.array(found.transformed), found.matched
    names = found.layers
    print(f"{teacher.name} ({teacher.digest[:12]}), {arguments.pictures} pictures of {images.digest[:12]}")
    print(f"{'layer':40} simulated transformed")
    for place, (name, one, other) in enumerate(zip(names, before, after, strict=True)):
        print(f"{name[:38]:38} {'*' if place < matched else ' '} {one:9.4f} {other:11.4f}")
    for label, part in (
        (f"mean of the {matched} matched layers (*)", slice(matched)),
        (f"mean of the other {len(names) - matched}", slice(matched, None)),
    ):
        print(f"{label:40} {before[part].mean():9.4f} {after[part].mean():11.4f}")

    chart = arguments.out / f"{teacher.name}-layers.svg"
    write_bytes(chart, draw(before, after, matched).encode())
    *_, last = sorted((run.folder / "previews").glob("[0-9]*.png"))
    with Image.open(last) as preview:
        preview.convert("RGB").save(arguments.out / f"{teacher.name}-pictures.jpg", quality=85)
    print(f"{chart}, and {teacher.name}-pictures.jpg beside it")


def draw(before: NDArray[np.float64], after: NDArray[np.float64], matched: int) -> str:
    """A chart of both over the layers, logarithmic; the layers that are matched are shaded."""
    width, height, left, bottom = 760, 300, 52, 40
    low, high = np.floor(np.log10(min(min(before), min(after)))), np.ceil(np.log10(max(max(before), max(after))))

    def x(place: float) -> float:
        return left + (width - left - 12) * (place + 0.5) / len(before)

    def y(value: float) -> float:
        return 14 + (height - bottom - 14) * (high - np.log10(value)) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<rect x="{left}" y="14" width="{x(matched - 0.5) - left:.1f}"'
        f' height="{height - bottom - 14}" fill="#eef3f8"/>',
        f'<text x="{left + 6}" y="28" fill="#567">matched</text>',
    ]
    for power in range(int(low), int(high) + 1):
        at = y(10.0**power)
        parts.append(f'<line x1="{left}" x2="{width - 12}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for values, colour, label, at in ((before, "#b45f06", "simulated", 90), (after, "#1f5fa8", "transformed", 180)):
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{left + at}" y="28" fill="{colour}">{label}</text>')
    parts.append(
        f'<text x="{(left + width) / 2}" y="{height - 12}" text-anchor="middle">'
        "layer of the teacher, first to last: distance of its statistics from the stored ones</text></svg>"
    )
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    run_script(main)
