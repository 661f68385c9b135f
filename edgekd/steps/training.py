"""What distilling and calibrating share after their first step: writing what the device needs into the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calibration.coverage import check_images
from calibration.errors import DataError, ModelError
from calibration.files import read_json, write_json
from calibration.images import CalibrationSet
from calibration.progress import Progress
from edgekd.distill.adapt import load_transform, transformed_images
from edgekd.distill.adaptation import Adaptation, measure_adaptation
from edgekd.distill.batches import Batches
from edgekd.distill.framed_images import FramedImages
from edgekd.distill.settings import DistillSettings, TransformSettings
from edgekd.distill.statistics import StoredStatistics, stored_statistics
from edgekd.distill.transform import TransformNet
from edgekd.models.pictures import NormalisePictures
from edgekd.models.teacher import Teacher
from edgekd.models.to_onnx import RECIPE, export_onnx
from edgekd.run import Run
from edgekd.simulate.readers import open_source
from edgekd.simulate.sample import ImageSource
from edgekd.steps.check import References, write_references
from edgekd.steps.images import ImagesSpec, open_images
from targets.graph import TEACHER_KEY
from targets.input import InputSpec

__all__ = ["Training", "require_finite", "require_pictures", "run_depth"]

_BATCH = 8
_COMPARED = 64  # pictures


@dataclass(frozen=True)
class Training:
    """A run in the making and what it is made from. `command` rebuilds it."""

    run: Run
    teacher: Teacher
    images: ImagesSpec
    settings: DistillSettings
    command: str
    progress: Progress

    @cached_property
    def source(self) -> ImageSource:
        """The simulated images, rendered or opened at first use, as a complete run needs none."""
        return open_images(self.images, self.progress)

    def _set_aside(self) -> NDArray[np.uint8]:
        """The simulated pictures that nothing was trained on, framed for the network."""
        return Batches(FramedImages(self.source, self.teacher.input.framing), self.settings).aside()

    @property
    def transform_file(self) -> Path:
        return self.run.folder / "transform.safetensors"

    def keep_calibration(self, stored: StoredStatistics | None, inputs: Mapping[str, str]) -> None:
        """Keep the run's calibration set and, if its pictures are transformed, how close that brought them to `stored`.

        `stored` holds the statistics that the transformation was fitted to; None stands for the teacher's own.
        """
        if self.settings.transform is None:
            self._keep_pictures(None, inputs)
            return
        transform = load_transform(self.transform_file)
        made_from = {**inputs, "transform": self.run.digest(self.transform_file)}
        self._keep_pictures(transform, made_from)
        self._keep_adaptation(self.settings.transform, stored, made_from)

    def _keep_pictures(self, transform: TransformNet | None, made_from: Mapping[str, str]) -> None:
        """Keep the pictures set aside, transformed, as the run's calibration set, unless that is already done."""
        kind = "simulated rooms" if self.images.folder is None else "the given images"  # any scene, such as streets
        kind += "" if transform is None else ", transformed to the teacher's statistics"
        asked = {"origin": kind, "seed": self.settings.seed, "set_aside": self.settings.set_aside}
        if self.run.is_done("calibration", inputs=made_from, asked=asked):
            self.progress.note("The calibration set is up to date")
            return
        folder = self.run.folder / "calibration"
        with (
            self.run.step("calibration", inputs=made_from, asked=asked, command=self.command) as made,
            self.progress.task("Building the calibration set"),
        ):
            pictures = self._set_aside()
            if transform is not None:
                pictures = transformed_images(transform.cpu(), pictures, seed=self.settings.seed)
            CalibrationSet.write(folder, pictures, origin=kind, made_from=made_from)
            made.add(folder)

    def _keep_adaptation(
        self, settings: TransformSettings, stored: StoredStatistics | None, made_from: Mapping[str, str]
    ) -> None:
        """Keep and report how close the transformation brought the pictures; if already done, only report."""
        path = self.run.folder / "adaptation.json"
        if not self.run.is_done("adaptation", inputs=made_from, asked={}):
            with (
                self.run.step("adaptation", inputs=made_from, asked={}, command=self.command) as made,
                self.progress.task("Comparing with the teacher's statistics"),
            ):
                simulated = self._set_aside()[:_COMPARED]
                transformed = np.asarray(CalibrationSet.open(self.run.folder / "calibration").images[:_COMPARED])
                stored = stored or stored_statistics(self.teacher.module)
                found = measure_adaptation(self.teacher, stored, settings, simulated, transformed)
                write_json(path, found.to_json())
                made.add(path)
        self._say_adaptation(Adaptation.from_json(read_json(path)))

    def _say_adaptation(self, found: Adaptation) -> None:
        matched, others = found.means(matched=True), found.means(matched=False)
        if matched is None or others is None:
            return
        self.progress.note(
            f"Distance to the teacher's statistics: matched layers {matched[0]:.3f} to {matched[1]:.3f}, the others "
            f"{others[0]:.3f} to {others[1]:.3f}"
        )
        if not found.matched_improve:
            self.progress.note(
                f"The transformation moved pictures further from the statistics of {self.teacher.name}: give it more "
                "--steps, or switch it off with --no-transformation"
            )
        elif not found.others_improve:
            moved = "moved further away" if others[1] > others[0] else "hardly came closer"
            self.progress.note(
                f"The unmatched layers of {self.teacher.name} {moved}: the transformation may do little here. To find "
                "out, compare with a run with --no-transformation"
            )

    def keep_model(
        self, module: nn.Module, name: str, weights: str, ranges: Mapping[str, tuple[float, float]] | None = None
    ) -> None:
        """Export the fp32 model as onnx/`name`.onnx, unless that is already done.

        `weights` is the digest of the weights; `ranges` holds the learned ranges of convolution inputs, by the
        convolution's name.
        """
        path = self.run.folder / "onnx" / f"{name}.onnx"
        inputs, asked = {"weights": weights}, {"name": name, "recipe": RECIPE}
        if self.run.is_done("onnx", inputs=inputs, asked=asked):
            self.progress.note("The ONNX model is up to date")
            return
        metadata = {"edgekd.weights": weights, TEACHER_KEY: f"{self.teacher.name} {self.teacher.digest}"}
        with (
            self.run.step("onnx", inputs=inputs, asked=asked, command=self.command) as made,
            self.progress.task("Exporting to ONNX"),
        ):
            parity = export_onnx(module, self.teacher.input, path, metadata=metadata, ranges=ranges)
            made.add(path)
        apart = f"differs from torch's depth by at most {parity.max_relative:.1e} of it"
        self.progress.note(f"{path} {apart}, compared by {parity.runtime}")

    def keep_references(self, student: nn.Module | None) -> None:
        """Keep the depth of the fp32 student and the teacher on the held-out pictures, for `edgekd check`."""
        calibration = CalibrationSet.open(self.run.folder / "calibration")
        model = self.run.digest(self.run.folder / "onnx" / ("teacher.onnx" if student is None else "student.onnx"))
        inputs = {"calibration": calibration.digest, "model": model, "teacher": self.teacher.digest}
        if self.run.is_done("check", inputs=inputs, asked={}):
            return
        _, pictures = calibration.split()
        with self.run.step("check", inputs=inputs, asked={}, command=self.command) as made:
            teaching = run_depth(self.teacher.module, self.teacher.input, pictures)
            require_finite(teaching, self.teacher)
            references = References(teaching, None)
            if student is not None:
                references = References(run_depth(student, self.teacher.input, pictures), teaching)
            made.add(*write_references(self.run.folder / "check", references))


def require_pictures(images: ImagesSpec, teacher: Teacher, settings: DistillSettings) -> None:
    """Raise DataError, before anything is written or trained, when pictures of a folder would be refused as the
    calibration set: none show anything, or all are one. Rendered rooms never are."""
    if images.folder is None:
        return
    framed = FramedImages(open_source(images.folder), teacher.input.framing)
    try:
        check_images(Batches(framed, settings).aside())
    except DataError as error:
        raise DataError(f"{images.folder}: {error.message}", fix=error.fix) from error


def require_finite(depth: NDArray[np.float32], teacher: Teacher) -> None:
    """Raise ModelError when a teacher's depth is not finite."""
    if not np.isfinite(depth).all():
        raise ModelError(
            f"{teacher.name} outputs NaN or infinite depth for pictures that were set aside",
            fix="Check the teacher: it must output depth for every picture",
        )


@torch.no_grad()
def run_depth(module: nn.Module, spec: InputSpec, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Depth float32 [N, H, W] of pictures uint8 [N, H, W, 3], on the CPU in float32."""
    module, normalise = module.cpu(), NormalisePictures(spec)
    module.eval()
    parts = []
    for start in range(0, len(pictures), _BATCH):
        batch = torch.from_numpy(np.array(pictures[start : start + _BATCH]))
        parts.append(module(normalise(batch))[:, 0].numpy())
    return np.concatenate(parts)
