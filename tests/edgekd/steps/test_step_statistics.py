"""Measuring statistics on private pictures, and distilling with the file from a teacher that stores none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="statistics are measured with torch")
pytest.importorskip("safetensors", reason="statistics are kept as safetensors")

from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from calibration.errors import DataError, FileError, ModelError  # noqa: E402
from calibration.progress import Quiet  # noqa: E402
from edgekd.cli.app import run  # noqa: E402
from edgekd.distill.loop import distill  # noqa: E402
from edgekd.distill.settings import DistillSettings, TransformSettings  # noqa: E402
from edgekd.distill.statistics import StoredStatistics  # noqa: E402
from edgekd.distill.statistics_file import StatisticsFile, layers_to_measure  # noqa: E402
from edgekd.models.teacher import Teacher  # noqa: E402
from edgekd.simulate.sample import SimulatedImage  # noqa: E402
from edgekd.steps.statistics import measure_statistics  # noqa: E402
from targets.input import Framing, InputSpec  # noqa: E402

HEIGHT, WIDTH = 32, 48


class Tokens(nn.Module):
    """A network whose only norms are LayerNorms, which store nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 12, 8, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(12) for _ in range(3))
        self.mixes = nn.ModuleList(nn.Linear(12, 12) for _ in range(3))
        self.head = nn.Conv2d(12, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.embed(x)
        tokens = y.flatten(2).transpose(1, 2)
        for norm, mix in zip(self.norms, self.mixes, strict=True):
            tokens = tokens + torch.relu(mix(norm(tokens)))
        depth = self.head(tokens.transpose(1, 2).reshape(y.shape)).clamp(-3, 3).exp()
        return nn.functional.interpolate(depth, scale_factor=8.0)


@pytest.fixture
def tokens() -> Teacher:
    torch.manual_seed(2)
    module = Tokens().eval().requires_grad_(False)
    return Teacher("tokens", module, InputSpec(Framing(HEIGHT, WIDTH)), digest="t" * 64, source="made for a test")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "private"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(11):  # eleven: the last batch is not full
        tint = np.array([220, 120, 60]) * rng.uniform(0.5, 1)
        picture = (np.linspace(0.2, 1, WIDTH)[None, :, None] * tint * rng.uniform(0.8, 1, (HEIGHT, 1, 1))).astype(
            np.uint8
        )
        Image.fromarray(picture).save(folder / f"{index:02d}.png")
    return folder


def test_the_measured_moments_are_those_over_all_pictures_at_once(
    tokens: Teacher, pictures: Path, tmp_path: Path
) -> None:
    measured = measure_statistics(tokens, pictures, Quiet(), device="cpu", batch=4)
    assert measured.pictures == 11
    assert measured.statistics.names == ("norms.0", "norms.1", "norms.2")
    seen: dict[str, torch.Tensor] = {}
    for name, layer in tokens.module.named_modules():
        if isinstance(layer, nn.LayerNorm):
            layer.register_forward_pre_hook(lambda _, inputs, name=name: seen.__setitem__(name, inputs[0]))
    whole = np.stack([np.asarray(Image.open(path)) for path in sorted(pictures.iterdir())])
    tokens.module(torch.from_numpy(whole).permute(0, 3, 1, 2).float() / 255)
    means = measured.statistics.moments.mean.split(measured.statistics.sizes)
    variances = measured.statistics.moments.variance.split(measured.statistics.sizes)
    for values, mean, variance in zip(seen.values(), means, variances, strict=True):
        torch.testing.assert_close(mean, values.double().mean((0, 1)).float(), rtol=1e-4, atol=1e-6)
        expected = values.double().var((0, 1), correction=0).float()
        torch.testing.assert_close(variance, expected, rtol=1e-3, atol=1e-7)

    path = tmp_path / "statistics.safetensors"
    measured.write(path)
    assert path.stat().st_size < 2000
    again = StatisticsFile.read(path)
    assert (again.teacher, again.digest, again.pictures) == ("tokens", "t" * 64, 11)
    assert torch.equal(again.for_teacher(tokens).moments.mean, measured.statistics.moments.mean)


def test_copies_of_one_picture_are_one(tokens: Teacher, pictures: Path) -> None:
    first, *others = sorted(pictures.iterdir())
    for other in others[1:]:
        other.write_bytes(first.read_bytes())
    with pytest.raises(DataError, match=r"Only 2 of the 11 pictures in .* differ"):
        measure_statistics(tokens, pictures, Quiet(), device="cpu")


def test_the_next_command_is_told_without_cutting_a_student(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cutting one takes longer than measuring a few hundred pictures."""
    pruning = pytest.importorskip("torch_pruning", reason="without it, the command is another")
    monkeypatch.setattr(pruning, "DependencyGraph", lambda: pytest.fail("a student was cut"))
    monkeypatch.chdir(pictures.parent)
    assert run(["statistics", "--teacher", "rooms", "--images", str(pictures)]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("edgekd distill --teacher rooms --statistics statistics.safetensors")


def test_the_next_command_cuts_no_student_from_a_transformer_with_a_few_batch_norm_layers(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As GLPN is: the command that is told must not be one that is refused."""
    pytest.importorskip("torch_pruning", reason="without it, the command is the same for all")
    source = """
import torch
from targets.input import Framing, InputSpec
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.input = InputSpec(Framing(32, 48))
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(48) for _ in range(3))
        self.last = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8),
                                        torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 1))
        torch.nn.init.constant_(self.last[1].running_mean, 0.1)
    def forward(self, x):
        for norm in self.norms:
            x = norm(x)
        x = (x @ x.transpose(2, 3)).softmax(3) @ x
        return self.last(x).exp()
"""
    (pictures.parent / "few_norms.py").write_text(source)
    monkeypatch.chdir(pictures.parent)
    assert run(["statistics", "--teacher", "few_norms:Net", "--images", str(pictures)]) == 0
    assert "--student mobile-m" in capsys.readouterr().err.splitlines()[-1]


def test_nothing_but_statistics_is_replaced(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = min(pictures.iterdir())
    before = victim.read_bytes()
    assert run(["statistics", "--teacher", "rooms", "--images", str(pictures), "--out", str(victim)]) == 2
    assert "exists and is not a statistics file. Choose another file with --out" in capsys.readouterr().err
    assert victim.read_bytes() == before


def test_damaged_statistics_are_replaced(tokens: Teacher, pictures: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.safetensors", tmp_path / "out.safetensors"
    measure_statistics(tokens, pictures, Quiet(), device="cpu").write(whole)
    for size in (0, whole.stat().st_size // 2):
        out.write_bytes(whole.read_bytes()[:size])
        assert run(["statistics", "--teacher", "rooms", "--images", str(pictures), "--out", str(out)]) == 0
        assert StatisticsFile.read(out).teacher == "rooms"


def test_a_transformation_is_fitted_to_the_file(tokens: Teacher, pictures: Path, tmp_path: Path) -> None:
    """The private pictures are warm; grey pictures come nearer to their statistics in the file."""
    stored = measure_statistics(tokens, pictures, Quiet(), device="cpu").for_teacher(tokens)

    class Grey:
        digest = "grey"

        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> SimulatedImage:
            rng = np.random.default_rng(index)
            grey = np.linspace(60, 200, WIDTH)[None, :, None] * rng.uniform(0.7, 1, (HEIGHT, 1, 1))
            return SimulatedImage(np.repeat(grey, 3, axis=2).astype(np.uint8), np.zeros((HEIGHT, WIDTH), np.uint16))

    class Student(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x).clamp(-3, 3).exp()

    settings = DistillSettings(steps=60, batch=8, set_aside=8, transform=TransformSettings(warm_up=0, every=1))
    distill(
        tokens, Student(), Grey(), settings, tmp_path, Quiet(),
        device=torch.device("cpu"), student_name="student", stored=stored,
    )  # fmt: skip
    import json

    lines = [json.loads(line)["statistics"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(lines[-5:]) < 0.7 * np.mean(lines[:2])


def test_a_file_that_does_not_fit_is_named(tokens: Teacher, pictures: Path, tmp_path: Path) -> None:
    measured = measure_statistics(tokens, pictures, Quiet(), device="cpu")
    path = tmp_path / "s.safetensors"
    measured.write(path)
    with pytest.raises(ModelError, match="statistics are of a different teacher: tokens"):
        StatisticsFile.read(path).for_teacher(replace(tokens, digest="u" * 64))
    broken = replace(tokens, module=tokens.module.embed)
    with pytest.raises(ModelError, match=r"layer norms\.0, which the teacher does not have"):
        StatisticsFile.read(path).for_teacher(broken)
    measured.statistics.moments.mean[3] = 1e30
    measured.write(path)
    with pytest.raises(FileError, match=r"norms\.0 hold a mean or variance that no pictures produce"):
        StatisticsFile.read(path)
    measured.statistics.moments.mean[3] = float("nan")
    measured.write(path)
    with pytest.raises(FileError, match=r"norms\.0 hold NaN"):
        StatisticsFile.read(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(FileError, match="not a statistics file"):
        StatisticsFile.read(path)
    path.write_bytes(b"no file of this kind")
    with pytest.raises(FileError, match="not a valid statistics file"):
        StatisticsFile.read(path)
    with pytest.raises(FileError, match="No such file"):
        StatisticsFile.read(tmp_path / "missing.safetensors")
    with pytest.raises(FileError, match="Is a directory"):
        StatisticsFile.read(tmp_path)


def test_a_file_must_be_of_all_layers_and_of_their_channels(tokens: Teacher, pictures: Path, tmp_path: Path) -> None:
    measured = measure_statistics(tokens, pictures, Quiet(), device="cpu")
    part = replace(measured, statistics=measured.statistics.in_order(["norms.0", "norms.2"]))
    with pytest.raises(ModelError, match=r"lack the layer norms\.1 of tokens"):
        part.for_teacher(tokens)
    narrow = {name: (torch.zeros(3), torch.ones(3)) for name in measured.statistics.names}
    with pytest.raises(ModelError, match=r"of 3 channels of norms\.0, which has \d+"):
        replace(measured, statistics=StoredStatistics.of(narrow)).for_teacher(tokens)
    more = {"mixes.0": (torch.zeros(12), torch.ones(12)), **of_each(measured)}
    with pytest.raises(ModelError, match=r"are of mixes\.0, which is not measured"):
        replace(measured, statistics=StoredStatistics.of(more)).for_teacher(tokens)
    still = {name: (torch.zeros(3), torch.zeros(3)) for name in measured.statistics.names}
    replace(measured, statistics=StoredStatistics.of(still)).write(tmp_path / "still.safetensors")
    with pytest.raises(FileError, match=r"the input of norms\.0 never changed"):
        StatisticsFile.read(tmp_path / "still.safetensors")


def of_each(measured: StatisticsFile) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    kept = measured.statistics
    means, variances = kept.moments.mean.split(kept.sizes), kept.moments.variance.split(kept.sizes)
    return dict(zip(kept.names, zip(means, variances, strict=True), strict=True))


def test_too_few_pictures_would_give_themselves_away(tokens: Teacher, pictures: Path) -> None:
    for path in sorted(pictures.iterdir())[5:]:
        path.unlink()
    (pictures / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"5 of 6 pictures in .* too few: .* those of single pictures"):
        measure_statistics(tokens, pictures, Quiet(), device="cpu")


def test_batch_norm_layers_are_measured_all_others_are_thinned_out() -> None:
    assert layers_to_measure(of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))) == ("1",)
    many = nn.Sequential(*(nn.LayerNorm(WIDTH) for _ in range(29)))
    assert layers_to_measure(of(many)) == ("0", "4", "8", "12", "16", "20", "24", "28")


def test_a_few_batch_norm_layers_at_the_end_do_not_stand_for_a_transformer() -> None:
    """As in GLPN, which has them in its decoder: pictures are adapted to the first of the measured layers."""
    mixed = nn.Sequential(*(nn.LayerNorm(WIDTH) for _ in range(3)), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert layers_to_measure(of(mixed)) == ("0", "1", "2")


def test_a_layer_that_never_runs_is_not_asked_for(tokens: Teacher, pictures: Path) -> None:
    tokens.module.unused = nn.LayerNorm(12)
    measured = measure_statistics(tokens, pictures, Quiet(), device="cpu")
    assert measured.statistics.names == ("norms.0", "norms.1", "norms.2")
    assert measured.for_teacher(tokens) is measured.statistics


def test_what_never_changes_is_refused_before_it_is_written(tokens: Teacher, pictures: Path) -> None:
    tokens.module.embed.weight.zero_()
    with pytest.raises(DataError, match=r"The input of norms\.0 in tokens never changes"):
        measure_statistics(tokens, pictures, Quiet(), device="cpu")


def of(module: nn.Module) -> Teacher:
    return Teacher("other", module.eval(), InputSpec(Framing(HEIGHT, WIDTH)), digest="o" * 64, source="for a test")
