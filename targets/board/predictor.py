"""A bundle's model ready for use: run.py imported as a module, for nodes and applications.

spec = importlib.util.spec_from_file_location("run", "kitchen/run.py")
run = sys.modules["run"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)
depth = run.Predictor("kitchen").depth(rgb)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from targets.board.errors import InputError
from targets.board.framing import CAMERA_SIDES
from targets.board.manifest import Bundle, BundledModel
from targets.board.runtimes import choose_runtime, open_model
from targets.board.trial import self_test

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["RESULT", "BuildClock", "Predictor", "choose_models", "fastest_first", "framed"]

RESULT = "result.json"
"""The results of the last full run, beside run.py."""


class Predictor:
    """Depth of any picture. The model is built if needed, opened and self-tested.

    `runtime` defaults to the first available one, `precision` to the fastest of the last full run, else int8.
    Raises SelfTestError, MissingError, MisfitError or RefusedError.
    """

    def __init__(self, folder: str, runtime: str | None = None, precision: str | None = None, threads: int = 1) -> None:
        self.bundle = Bundle(Path(folder).resolve())
        name = choose_runtime(self.bundle, runtime)
        model = fastest_first(self.bundle, name, choose_models(self.bundle, name, precision))[0]
        clock = BuildClock(model, name)
        self._opened = open_model(self.bundle, model, name, threads, None, False, clock)
        self.error = self_test(self.bundle, model, self._opened)  # mean relative difference from fp32
        self.about = f"{model.precision}, {self._opened.about}"

    def depth(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth float32 [h, w] in metres of a picture uint8 [H, W, 3], at the network's resolution.

        It covers the part of the picture that `seen` gives.
        """
        depth: NDArray[np.float32] = self._opened.infer(framed(self.bundle, rgb)[None])[0]
        return depth

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels: the part of a picture of this size that the network sees."""
        return self.bundle.framing.box(height, width)

    def close(self) -> None:
        self._opened.close()


class BuildClock:
    """Reports a build's progress: on a terminal one line that is redrawn, elsewhere a line every two seconds."""

    def __init__(self, model: BundledModel, runtime: str) -> None:
        self._what, self._last = f"Building the {model.precision} engine for {runtime}", -1e9
        self._terminal = sys.stderr.isatty()

    def __call__(self, seconds: float, estimate: float | None, step: str) -> None:
        if not self._terminal and seconds - self._last < 2 - 0.5:
            return
        self._last = seconds
        left = "" if estimate is None else f" of about {estimate:.0f}"
        line = f"{self._what}: {seconds:.0f}{left} s, {step}"
        sys.stderr.write("\r\x1b[K" + line[:78] if self._terminal else line + "\n")
        sys.stderr.flush()


def choose_models(bundle: Bundle, runtime: str, precision: str | None) -> list[BundledModel]:
    """The models of a runtime, or the one of that precision. Raises InputError when there is none."""
    models = [model for model in bundle.models_for(runtime) if precision in (None, model.precision)]
    if not models:
        raise InputError(f"The bundle has no {precision} model for {runtime}", "Omit the precision")
    return models


def fastest_first(bundle: Bundle, runtime: str, models: list[BundledModel]) -> list[BundledModel]:
    """The models sorted by speed in the last full run here; without one, int8 first."""
    try:
        kept = json.loads((bundle.folder / RESULT).read_text())
        times = {row["precision"]: row["p50_ms"] for row in kept["rows"]} if kept["runtime"] == runtime else {}
    except (OSError, ValueError, KeyError, TypeError):
        times = {}
    order = ("int8", "fp16", "fp32")
    return sorted(models, key=lambda model: (times.get(model.precision, 1e9), order.index(model.precision)))


def framed(bundle: Bundle, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture as the models take it. Raises InputError for a frame whose size is not the camera's."""
    if bundle.camera is None:
        return bundle.framing.image(rgb)
    if rgb.shape[:2] != bundle.camera:
        wanted, found = (f"{width}x{height}" for height, width in (bundle.camera, rgb.shape[:2]))
        fits = all(CAMERA_SIDES[0] <= side <= CAMERA_SIDES[1] for side in rgb.shape[:2])
        fix = "Rebuild the bundle with --camera " + found if fits else "Use frames of that size"
        raise InputError(f"The models take frames of {wanted}, not {found}", fix)
    return rgb
