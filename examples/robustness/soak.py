"""Does memory stay flat in one process over many steps, exports and predictions?"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tiny
import torch
from table import Row

from calibration.progress import Advance, Quiet
from edgekd.distill.loop import distill
from edgekd.distill.settings import DistillSettings, TransformSettings
from edgekd.models.students import build_student
from edgekd.run import Run
from edgekd.simulate.sample import SimulatedImage
from edgekd.steps.export import ExportSettings, export_run
from targets import get_target
from targets.artefact import open_artefact
from targets.base import RunnerOptions

__all__ = ["Memory", "plot", "soak_campaign"]

_ALLOWED = 0.02  # growth of the last quarter's median over the second quarter's, as a share
_POINTS = 400


@dataclass(frozen=True)
class Memory:
    """What a process held (resident MB) while it did the same thing again and again."""

    what: str
    times: tuple[int, ...]
    megabytes: tuple[float, ...]

    @property
    def growth(self) -> float:
        """Median of the last quarter over that of the second: what comes before is warming up."""
        quarter = max(1, len(self.megabytes) // 4)
        return float(np.median(self.megabytes[-quarter:]) / np.median(self.megabytes[quarter : 2 * quarter])) - 1

    @property
    def flat(self) -> bool:
        return self.growth < _ALLOWED

    def row(self) -> Row:
        """Its line of the table: lost is everything when memory grew."""
        count = self.times[-1]
        about = f"{self.what}: {self.megabytes[-1]:.0f} MB at the end, growth {self.growth:+.2%}"
        return Row(about, count, count if self.flat else 0, 0 if self.flat else count)


class _Watch(Quiet):
    """Notes memory now and then while a task advances."""

    def __init__(self, every: int) -> None:
        self.every, self.done = every, 0
        self.times: list[int] = []
        self.megabytes: list[float] = []

    def tick(self) -> None:
        self.done += 1
        if self.done % self.every == 0:
            self.times.append(self.done)
            self.megabytes.append(resident())


def resident() -> float:
    """MB of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class _Noise:
    """An ImageSource of small random pictures with one object each."""

    digest = "noise"

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> SimulatedImage:
        rng = np.random.default_rng(index)
        ids = np.zeros((32, 48), np.uint16)
        ids[8:16, 8:20] = 1
        return SimulatedImage(rng.integers(0, 255, (32, 48, 3)).astype(np.uint8), ids)


def steps(count: int) -> Memory:
    """`count` steps of a distillation with everything on: mixing, transformation, previews and checkpoints."""
    import edgekd.distill.loop as loop

    loop._SAVE_EVERY_SECONDS = 0.5
    watch = _Watch(max(1, count // _POINTS))

    class Watching(Quiet):
        def task(self, label: str, total: int | None = None):  # type: ignore[no-untyped-def]
            return _Ticking(watch)

    teacher = tiny.teacher(32, 48)
    settings = DistillSettings(
        steps=count, batch=2, set_aside=8, preview_every=max(1, count // 20), transform=TransformSettings(warm_up=4)
    )
    with tempfile.TemporaryDirectory() as folder:
        student = build_student("mobile-s", teacher, 0)
        distill(
            teacher,
            student,
            _Noise(),
            settings,
            Path(folder),
            Watching(),
            device=torch.device("cpu"),
            student_name="mobile-s",
        )
    return Memory("steps of a distillation", tuple(watch.times), tuple(watch.megabytes))


class _Ticking:
    def __init__(self, watch: _Watch) -> None:
        self._watch = watch

    def __enter__(self) -> Advance:
        def advance(units: int) -> None:
            for _ in range(units):
                self._watch.tick()

        return advance

    def __exit__(self, *_: object) -> None:
        return None


def _repeated(what: str, count: int, act: Callable[[int], object]) -> Memory:
    watch = _Watch(max(1, count // _POINTS))
    for number in range(count):
        act(number)
        if number % 10 == 9:
            gc.collect()
        watch.tick()
    return Memory(what, tuple(watch.times), tuple(watch.megabytes))


def exports(run: Run, count: int) -> Memory:
    """The same export again and again, float and int8 in turn, for ONNX Runtime and OpenVINO."""
    chosen = [(target, precision) for target in ("onnxruntime", "openvino") for precision in ("fp32", "int8")]

    def export(number: int) -> None:
        target, precision = chosen[number % len(chosen)]
        export_run(run, ExportSettings((target,), (precision,), force=True), Quiet())

    return _repeated("exports", count, export)


def predictions(run: Run, count: int) -> Memory:
    """Artefacts opened, asked for the depth of a picture, and closed."""
    names = ("onnxruntime-int8", "openvino-int8")
    export_run(run, ExportSettings(("onnxruntime", "openvino"), ("int8",)), Quiet())  # not all may be built
    artefacts = [open_artefact(run.folder / "artefacts" / name) for name in names]
    picture = np.zeros((1, artefacts[0].input.height, artefacts[0].input.width, 3), np.uint8)

    def predict(number: int) -> None:
        artefact = artefacts[number % len(artefacts)]
        with get_target(artefact.target).open(artefact, RunnerOptions()) as runner:
            runner.infer(picture)

    return _repeated("predictions, each with its artefact opened", count, predict)


def soak_campaign(count: int, exported: int, predicted: int) -> list[Memory]:
    """All three, on a tiny run that is made first."""
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            found = [steps(count)]
            print(found[-1].row(), file=sys.stderr, flush=True)
            tiny.simulate(workers=1, count=32)
            tiny.distil()
            run = Run.open(tiny.RUN)
            for what in (lambda: exports(run, exported), lambda: predictions(run, predicted)):
                found.append(what())
                print(found[-1].row(), file=sys.stderr, flush=True)
        finally:
            os.chdir(before)
    return found


def plot(found: Sequence[Memory], path: Path) -> None:
    """Memory over time, one panel each, as a PNG."""
    from PIL import Image, ImageDraw

    width, height, left, top = 300, 180, 60, 30
    sheet = Image.new("RGB", (len(found) * (width + left) + 20, height + 2 * top + 10), "white")
    draw = ImageDraw.Draw(sheet)
    for panel, memory in enumerate(found):
        x, y = panel * (width + left) + left, top
        high = 1.2 * max(memory.megabytes)
        draw.rectangle([x, y, x + width, y + height], outline=(150, 150, 150))
        draw.text((x, y - 18), memory.what, fill="black")
        for share in (0, 0.5, 1):
            draw.text((x - left + 8, y + height * (1 - share) - 6), f"{high * share:.0f} MB", fill="black")
        draw.text((x, y + height + 6), f"1 to {memory.times[-1]:,}; growth {memory.growth:+.2%}", fill="black")
        line = [
            (x + width * time / memory.times[-1], y + height * (1 - held / high))
            for time, held in zip(memory.times, memory.megabytes, strict=True)
        ]
        draw.line(line, fill=(20, 80, 160), width=2)
    sheet.save(path, optimize=True)
