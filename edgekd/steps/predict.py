"""Predicts depth for the user's own pictures: an image to look at, and the values beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calibration.errors import DataError
from calibration.files import remove_abandoned
from calibration.progress import Progress
from edgekd.pictures import list_pictures, read_picture, remark_on_folders, save_depth, save_png, strip
from edgekd.pictures.colour import DEFAULT_COLOURS
from targets import get_target
from targets.base import Artefact, Runner, RunnerOptions
from targets.board.pictures import name_results
from targets.input import Framing

__all__ = ["Prediction", "infer_picture", "onto_picture", "predict_pictures"]

_KINDS = ("colour.png", "depth.png", "depth.npy")
_SHOWN_HEIGHT = 480  # maximum height of the panels in the coloured image


@dataclass(frozen=True)
class Prediction:
    """The outputs for one picture. Depth is in metres; `covered` is the share of the picture that the network saw."""

    picture: Path
    colour: Path
    depth: Path
    values: Path | None
    nearest: float
    median: float
    farthest: float
    covered: float


def predict_pictures(
    artefact: Artefact,
    source: Path,
    out: Path,
    options: RunnerOptions,
    progress: Progress,
    *,
    values: bool = False,
    colours: str = DEFAULT_COLOURS,
) -> tuple[list[Prediction], list[Path]]:
    """Write <picture>.colour.png, <picture>.depth.png (16 bits, millimetres) and, with `values`, .npy for each picture.

    `source` is a picture or a folder of them. Depth has the picture's own size, and is 0 where the network saw nothing.
    Unreadable pictures in a folder are skipped with a note, and returned as the second list. Raises DataError,
    ArtefactError, FileError or DiskFullError.
    """
    pictures = [source]
    if source.is_dir():
        pictures = list_pictures(source)
        remark_on_folders(source, progress)
    made, unread = [], []
    results = (f"{name}.{kind}" for name in name_results(pictures) for kind in _KINDS)
    remove_abandoned(out, results)
    with (
        get_target(artefact.target).open(artefact, options) as runner,
        progress.task("Predicting", total=len(pictures)) as advance,
    ):
        for picture, name in zip(pictures, name_results(pictures), strict=True):
            try:
                rgb = read_picture(picture)
            except DataError as error:
                if not source.is_dir():
                    raise
                progress.note(str(error))
                unread.append(picture)
                advance(1)
                continue
            depth = infer_picture(runner, rgb)
            made.append(_write(out / name, picture, _look(picture.name, rgb, depth, colours), depth, values))
            advance(1)
    stale = 0 if values else sum(_metres(out / name).exists() for name in name_results(pictures))
    if stale:
        progress.note(f"{out} still holds .depth.npy files of an earlier command ({stale}); --npy rewrites them")
    return made, unread


def infer_picture(runner: Runner, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Depth [H, W] of a picture uint8 [H, W, 3] at its own size; 0 where the network saw nothing."""
    framing = runner.artefact.input.framing
    return onto_picture(runner.infer(framing.image(rgb)[None])[0], framing, rgb.shape[0], rgb.shape[1])


def onto_picture(depth: NDArray[np.float32], framing: Framing, height: int, width: int) -> NDArray[np.float32]:
    """Depth [h, w] of the network's view, resampled at the pixel centres of the whole picture [height, width].

    Where the network saw nothing, the result is 0, which stands for no depth.
    """
    left, top, right, bottom = framing.box(height, width)
    across, down = depth.shape[1] / (right - left), depth.shape[0] / (bottom - top)
    # Pillow maps the centre of each output pixel. Without a border of copied pixels it would blend the outermost half
    # pixel with nothing.
    padded = np.pad(depth.astype(np.float32), 1, mode="edge")
    coefficients = (across, 0.0, 1 - left * across, 0.0, down, 1 - top * down)
    placed = Image.fromarray(padded).transform(
        (width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    whole: NDArray[np.float32] = np.array(placed)
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    whole[(rows < top) | (rows > bottom)] = 0
    whole[:, (columns < left) | (columns > right)] = 0
    return whole


def _write(stem: Path, picture: Path, look: NDArray[np.uint8], depth: NDArray[np.float32], values: bool) -> Prediction:
    # Not with_suffix: a picture's name may contain dots.
    colour, millimetres = stem.with_name(f"{stem.name}.colour.png"), stem.with_name(f"{stem.name}.depth.png")
    metres = _metres(stem) if values else None
    save_png(colour, look)
    save_depth(millimetres, depth)
    if metres is not None:
        save_depth(metres, depth)
    seen = depth[depth > 0]
    near, middle, far = np.percentile(seen, (1, 50, 99)).tolist() if seen.size else (0.0, 0.0, 0.0)
    return Prediction(picture, colour, millimetres, metres, near, middle, far, seen.size / depth.size)


def _metres(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.depth.npy")


def _look(label: str, rgb: NDArray[np.uint8], depth: NDArray[np.float32], colours: str) -> NDArray[np.uint8]:
    """The picture and its depth in colour side by side, with the scale."""
    scale = min(1.0, _SHOWN_HEIGHT / rgb.shape[0])
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    small = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
    # Nearest neighbour, so that depth is never blended across an edge.
    return strip([(label, [small, np.asarray(Image.fromarray(depth).resize(size, Image.Resampling.NEAREST))])], colours)
