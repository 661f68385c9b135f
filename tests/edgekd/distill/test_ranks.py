"""Two processes make the same student as one process does from the same batches."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from folding import folded
from torch import nn
from torch.multiprocessing import get_context

from calibration.errors import EdgekdError, ModelError, UsageError
from calibration.progress import Quiet
from edgekd.distill.feature_pairs import pairs_of
from edgekd.distill.loop import distill
from edgekd.distill.ranks import Ranks, joined
from edgekd.distill.settings import DistillSettings, FeatureSettings, TransformSettings
from edgekd.distill.shared_norm import share_norms, unshare_norms
from edgekd.models.added_norms import AddedNorm
from edgekd.models.slim import slim
from edgekd.models.teacher import Teacher

SETTINGS = DistillSettings(
    steps=10,
    batch=8,
    set_aside=8,
    learning_rate=1e-2,
    features=FeatureSettings(),
    transform=TransformSettings(warm_up=3),
)


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def wide(small_net) -> Callable[[], nn.Module]:
    """Networks of two resolutions, whose features are compared through a projection."""
    return partial(small_net, channels=6, stride=2)


@pytest.fixture
def wide_teacher(teacher: Teacher, wide) -> Teacher:
    """One of them with the statistics of coloured pictures."""
    torch.manual_seed(3)
    module = wide().train()
    with torch.no_grad():
        for _ in range(60):
            module(torch.rand(8, 3, 32, 48) * torch.tensor([0.9, 0.5, 0.35]).view(1, 3, 1, 1))
    return replace(teacher, module=module.eval().requires_grad_(False), digest="wide")


def _member(
    rank: int,
    count: int,
    port: int,
    folder: Path,
    teacher: Teacher,
    student: nn.Module,
    boxes,
    dies: bool,
    settings: DistillSettings,
) -> None:
    import os

    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with joined("cpu") as (ranks, device):
        if dies and rank == 1:
            os._exit(9)
        try:
            made = distill(
                teacher, student, boxes, settings, folder, Quiet(), device=device, student_name="small", ranks=ranks
            )
        except EdgekdError as error:
            (folder / f"error-{rank}").write_text(str(error))
            raise
    transform = {} if made.transform is None else made.transform.state_dict()
    torch.save({"student": made.student.state_dict(), "transform": transform}, folder / f"{rank}.pt")


def _run(
    count: int,
    folder: Path,
    teacher: Teacher,
    small_net,
    boxes,
    dies: bool = False,
    settings: DistillSettings = SETTINGS,
    student: nn.Module | None = None,
) -> list[int | None]:
    folder.mkdir()
    torch.manual_seed(5)
    student, port, context = student or _without_biases(small_net()), _port(), get_context("fork")
    processes = [
        context.Process(target=_member, args=(rank, count, port, folder, teacher, student, boxes, dies, settings))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)  # two minutes are not enough on two cores that others keep busy
    return [process.exitcode for process in processes]


def _without_biases(network: nn.Module) -> nn.Module:
    """Removes the biases before BatchNorm: they have no effect, but Adam amplifies their rounding errors."""
    for part in (network.first, network.second):
        part[0].bias = None
    return network


@pytest.mark.parametrize(("steps", "apart"), [(1, 1e-6), (10, 1e-3)])
def test_two_processes_give_the_student_of_one(teacher, small_net, boxes, tmp_path, steps: int, apart: float) -> None:
    """The same up to the order of summation, which Adam amplifies where a gradient is nearly zero.

    One step may move a weight by 1e-2.
    """
    settings = replace(SETTINGS, steps=steps)
    assert _run(1, tmp_path / "one", teacher, small_net, boxes, settings=settings) == [0]
    assert _run(2, tmp_path / "two", teacher, small_net, boxes, settings=settings) == [0, 0]
    one = torch.load(tmp_path / "one" / "0.pt", weights_only=True)
    for rank in (0, 1):
        two = torch.load(tmp_path / "two" / f"{rank}.pt", weights_only=True)
        for part in ("student", "transform"):
            for name, value in one[part].items():
                torch.testing.assert_close(two[part][name], value, rtol=0, atol=apart, msg=f"{part} {name}")
    logs = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("one", "two"))
    ones, twos = ([json.loads(line) for line in log.splitlines()] for log in logs)
    assert [line["step"] for line in twos] == list(range(3 + steps))  # by one process only
    for of_one, of_two in zip(ones, twos, strict=True):  # what is logged is of the whole batch, too
        del of_one["seconds"], of_two["seconds"]
        assert of_two == pytest.approx(of_one, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("fold", [False, True])
def test_a_student_that_is_cut_out_starts_the_same_in_both(teacher, small_net, boxes, tmp_path, fold: bool) -> None:
    """The first process chooses the channels, solves for the weights and sends both to the other."""
    torch.manual_seed(1)
    module = _without_biases(small_net(32))
    wide = replace(teacher, module=module.eval().requires_grad_(False), digest="wide")
    for norm in (module.first[1], module.second[1]):
        norm.running_var.fill_(0.1)
    settings = replace(SETTINGS, steps=1)
    if fold:
        wide, settings = folded(wide), replace(settings, transform=None)
    for count in (1, 2):
        student = slim(wide, 0.5)
        assert (
            _run(count, tmp_path / str(count), wide, small_net, boxes, settings=settings, student=student)
            == [0] * count
        )
    one = torch.load(tmp_path / "1" / "0.pt", weights_only=True)["student"]
    assert one["channels"].tolist() != student.channels.tolist()
    for rank in (0, 1):
        two = torch.load(tmp_path / "2" / f"{rank}.pt", weights_only=True)["student"]
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5, msg=name)


def test_features_that_are_projected_are_compared_over_the_whole_batch(wide_teacher, wide, boxes, tmp_path) -> None:
    assert pairs_of(wide(), wide_teacher.module, (32, 48))
    assert _run(1, tmp_path / "one", wide_teacher, wide, boxes) == [0]
    assert _run(2, tmp_path / "two", wide_teacher, wide, boxes) == [0, 0]
    one, two = (torch.load(tmp_path / name / "0.pt", weights_only=True)["student"] for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-4, msg=name)


def test_a_norm_that_does_more_cannot_be_shared() -> None:
    class Activated(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).relu()

    with pytest.raises(ModelError, match="class Activated cannot be shared"):
        share_norms(nn.Sequential(Activated(3)))


def test_when_a_process_dies_the_others_say_so(teacher, small_net, boxes, tmp_path) -> None:
    codes = _run(2, tmp_path / "run", teacher, small_net, boxes, dies=True)
    assert codes[1] == 9 and codes[0] not in (0, None)
    said = (tmp_path / "run" / "error-0").read_text()
    assert "Another of the 2 processes ended" in said and "resumes from the last checkpoint" in said


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    Ranks(0, 2).require_parts(8)
    for batch in (9, 2):
        with pytest.raises(UsageError, match="multiple of 2, at least 4"):
            Ranks(0, 2).require_parts(batch)
    Ranks().require_parts(6, accumulate=2)
    with pytest.raises(UsageError, match="multiple of 3, at least 6"):
        Ranks().require_parts(8, accumulate=3)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"RANK": "first"}, "RANK is 'first' among 2 processes"),
        ({"RANK": "²"}, "RANK is '²' among 2 processes"),
        ({"RANK": "2"}, "RANK is '2' among 2 processes"),
        ({"MASTER_PORT": "port"}, "cannot reach each other at 127.0.0.1:port"),
        ({"MASTER_PORT": "99999"}, "cannot reach each other at 127.0.0.1:99999"),
    ],
)
def test_an_environment_that_torchrun_would_not_set_is_refused(stated, message, monkeypatch) -> None:
    whole = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in (whole | stated).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message), joined("cpu"):
        pass


def test_a_mean_far_from_zero_is_shared_as_exactly_as_one_process_has_it(monkeypatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(_port()))
    torch.manual_seed(0)
    x, plain, shared = torch.randn(8, 4, 16, 16) + 3000, nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4))
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    try:
        share_norms(shared)
        torch.testing.assert_close(shared(x), plain(x), rtol=0, atol=1e-2)
    finally:
        torch.distributed.destroy_process_group()


def test_layers_that_share_become_plain_again() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), AddedNorm(4))
    for _ in range(2):  # a run may share them again
        share_norms(network)
    assert type(network[1]) is type(network[2]) is not nn.BatchNorm2d and isinstance(network[1], nn.BatchNorm2d)
    unshare_norms(network)
    assert [type(layer) for layer in network[1:]] == [nn.BatchNorm2d, AddedNorm]


def test_processes_of_one_machine_cannot_share_a_gpu(monkeypatch) -> None:
    """NCCL's error looks as if another process had died. The tests have no two GPUs."""
    whole = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in whole.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    with pytest.raises(UsageError, match=r"cannot share cuda:0\. Use --device cuda"), joined("cuda:0"):
        pass
