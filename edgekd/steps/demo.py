"""The whole pipeline on the built-in teacher: distil, export, check, bench, and compare with plain distillation."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calibration.files import write_json
from calibration.progress import Progress
from edgekd.bench import BenchResult, BenchSettings, Scoring
from edgekd.cores import allowed_cores
from edgekd.distill.settings import DistillSettings
from edgekd.evaluate.datasets import open_dataset
from edgekd.evaluate.datasets.frame import DepthDataset, frame_all
from edgekd.evaluate.metrics import score
from edgekd.evaluate.protocols import PROTOCOLS
from edgekd.models.fetch import cache_folder
from edgekd.models.students import DEFAULT_STUDENT, build_student, student_named
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from edgekd.models.weights import fill, load_weights
from edgekd.pictures import preview_strip, save_png
from edgekd.run import RUNS, Run
from edgekd.simulate.rooms import RENDERER, RoomSettings
from edgekd.simulate.store import write_set
from edgekd.steps.bench import bench_run
from edgekd.steps.check import CheckResult, check_run
from edgekd.steps.distill import DistillRequest, distill_run
from edgekd.steps.export import ExportResult, ExportSettings, export_run
from edgekd.steps.images import ImagesSpec, complete_or_locked
from edgekd.steps.training import run_depth

__all__ = ["Accuracy", "DemoResult", "DemoSettings", "demo"]

_TEACHER = "rooms"
_HELD_OUT = 48  # rooms with the photographed look, to measure on
_HELD_OUT_SEED = 303  # neither the seed the teacher was trained on nor the one it was tested on
_SHOWN = 5


@dataclass(frozen=True)
class DemoSettings:
    """Sizes and options of the demo; the defaults take at most ten minutes on two cores."""

    out: Path = field(default_factory=lambda: RUNS / "demo")
    images: int = 640
    steps: int = 500
    seed: int = 0
    threads: int = 1
    device: str = "auto"
    force: bool = False
    command: str = "edgekd demo --out {run}"  # recreates the demo; {run} stands for its folder


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one network in float32 on the held-out pictures: means over images, without alignment."""

    name: str
    absrel: float  # against the true depth
    delta1: float
    agreement: float | None  # delta1 against the teacher; None for the teacher itself


@dataclass(frozen=True)
class DemoResult:
    """Everything the demo produced."""

    run: Run
    exported: ExportResult
    checked: CheckResult
    bench: BenchResult
    accuracy: tuple[Accuracy, ...]  # teacher, student by plain distillation, student
    pictures: tuple[Path, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "run": str(self.run.folder),
            "seconds": round(self.seconds, 1),
            "accuracy": [asdict(row) for row in self.accuracy],
            "check": self.checked.to_json(),
            "bench": self.bench.to_json(),
            "pictures": [str(path) for path in self.pictures],
        }


def demo(settings: DemoSettings, progress: Progress) -> DemoResult:
    """Run the demo, resuming an interrupted one. Raises what its steps raise."""
    begun = time.monotonic()
    progress.note(
        "The teacher is `rooms`, built in: trained on simulated rooms of another look, which stand in for real"
        " photographs. Nothing here is accuracy on real pictures."
    )
    student = student_named(DEFAULT_STUDENT)
    full = DistillSettings(
        steps=settings.steps,
        batch=8,
        learning_rate=student.learning_rate,
        seed=settings.seed,
        preview_every=max(1, settings.steps // 4),
    )
    run = _distilled(settings, full, settings.out, progress)
    progress.note("The same student on the same images and steps without any of that, for comparison")
    plain = replace(full, mixing=None, transform=None, features=None, reconstruction=None)
    beside = settings.out / "plain"
    # Where --force was interrupted before the plain run, that still has the earlier settings.
    anew = settings.force or _has_other_settings(beside, run, plain)
    plain_run = _distilled(replace(settings, force=anew), plain, beside, progress)

    exported = export_run(run, ExportSettings(force=settings.force), progress)
    checked = check_run(run, (), progress)
    held_out = _held_out(progress)
    data = open_dataset(held_out)
    timing = BenchSettings(threads=settings.threads, seconds=3.0)
    benched, _ = bench_run(run, (), timing, progress, scoring=Scoring(data, PROTOCOLS["plain"], held_out))
    accuracy, picture = _compare(run, plain_run, data, settings.command, progress)
    strips = sorted((run.folder / "previews").glob("[0-9]*.png"))[-1:]
    return DemoResult(run, exported, checked, benched, accuracy, (*strips, picture), time.monotonic() - begun)


def _distilled(settings: DemoSettings, distillation: DistillSettings, out: Path, progress: Progress) -> Run:
    images, command = ImagesSpec(count=settings.images, seed=settings.seed), settings.command
    request = DistillRequest(
        teacher=_TEACHER,
        images=images,
        settings=distillation,
        device=settings.device,
        out=out,
        force=settings.force,
        # The demo recreates the plain student too, so {run} is the demo's folder, not that of the plain run.
        command=command if out == settings.out else command.replace("{run}", shlex.quote(str(settings.out))),
    )
    return distill_run(request, progress)


def _has_other_settings(folder: Path, run: Run, distillation: DistillSettings) -> bool:
    """Whether `folder` holds a run that was begun otherwise than with these settings and, for the rest, as `run`."""
    if not Run.exists(folder):
        return False
    step = run.manifest.steps["distill"]
    asked = {**step.asked, "settings": distillation.to_json()}
    return bool(Run.open(folder).differences("distill", inputs=step.inputs, asked=asked))


def _held_out(progress: Progress) -> str:
    """A folder of rooms with the photographed look and their depth, rendered once and kept in the cache."""
    folder = cache_folder() / "simulated" / f"held-out-{RENDERER}-{_HELD_OUT_SEED}-{_HELD_OUT}"
    look = RoomSettings(look="photographed")
    with complete_or_locked(folder, progress) as complete:  # another demo may be rendering them
        if complete is None:
            write_set(
                folder,
                look,
                seed=_HELD_OUT_SEED,
                count=_HELD_OUT,
                workers=len(allowed_cores()),
                keep_depth=True,
                progress=progress,
            )
    return str(folder)


def _compare(
    run: Run, plain_run: Run, data: DepthDataset, command: str, progress: Progress
) -> tuple[tuple[Accuracy, ...], Path]:
    """Accuracy of teacher, plain student and student in float32 on the held-out rooms, and a strip of some of them."""
    teacher = load_teacher(_TEACHER)
    spec = teacher.input
    pictures, truth = frame_all((data[index] for index in range(len(data))), spec.framing)
    networks = {
        "teacher": teacher.module,
        "student, plain distillation": _student(plain_run, teacher),
        "student, mixed and transformed": _student(run, teacher),
    }
    depths: dict[str, NDArray[np.float32]] = {}
    with progress.task("Comparing with plain distillation", total=len(networks)) as advance:
        for name, network in networks.items():
            depths[name] = run_depth(network, spec, pictures)
            advance(1)
    rows = tuple(_accuracy(name, depth, truth, depths["teacher"]) for name, depth in depths.items())
    path = run.folder / "previews" / "held-out.png"
    shown = slice(0, len(pictures), max(1, len(pictures) // _SHOWN))
    panels = {name: depth[shown][:_SHOWN] for name, depth in {"true depth": truth, **depths}.items()}
    with run.lock(progress), run.step("demo", inputs={"data": data.digest}, asked={}, command=command) as made:
        save_png(path, preview_strip({"held out": pictures[shown][:_SHOWN]}, panels))
        write_json(run.folder / "demo.json", [asdict(row) for row in rows])
        made.add(path, run.folder / "demo.json")
    return rows, path


def _accuracy(
    name: str, depth: NDArray[np.float32], truth: NDArray[np.float32], teacher: NDArray[np.float32]
) -> Accuracy:
    scores = [score(predicted, true) for predicted, true in zip(depth, truth, strict=True)]
    agreement = None
    if depth is not teacher:
        agreement = float(np.mean([score(p, t)["delta1"] for p, t in zip(depth, teacher, strict=True)]))
    absrel, delta1 = (float(np.mean([row[metric] for row in scores])) for metric in ("absrel", "delta1"))
    return Accuracy(name, absrel, delta1, agreement)


def _student(run: Run, teacher: Teacher) -> nn.Module:
    path = run.folder / "student.safetensors"
    student = build_student(DEFAULT_STUDENT, teacher)
    fill(student, load_weights(path).tensors, str(path), architecture=DEFAULT_STUDENT)
    return student.eval()
