"""Train a teacher on simulated rooms of the photographed look, and print the figures it reached.

    python examples/rooms_teacher/train.py --out rooms.safetensors --work rooms-teacher --images 3200 --steps 3600

makes the built-in teacher; --architecture and --size make other teachers for the same stand-in world.

The photographed look stands in for a camera's private pictures. Their true depth is used here and nowhere else:
distillation has only the teacher's weights. Rendering and training resume where they stopped; a checkpoint of other
settings or another set is refused.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.errors import RunError
from calibration.files import replacing, sha256_file, write_json
from calibration.script import run_script
from edgekd.distill.allocator import keep_freed_memory
from edgekd.distill.device import choose_device
from edgekd.distill.rates import over_steps
from edgekd.distill.settings import PRECISIONS, DistillSettings
from edgekd.distill.student_fit import StudentFit
from edgekd.distill.tensors import to_tensor
from edgekd.evaluate.metrics import score
from edgekd.models.architectures import architecture
from edgekd.models.rooms import ROOMS_INPUT
from edgekd.models.weights import save_weights
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import SimulatedSet, write_set
from targets.input import Framing, InputSpec

TRAIN_SEED, HELD_OUT_SEED, SEED = 101, 202, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the weights to write (.safetensors)")
    parser.add_argument("--work", type=Path, required=True, help="folder for the rendered sets and the checkpoint")
    parser.add_argument("--architecture", default="rooms", help="a name of edgekd.models.architectures")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    keep_freed_memory()

    look = RoomSettings(look="photographed")
    training = _rendered(arguments.work / "training", look, TRAIN_SEED, arguments.images, arguments.workers)
    held_out = _rendered(arguments.work / "held-out", look, HELD_OUT_SEED, arguments.held_out, arguments.workers)

    torch.manual_seed(SEED)
    settings = DistillSettings(
        steps=arguments.steps,
        batch=arguments.batch,
        learning_rate=arguments.learning_rate,
        precision=arguments.precision,
        mixing=None,
        transform=None,
        features=None,
    )
    device = choose_device(arguments.device)
    spec = InputSpec(Framing(*arguments.size), mean=ROOMS_INPUT.mean, std=ROOMS_INPUT.std)
    fit = StudentFit(architecture(arguments.architecture).start(spec), spec, settings, device)
    pictures, depths = _framed(training, spec.framing)
    checkpoint = arguments.work / "checkpoint.pt"
    made_with = {
        "architecture": arguments.architecture,
        "size": list(arguments.size),
        "steps": settings.steps,
        "batch": settings.batch,
        "learning rate": settings.learning_rate,
        "precision": settings.precision,
        "seed": SEED,
        "training set": training.digest,
    }
    start = 0
    if checkpoint.exists():
        start, state = _saved(checkpoint, made_with)
        fit.load_state_dict(state)
        print(f"Resuming from step {start}", flush=True)
    begun, losses = time.monotonic(), []
    for step in range(start, settings.steps):
        batch, truth = (part.to(device) for part in _batch(pictures, depths, step, settings.batch))
        metrics = fit.accumulate(batch, truth)
        fit.update(over_steps(step / settings.steps, settings))
        losses.append(metrics["loss"])
        if (step + 1) % 50 == 0:
            left = (time.monotonic() - begun) / (step + 1 - start) * (settings.steps - step - 1)
            print(f"step {step + 1} loss {np.mean(losses[-50:]):.4f} left {left / 60:.1f} min", flush=True)
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            with replacing(checkpoint) as temporary:
                torch.save({"made with": made_with, "step": step + 1, "state": fit.state_dict()}, temporary)
    fit.finish()

    save_weights(arguments.out, fit.student, architecture=arguments.architecture, input=spec)
    figures = {
        "architecture": arguments.architecture,
        "size": list(arguments.size),
        "seen in training": _figures(fit, training, min(200, len(training)), spec.framing, device),
        "held out": _figures(fit, held_out, len(held_out), spec.framing, device),
        "images": len(training),
        "steps": settings.steps,
        "batch": settings.batch,
        "precision": settings.precision,
        "training set": training.digest,
        "held-out set": held_out.digest,
        "weights": sha256_file(arguments.out),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    write_json(arguments.out.with_suffix(".json"), figures)
    print(json.dumps(figures, indent=2))


def _rendered(folder: Path, settings: RoomSettings, seed: int, count: int, workers: int) -> SimulatedSet:
    from edgekd.cli.console import Console

    return write_set(folder, settings, seed=seed, count=count, workers=workers, keep_depth=True, progress=Console())


def _saved(checkpoint: Path, made_with: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Step and state of a checkpoint. Raises RunError when it is damaged or was made with anything else."""
    start_over = f"Delete {checkpoint} to start over"
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        before, step, state = dict(saved["made with"]), int(saved["step"]), dict(saved["state"])
    except Exception as error:  # torch raises many types for damaged files
        raise RunError(f"The checkpoint {checkpoint} is damaged or of another version", fix=start_over) from error
    apart = [name for name, value in made_with.items() if before.get(name) != value]
    if apart:
        raise RunError(
            f"The checkpoint {checkpoint} was made with another {', '.join(apart)}",
            fix=f"Repeat the command that made it, choose another --work, or {start_over[0].lower()}{start_over[1:]}",
        )
    return step, state


def _framed(images: SimulatedSet, framing: Framing) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    pictures = np.empty((len(images), framing.height, framing.width, 3), np.uint8)
    depths = np.empty((len(images), framing.height, framing.width), np.float16)
    for index in range(len(images)):
        sample = images[index]
        assert sample.depth is not None
        pictures[index] = framing.image(sample.rgb)
        depths[index] = framing.nearest(sample.depth)
    return pictures, depths


def _batch(
    pictures: NDArray[np.uint8], depths: NDArray[np.float16], step: int, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng([7, step])
    chosen = rng.integers(len(pictures), size=size)
    flip = rng.random(size) < 0.5
    rgb = np.where(flip[:, None, None, None], pictures[chosen][:, :, ::-1], pictures[chosen])
    depth = np.where(flip[:, None, None], depths[chosen][:, :, ::-1], depths[chosen]).astype(np.float32)
    return to_tensor(rgb, torch.device("cpu")), torch.from_numpy(depth)[:, None].clamp_min(0.1)


def _figures(
    fit: StudentFit, images: SimulatedSet, count: int, framing: Framing, device: torch.device
) -> dict[str, float]:
    rows = []
    for index in range(count):
        sample = images[index]
        assert sample.depth is not None
        predicted = fit.predict(to_tensor(framing.image(sample.rgb)[None], device))[0, 0].cpu().numpy()
        rows.append(score(predicted, framing.nearest(sample.depth)))
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in ("absrel", "rmse", "delta1")}


if __name__ == "__main__":
    run_script(main, interrupted="Interrupted: the same command goes on from the last checkpoint")
