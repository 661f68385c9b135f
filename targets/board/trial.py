"""Trying an opened model: the self-test, and how long an inference takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.board.errors import MisfitError, SelfTestError
from targets.board.manifest import Bundle, BundledModel
from targets.board.pictures import read_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from targets.board.runtimes import Model

__all__ = ["measure_latency", "self_test", "trial_picture"]

_WINDOW, _SETTLED = 20, 0.03  # inferences per warm-up window; warm once medians differ by less than this


def trial_picture(bundle: Bundle) -> NDArray[np.uint8]:
    """The self-test's picture, uint8 [1, H, W, 3]."""
    return read_picture(bundle.picture)[None]


def self_test(bundle: Bundle, model: BundledModel, opened: Model) -> float:
    """The mean relative difference of depth from what fp32 gave where the bundle was made.

    Raises SelfTestError, with the difference, when it exceeds the model's tolerance or the depth is not finite.
    """
    try:
        expected = np.load(str(bundle.depth), allow_pickle=False).astype(np.float32)
    except (OSError, ValueError) as error:
        raise MisfitError(f"{bundle.depth} cannot be read ({error})", "Copy the bundle again") from error
    depth = opened.infer(trial_picture(bundle))[0]
    fix = "Rebuild it (--rebuild), or use another --precision or --runtime"
    if depth.shape != expected.shape or not np.isfinite(depth).all():
        kind = "is not finite" if depth.shape == expected.shape else f"has the shape {depth.shape}"
        raise SelfTestError(f"The self-test of {model.precision} failed: its depth {kind}", fix)
    difference = float(np.mean(np.abs(depth - expected) / np.maximum(expected, 0.01)))
    if difference > model.tolerance:
        text = "The self-test of {} failed: depth differs by {:.2%} on average; {:.2%} allowed, {:.2%} expected"
        raise SelfTestError(text.format(model.precision, difference, model.tolerance, model.error), fix)
    return difference


def measure_latency(opened: Model, picture: NDArray[np.uint8], seconds: float) -> dict[str, Any]:
    """Milliseconds of one inference, host to host, on pictures that differ."""
    feeds = [np.ascontiguousarray(np.roll(picture, 7 * number, axis=2)) for number in range(8)]
    warm_up, before = 0, float("inf")
    begun = time.perf_counter()
    while time.perf_counter() - begun < max(1.0, 3 * seconds):
        median = float(np.median(_times(opened, feeds, _WINDOW)))
        warm_up += _WINDOW
        if abs(median - before) < _SETTLED * before < float("inf"):
            break
        before = median
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < 100 or time.perf_counter() - begun < seconds:
        taken += _times(opened, feeds, _WINDOW)
    p50, p90, p99 = np.percentile(taken, (50, 90, 99)).tolist()
    return {"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "samples": len(taken), "warm_up": warm_up}


def _times(opened: Model, feeds: list[NDArray[np.uint8]], count: int) -> list[float]:
    taken = []
    for number in range(count):
        feed = feeds[number % len(feeds)]
        started = time.perf_counter()
        opened.infer(feed)
        taken.append(1000 * (time.perf_counter() - started))
    return taken
