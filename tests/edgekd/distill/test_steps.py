"""One step: what the student is given and compared with when only some of the pictures are transformed."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from calibration.progress import Quiet
from edgekd.distill.batches import Batches
from edgekd.distill.feature_pairs import pairs_of
from edgekd.distill.features import FeatureMatch
from edgekd.distill.framed_images import FramedImages
from edgekd.distill.loop import distill
from edgekd.distill.rates import over_steps
from edgekd.distill.settings import DistillSettings, FeatureSettings, TransformSettings
from edgekd.distill.statistics import stored_statistics
from edgekd.distill.steps import Fitting
from edgekd.distill.student_fit import StudentFit
from edgekd.distill.tensors import Normalise
from edgekd.distill.transform_fit import TransformFit
from edgekd.models.slim import slim
from edgekd.models.teacher import Teacher

CPU = torch.device("cpu")
SIZE = (32, 48)


@dataclass
class Given:
    """What the parts of a step were given, one entry per call."""

    transformed: list[int] = field(default_factory=list)  # pictures that the transformation was fitted on
    pictures: list[Tensor] = field(default_factory=list)
    depth: list[Tensor] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)  # features, computed by hand


def features_apart(student: nn.Module, teacher: nn.Module, pictures: Tensor) -> float:
    """The feature difference of a student cut out of its teacher, in double precision and without edgekd's hooks."""
    shown: dict[str, Tensor] = {}
    pairs = pairs_of(student, teacher, SIZE)
    for side, network in (("student", student), ("teacher", teacher)):
        network = copy.deepcopy(network).double()
        for pair in pairs:
            layer = network.get_submodule(getattr(pair, side))
            layer.register_forward_hook(
                lambda layer, inputs, output, name=(side, pair.teacher): shown.__setitem__(name, output.detach())
            )
        network(pictures.double())
    apart = []
    for pair in pairs:
        channels = list(pair.channels or ())
        spread = teacher.get_submodule(pair.teacher).weight.detach().double().square()
        scale = (spread + spread.mean() / 100)[channels]
        difference = shown["student", pair.teacher] - shown["teacher", pair.teacher][:, channels]
        apart.append((difference.square() / scale.view(1, -1, 1, 1)).mean())
    return float(torch.stack(apart).mean())


@pytest.fixture
def step_by_step(teacher: Teacher, boxes):
    """A function that runs steps with settings and returns what the student was given, and the metrics."""

    def run(settings: DistillSettings, steps: int, alone: bool = False) -> tuple[Given, list[dict[str, float]]]:
        given, normalise = Given(), Normalise(teacher.input)
        bare = copy.deepcopy(teacher.module)
        transform = TransformFit(teacher, stored_statistics(teacher.module), settings, CPU)
        fit = None
        if not alone:
            student = slim(teacher, 0.5)
            pairs = pairs_of(student, teacher.module, SIZE)
            assert pairs
            fresh = copy.deepcopy(student)
            fit = StudentFit(student, teacher.input, settings, CPU, FeatureMatch(pairs, teacher.module), shares={})
            accumulate = fit.accumulate

            def watched(pictures: Tensor, depth: Tensor, share: float = 1.0, *, int8: bool = False) -> dict[str, float]:
                fresh.load_state_dict(student.state_dict())
                given.pictures.append(pictures)
                given.depth.append(depth)
                given.apart.append(features_apart(fresh.train(student.training), bare, normalise(pictures)))
                return accumulate(pictures, depth, share, int8=int8)

            fit.accumulate = watched  # type: ignore[method-assign]
        fitting = Fitting(teacher, transform, fit, settings, CPU)
        fitted = transform.accumulate

        def counted(simulated: Tensor, noise: Tensor, share: float) -> tuple[Tensor, Tensor, dict[str, float]]:
            given.transformed.append(len(simulated))
            return fitted(simulated, noise, share)

        transform.accumulate = counted  # type: ignore[method-assign]
        batches = Batches(FramedImages(boxes, teacher.input.framing), settings)
        metrics = [fitting.step(batches.batch(step)) for step in range(steps)]
        for pictures, depth in zip(given.pictures, given.depth, strict=True):
            with torch.no_grad():
                torch.testing.assert_close(depth, bare(normalise(pictures)), rtol=1e-4, atol=1e-5)
        return given, metrics

    return run


@pytest.mark.parametrize("share", [0.5, 1.0, 0.25])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_picture_is_compared_with_what_the_teacher_says_of_it(step_by_step, share: float, accumulate: int) -> None:
    transform = TransformSettings(share=share, warm_up=1, every=2, learning_rate=0.05)
    settings = DistillSettings(batch=8, accumulate=accumulate, set_aside=8, transform=transform, learning_rate=1e-2)
    given, metrics = step_by_step(settings, 6)  # steps with and without an update of the transformation
    assert len(given.pictures) == 5 * accumulate
    # All pictures in the warm-up, which trains no student, then `share` of each part.
    part = 8 // accumulate
    assert given.transformed == [part] * accumulate + [round(part * share)] * 3 * accumulate
    for step, line in enumerate(metrics[1:]):
        by_hand = given.apart[step * accumulate : (step + 1) * accumulate]
        assert line["features"] == pytest.approx(sum(by_hand) / accumulate, rel=1e-3)


def test_without_a_student_every_picture_is_transformed(step_by_step) -> None:
    given, _ = step_by_step(
        DistillSettings(batch=8, set_aside=8, transform=TransformSettings(share=0.5)), 3, alone=True
    )
    assert given.transformed == [8, 8, 8]


def test_the_rate_of_the_transformation_falls_to_a_tenth_while_the_student_learns(teacher: Teacher, boxes) -> None:
    transforming = TransformSettings(warm_up=2, every=1)
    settings = DistillSettings(steps=4, batch=4, set_aside=8, features=None, transform=transforming)
    transform = TransformFit(teacher, stored_statistics(teacher.module), settings, CPU)
    student = StudentFit(slim(teacher, 0.5), teacher.input, settings, CPU)
    rates: dict[str, list[float]] = {"transform": [], "student": []}
    transform.update = rates["transform"].append  # type: ignore[method-assign]
    student.update = rates["student"].append  # type: ignore[method-assign]
    fitting = Fitting(teacher, transform, student, settings, CPU)
    batches = Batches(FramedImages(boxes, teacher.input.framing), settings)
    for step in range(fitting.total):
        fitting.step(batches.batch(step))
    assert rates["transform"] == pytest.approx([1, 1, 1, 0.775, 0.55, 0.325])
    assert rates["student"] == [over_steps(step / 4, settings) for step in range(4)]


def test_features_count_as_much_as_their_weight(teacher: Teacher) -> None:
    pictures = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    gradients = []
    for weight in (1.0, 2.0, 4.0):
        student = slim(teacher, 0.5)
        with torch.no_grad():
            student.network.first[0].weight.mul_(1.3)  # so small a teacher's student is the teacher itself
        features = FeatureMatch(pairs_of(student, teacher.module, SIZE), teacher.module)
        settings = DistillSettings(features=FeatureSettings(weight))
        fit = StudentFit(student, teacher.input, settings, CPU, features, shares={})
        features.watch_teacher(teacher.module)
        fit.accumulate(pictures, teacher.module(Normalise(teacher.input)(pictures)))
        features.release()
        gradients.append(torch.cat([value.grad.flatten() for value in student.parameters()]))
    one, two, four = gradients
    assert float((two - one).norm()) > 1e-3
    torch.testing.assert_close(four - two, 2 * (two - one), rtol=1e-3, atol=1e-5)


def test_weights_decay_and_norms_and_biases_do_not(teacher: Teacher) -> None:
    """Towards its own depth a student has no gradient, so that nothing else moves it."""
    student = slim(teacher, 0.5)
    settings = DistillSettings(features=None, learning_rate=0.1, weight_decay=0.5)
    fit = StudentFit(student, teacher.input, settings, CPU, shares={})
    pictures = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    before = {name: value.detach().clone() for name, value in student.named_parameters()}
    fit.accumulate(pictures, fit.predict(pictures))
    fit.update(0.5)
    for name, value in student.named_parameters():
        kept = 1 - 0.1 * 0.5 * 0.5 if value.ndim > 1 else 1
        torch.testing.assert_close(value.detach(), kept * before[name], msg=name)


def test_a_teacher_can_be_distilled_again_after_an_abort(teacher: Teacher, boxes, tmp_path: Path) -> None:
    class Aborted(Quiet):
        def task(self, label: str, total: int | None = None):  # type: ignore[no-untyped-def]
            raise KeyboardInterrupt

    settings = DistillSettings(steps=2, batch=4, set_aside=8, transform=TransformSettings(warm_up=1))
    for progress in (Aborted(), Quiet()):
        student = slim(teacher, 0.5)
        arguments = (teacher, student, boxes, settings, tmp_path, progress)
        if isinstance(progress, Aborted):
            with pytest.raises(KeyboardInterrupt):
                distill(*arguments, device=CPU, student_name="slim")
        else:
            distill(*arguments, device=CPU, student_name="slim")
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in teacher.module.modules())
