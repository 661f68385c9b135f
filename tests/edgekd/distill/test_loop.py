from __future__ import annotations

import copy
from dataclasses import replace

import onnx
import pytest
import torch
import torch.nn.functional as F
from interrupting import InterruptAfter
from notes import Notes
from short_runs import CPU, SETTINGS, run, steps_logged, weights

from calibration.errors import ModelError, UsageError
from calibration.progress import Quiet
from edgekd.distill.batches import Batches
from edgekd.distill.device import exact_float32
from edgekd.distill.feature_pairs import encoder_pairs
from edgekd.distill.features import FeatureMatch
from edgekd.distill.framed_images import FramedImages
from edgekd.distill.loop import fit_transform
from edgekd.distill.losses import distillation_loss
from edgekd.distill.resident import training_images
from edgekd.distill.settings import DistillSettings, QuantisationSettings, ReconstructionSettings, TransformSettings
from edgekd.distill.start import starting_batches
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.slim import slim
from edgekd.models.teacher import Teacher
from edgekd.models.to_onnx import export_onnx
from targets.statistics import read_statistics


def test_an_interrupted_run_ends_bit_for_bit_as_an_uninterrupted_one(teacher, small_net, boxes, tmp_path) -> None:
    settings = replace(SETTINGS, quantisation=QuantisationSettings(4))
    whole = run(teacher, small_net, boxes, tmp_path / "whole", settings)
    for stop in (2, 9, 17, 19):  # in the warm-up of the transformation, later, in simulated int8, and in the last step
        folder = tmp_path / f"stopped-{stop}"
        with pytest.raises(KeyboardInterrupt):
            run(teacher, small_net, boxes, folder, settings, progress=InterruptAfter(stop))
        again = run(teacher, small_net, boxes, folder, settings)
        assert torch.equal(weights(again), weights(whole))
        assert again.ranges == whole.ranges
        assert steps_logged(folder) == steps_logged(tmp_path / "whole")
    assert sorted(p.name for p in (tmp_path / "whole/previews").iterdir()) == ["000008.png", "000016.png", "000019.png"]


def by_keyword(small_net) -> type[torch.nn.Module]:
    """The small network with its layers called as layer(input=x)."""

    class ByKeyword(small_net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in (*self.first, *self.second):
                x = layer(input=x)
            depth = (self.head(input=x) + 0.5).clamp(-4, 4).exp()
            return torch.nn.functional.interpolate(depth, scale_factor=self.enlarged)

    return ByKeyword


def test_layers_may_be_given_their_input_by_keyword(teacher, small_net, boxes, tmp_path) -> None:
    module = by_keyword(small_net)()
    module.load_state_dict(teacher.module.state_dict())
    named = replace(teacher, module=module.eval().requires_grad_(False))
    settings = replace(SETTINGS, steps=2, features=None)
    found, wanted = (
        run(one, small_net, boxes, tmp_path / str(index), settings) for index, one in enumerate((named, teacher))
    )
    assert torch.equal(weights(found), weights(wanted))
    assert encoder_pairs(small_net(), named.module, (32, 48)) == ()
    export_onnx(named.module, named.input, tmp_path / "net.onnx", metadata={})
    assert len(read_statistics(onnx.load(tmp_path / "net.onnx"))) == 2


def test_a_student_is_started_on_fewer_pictures_where_they_are_large(teacher, boxes) -> None:
    """It runs on all of them at once, which must take about as much memory as a step at most."""
    settings = replace(SETTINGS, reconstruction=ReconstructionSettings(pictures=10))
    large = replace(teacher.input.framing, height=1536, width=2048)
    for framing, counts in ((teacher.input.framing, [4, 4, 2]), (large, [2])):
        batches = Batches(training_images(boxes, framing, CPU), settings)
        first = starting_batches(batches, settings)
        assert [batch.step for batch in first] == list(range(len(counts)))
        assert [len(batch.simulated) for batch in first] == [len(batch.mixed) for batch in first] == counts


def test_a_student_with_dropout_draws_by_seed_and_step_alone(teacher, small_net, boxes, tmp_path) -> None:
    def student() -> torch.nn.Module:
        made = small_net()
        made.head = torch.nn.Sequential(torch.nn.Dropout2d(0.3), made.head)
        return made

    whole = run(teacher, student, boxes, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(teacher, student, boxes, tmp_path / "stopped", progress=InterruptAfter(9))
    drawn_from = torch.random.get_rng_state()
    assert torch.equal(weights(run(teacher, student, boxes, tmp_path / "stopped")), weights(whole))
    assert torch.equal(torch.random.get_rng_state(), drawn_from)  # the global generator is untouched


def test_the_student_comes_nearer_to_its_teacher(teacher, small_net, boxes, tmp_path) -> None:
    settings = DistillSettings(
        steps=200, batch=8, set_aside=8, learning_rate=2e-2, transform=TransformSettings(warm_up=0)
    )
    run(teacher, small_net, boxes, tmp_path, settings)
    losses = [line["loss"] for line in steps_logged(tmp_path)]
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])


@pytest.mark.parametrize("off", ["mixing", "transform"])
def test_each_part_can_be_switched_off_alone(off, teacher, small_net, boxes, tmp_path) -> None:
    settings = DistillSettings(steps=3, batch=4, set_aside=8, **{off: None})
    result = run(teacher, small_net, boxes, tmp_path, settings)
    assert (result.transform is None) == (off == "transform")
    assert ("statistics" in steps_logged(tmp_path)[-1]) == (off != "transform")


def test_the_seed_decides_from_which_projections_features_are_learnt(teacher, small_net, boxes, tmp_path) -> None:
    module = small_net(6, 2).eval().requires_grad_(False)
    wide = replace(teacher, module=module, digest="wide")
    settings = replace(SETTINGS, steps=1, transform=None, learning_rate=1e-12, seed=9)
    run(wide, lambda: small_net(6, 2), boxes, tmp_path, settings)
    saved = torch.load(tmp_path / "checkpoint" / "state.pt", weights_only=True)["state"]["student"]["features"]
    first = FeatureMatch(encoder_pairs(small_net(6, 2), module, (32, 48)), module, 9).state_dict()
    assert first
    for name, value in first.items():
        torch.testing.assert_close(saved[name], value, rtol=0, atol=1e-6)


def test_float32_is_not_rounded_to_tf32_while_training_and_only_then(teacher, small_net, boxes, tmp_path) -> None:
    found = []

    class Looking(small_net):
        def forward(self, x):
            found.append(torch.backends.cudnn.allow_tf32)
            return super().forward(x)

    before = torch.backends.cudnn.allow_tf32
    run(teacher, Looking, boxes, tmp_path)
    assert found and not any(found)
    assert torch.backends.cudnn.allow_tf32 == before


def test_who_uses_the_newer_switch_of_tf32_is_not_disturbed() -> None:
    conv = getattr(torch.backends.cudnn, "conv", None)
    if conv is None:
        pytest.skip("torch has one switch before 2.9")
    before = conv.fp32_precision
    conv.fp32_precision = "tf32" if before == "ieee" else "ieee"
    try:
        chosen = conv.fp32_precision
        with exact_float32():
            assert conv.fp32_precision == "ieee"
        assert conv.fp32_precision == chosen
    finally:
        conv.fp32_precision = before
    assert torch.backends.cudnn.allow_tf32 is not None  # the older switch can be read again too


def test_a_loss_that_is_no_number_stops_with_the_step(teacher, small_net, boxes, tmp_path) -> None:
    class Broken(small_net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * float("nan")

    with pytest.raises(ModelError, match=r"became NaN or infinite at step 3 .*no checkpoint was saved before it"):
        run(teacher, Broken, boxes, tmp_path)


def test_a_teacher_that_fails_on_some_pictures_is_named_and_not_the_rate(teacher, small_net, boxes, tmp_path) -> None:
    class Failing(type(teacher.module)):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            depth = super().forward(x)
            return torch.where(x.mean((1, 2, 3), keepdim=True) > x.mean() - 1e-3, depth / 0.0, depth)

    failing = replace(teacher, module=copy.deepcopy(teacher.module))
    failing.module.__class__ = Failing
    with pytest.raises(ModelError, match=r"outputs NaN or infinite depth for pictures of step \d+ .*Check the"):
        run(failing, small_net, boxes, tmp_path)


def test_the_transformation_alone_can_be_fitted(teacher, boxes, tmp_path) -> None:
    net = fit_transform(teacher, boxes, SETTINGS, tmp_path, Quiet(), device=CPU)
    assert steps_logged(tmp_path)[-1].keys() == {"step", "statistics", "change"}
    assert any(p.abs().sum() > 0 for p in net.local[-1].parameters())


def test_a_batch_that_leaves_a_smaller_part_is_refused_here_too(teacher, boxes, tmp_path) -> None:
    settings = replace(SETTINGS, batch=9, accumulate=4)
    with pytest.raises(UsageError, match="multiple of 4"):
        fit_transform(teacher, boxes, settings, tmp_path, Quiet(), device=CPU)


def test_after_its_warm_up_the_transformation_is_updated_at_every_so_many_steps(
    teacher, small_net, boxes, tmp_path
) -> None:
    settings = DistillSettings(steps=7, batch=4, set_aside=8, transform=TransformSettings(warm_up=2, every=3))
    run(teacher, small_net, boxes, tmp_path, settings)
    updated = [line["step"] for line in steps_logged(tmp_path) if "statistics" in line]
    assert updated == [0, 1, 2, 5, 8]
    assert all("loss" in line for line in steps_logged(tmp_path)[2:])  # the student learns at every step


@pytest.mark.parametrize(("share", "changed"), [(0.5, 2), (0.25, 1), (0.3, 2), (1.0, 4)])
def test_the_student_learns_from_transformed_pictures_and_from_others(
    share, changed, teacher, small_net, boxes, tmp_path
) -> None:
    seen: list[torch.Tensor] = []

    class Watched(small_net):  # type: ignore[misc, valid-type]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(x.detach().clone())
            return super().forward(x)

    transform = TransformSettings(share=share, warm_up=1, every=2)
    settings = DistillSettings(steps=4, batch=4, set_aside=8, mixing=None, features=None, transform=transform)
    run(teacher, Watched, boxes, tmp_path, settings)
    normalise, batches = Normalise(teacher.input), Batches(FramedImages(boxes, teacher.input.framing), settings)
    for step, pictures in enumerate(seen[-4:], start=1):  # steps with and without an update of the transformation
        given = normalise(to_tensor(batches.batch(step).mixed, CPU))
        same = [(picture == given).flatten(1).all(1).any() for picture in pictures]
        assert len(pictures) == 4
        assert same.count(False) == changed


def test_in_bfloat16_networks_compute_coarsely_and_weights_stay_exact(teacher, small_net, boxes, tmp_path) -> None:
    run(teacher, small_net, boxes, tmp_path / "exact")
    coarse = run(teacher, small_net, boxes, tmp_path / "coarse", replace(SETTINGS, precision="bfloat16"))
    again = run(teacher, small_net, boxes, tmp_path / "again", replace(SETTINGS, precision="bfloat16"))
    assert all(value.dtype is torch.float32 for value in coarse.student.parameters())
    assert torch.equal(weights(coarse), weights(again))
    first = [steps_logged(tmp_path / name)[0]["statistics"] for name in ("exact", "coarse")]
    assert first[0] != first[1]
    assert first[1] == pytest.approx(first[0], rel=2e-2)  # bfloat16 has 8 bits: 0.4 % per value
    last = [steps_logged(tmp_path / name)[-1]["loss"] for name in ("exact", "coarse")]
    assert last[1] == pytest.approx(last[0], rel=0.2)


def test_a_batch_in_parts_gives_the_gradient_of_the_whole(teacher, boxes, tmp_path) -> None:
    class Plain(torch.nn.Module):  # without BatchNorm, which would see the parts
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 1, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x).clamp(-3, 3).exp()

    settings = DistillSettings(steps=5, batch=8, set_aside=8, transform=None, features=None)
    whole = run(teacher, Plain, boxes, tmp_path / "whole", settings)
    parts = run(teacher, Plain, boxes, tmp_path / "parts", replace(settings, accumulate=4))
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=1e-5)
    losses = [[line["loss"] for line in steps_logged(tmp_path / name)] for name in ("whole", "parts")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_short_run_keeps_what_its_last_steps_had_learnt(teacher, small_net, boxes, tmp_path) -> None:
    settings = replace(SETTINGS, steps=60, batch=16, mixing=None, transform=None, learning_rate=2e-2)
    made = run(teacher, small_net, boxes, tmp_path / "run", settings)
    logged = steps_logged(tmp_path / "run")
    pictures = torch.stack([torch.from_numpy(boxes[i].rgb).permute(2, 0, 1).float() / 255 for i in range(len(boxes))])
    x = Normalise(teacher.input)(pictures)
    with torch.no_grad():
        loss = float(distillation_loss(made.student(x), teacher.module(x)))
    assert logged[-1]["loss"] < 0.5 * logged[0]["loss"]
    assert loss < 1.5 * logged[-1]["loss"]


class TestAStudentThatIsCutOut:
    """The teacher has 32 channels, of which the student keeps 16."""

    settings = replace(SETTINGS, learning_rate=1e-6)

    @pytest.fixture
    def wide(self, teacher_to_cut: Teacher) -> Teacher:
        return teacher_to_cut

    def test_starts_near_its_teacher(self, wide, boxes, tmp_path) -> None:
        losses = {}
        for name, reconstruction in (("solved", ReconstructionSettings()), ("cut", None)):
            settings = replace(self.settings, reconstruction=reconstruction)
            run(wide, lambda: slim(wide, 0.5), boxes, tmp_path / name, settings)
            losses[name] = [line["loss"] for line in steps_logged(tmp_path / name) if "loss" in line]
        assert losses["solved"][0] < 0.6 * losses["cut"][0]

    def test_is_started_in_parts_where_a_batch_is_worked_off_in_parts(self, wide, boxes, tmp_path) -> None:
        ran: list[int] = []

        def seen(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if layer is wide.module.first:  # not the student's, which is a copy
                ran.append(len(inputs[0]))

        with wide.module.first.register_forward_pre_hook(seen):
            settings = replace(self.settings, batch=8, accumulate=4)
            run(wide, lambda: slim(wide, 0.5), boxes, tmp_path / "run", settings)
        assert max(ran) == 4  # a preview has four pictures, a part two

    def test_is_trained_as_it_was_cut_where_little_can_be_solved_for(self, wide, boxes, tmp_path) -> None:
        class Own(torch.nn.BatchNorm2d):
            """A subclass that scales by other weights than it holds."""

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                weight = self.weight.abs() + 0.5
                return F.batch_norm(x, self.running_mean, self.running_var, weight, self.bias, self.training)

        notes = Notes()
        for layer in wide.module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.__class__ = Own
        made = run(wide, lambda: slim(wide, 0.5), boxes, tmp_path / "run", self.settings, notes)
        assert [note for note in notes.said if "solved for" in note] == [
            "Only 1 of the student's 3 convolutions can be solved for: it keeps the teacher's weights"
        ]
        cut = slim(wide, 0.5)
        assert made.student.kept == cut.kept
        assert not torch.equal(made.student.network.first[1].running_mean, cut.network.first[1].running_mean)

    def test_keeps_what_its_norms_were_set_to(self, wide, boxes, tmp_path) -> None:
        """Every batch of four would give them other statistics."""
        short, longer = (
            run(
                wide,
                lambda: slim(wide, 0.5),
                boxes,
                tmp_path / str(steps),
                replace(self.settings, steps=steps, learning_rate=1e-2),
            ).student.state_dict()
            for steps in (1, 12)
        )
        for name, value in short.items():
            kept = name.endswith(("running_mean", "running_var", "tracked")) or name.startswith(("stored", "channels"))
            assert torch.equal(value, longer[name]) == kept, name

    def test_ends_the_same_when_it_was_interrupted(self, wide, boxes, tmp_path) -> None:
        """With the chosen channels, which the model itself records, whatever channels the second start began with."""
        whole = run(wide, lambda: slim(wide, 0.5), boxes, tmp_path / "whole", self.settings)
        for stop in (2, 9):  # before and after it is solved for
            folder = tmp_path / f"stopped-{stop}"
            with pytest.raises(KeyboardInterrupt):
                run(wide, lambda: slim(wide, 0.5), boxes, folder, self.settings, progress=InterruptAfter(stop))
            again = run(wide, lambda: slim(wide, 0.5), boxes, folder, self.settings)
            assert torch.equal(weights(again), weights(whole))
            assert again.student.kept == whole.student.kept != slim(wide, 0.5).kept
            assert steps_logged(folder) == steps_logged(tmp_path / "whole")

    def test_has_layers_that_are_given_their_input_by_keyword(self, wide, small_net, boxes, tmp_path) -> None:
        module = by_keyword(small_net)(32)
        module.load_state_dict(wide.module.state_dict())
        named = replace(wide, module=module.eval().requires_grad_(False))
        settings = replace(self.settings, steps=2, features=None)
        found, wanted = (
            run(one, lambda one=one: slim(one, 0.5), boxes, tmp_path / str(index), settings)
            for index, one in enumerate((named, wide))
        )
        assert torch.equal(weights(found), weights(wanted))
