"""Teachers from weights files: the usual wrappings work, and nothing pickled ever runs."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from notes import Notes
from user_code import write_user_code

from calibration.errors import FileError, ModelError, UnknownNameError, UsageError
from calibration.files import sha256_file, write_json
from edgekd.cli.console import Console
from edgekd.models.architectures import architecture
from edgekd.models.teachers import load_teacher
from edgekd.models.weights import save_weights
from targets.input import Framing, InputSpec

SMALL = InputSpec(Framing(32, 64), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, torch.Tensor]:
    return architecture("mobile-s").start(SMALL, seed=3).state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        "plain", "state_dict", "model", "net", "params", "data parallel", "one in another", "ema", "lightning",
        "compiled", "counted", "lightning with a loss",
    ],
)  # fmt: skip
def test_checkpoints_in_the_usual_wrappings(wrap: str, weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    held = {
        "plain": weights,
        "state_dict": {"epoch": 3, "state_dict": weights},
        "model": {"model": weights},
        "net": {"net": weights, "epoch": 3},
        "params": {"params": weights},
        "data parallel": {"state_dict": {f"module.{name}": value for name, value in weights.items()}},
        "one in another": {"model": {"state_dict": weights}},
        "ema": {"ema_state_dict": weights},
        "lightning": {"state_dict": {f"model.{name}": value for name, value in weights.items()}},
        "compiled": {"model": {f"module._orig_mod.{name}": value for name, value in weights.items()}},
        "lightning with a loss": {
            "state_dict": {**{f"model.{name}": value for name, value in weights.items()}, "loss.weight": torch.ones(3)}
        },
        "counted": {**weights, "total_ops": torch.zeros(1), "stem.0.total_params": torch.zeros(1)},
    }[wrap]
    path = tmp_path / "net.pth"
    torch.save(held, path)
    write_json(tmp_path / "net.pth.input.json", SMALL.to_json())
    teacher = load_teacher(str(path), architecture="mobile-s")
    assert teacher.input == SMALL and teacher.digest == sha256_file(path)
    for name, value in teacher.module.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["net.ckpt", "net.pth.tar", "pytorch_model.bin"])
def test_weights_files_have_other_suffixes_too(name: str, weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(weights, tmp_path / name)
    write_json(tmp_path / f"{name}.input.json", SMALL.to_json())
    assert load_teacher(str(tmp_path / name), architecture="mobile-s").input == SMALL


def test_weights_in_parts_are_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"encoder": weights, "decoder": weights, "epoch": 3}, tmp_path / "a.pt")
    write_json(tmp_path / "a.pt.input.json", SMALL.to_json())
    with pytest.raises(ModelError, match="holds weights under encoder, decoder, not those of a single network"):
        load_teacher(str(tmp_path / "a.pt"), architecture="mobile-s")


def test_an_architecture_may_be_built_without_memory_or_in_data_parallel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_user_code(tmp_path, "usernets", monkeypatch)
    module = load_teacher("usernets:full").module
    torch.save(module.state_dict(), tmp_path / "net.pth")
    for name in ("on_meta", "parallel"):
        found = load_teacher(str(tmp_path / "net.pth"), architecture=f"usernets:{name}").module
        torch.testing.assert_close(found.state_dict(), module.state_dict())
    with pytest.raises(ModelError, match=r"conv\.weight of usernets:on_meta have no data: .*meta device.*Load trained"):
        load_teacher("usernets:on_meta")
    with pytest.raises(ModelError, match="The buffer grid of usernets:on_meta_with_more is on the meta device"):
        load_teacher(str(tmp_path / "net.pth"), architecture="usernets:on_meta_with_more")


def test_averaged_weights_that_are_left_are_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    notes = Notes()
    torch.save({"model": weights, "model_ema": {name: value + 1 for name, value in weights.items()}}, tmp_path / "a.pt")
    write_json(tmp_path / "a.pt.input.json", SMALL.to_json())
    teacher = load_teacher(str(tmp_path / "a.pt"), architecture="mobile-s", progress=notes)
    torch.testing.assert_close(teacher.module.state_dict()["stem.0.weight"], weights["stem.0.weight"])
    assert any("also holds averaged weights (model_ema): using those of model" in note for note in notes.said)


@pytest.mark.parametrize("more", ["copy", "stray"])
def test_of_all_prefixes_that_of_the_network_counts(
    weights: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str
) -> None:
    held = {f"model.{name}": value for name, value in weights.items()}
    name = "stem.0.weight"
    beside = weights if more == "copy" else {name: weights[name]}
    torch.save(held | {f"module.{key}": value + 1 for key, value in beside.items()}, tmp_path / "a.pt")
    write_json(tmp_path / "a.pt.input.json", SMALL.to_json())
    teacher = load_teacher(str(tmp_path / "a.pt"), architecture="mobile-s", progress=Console())
    torch.testing.assert_close(teacher.module.state_dict()[name], weights[name])
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "also holds the network under module.*: using model.*"
        if more == "copy"
        else "also holds tensors that do not belong to the network (1)"
    ) in said


def test_a_file_that_holds_itself_is_one_line(tmp_path: Path) -> None:
    held: dict[str, object] = {}
    held["model"] = held
    torch.save(held, tmp_path / "net.pt")
    write_json(tmp_path / "net.pt.input.json", SMALL.to_json())
    with pytest.raises(ModelError, match="holds no state_dict"):
        load_teacher(str(tmp_path / "net.pt"), architecture="mobile-s")


def test_a_checkpoint_of_a_users_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_user_code(tmp_path, "mynets_weights", monkeypatch)
    source = load_teacher(f"{name}:make").module.state_dict()
    torch.save({key: value + 0.01 for key, value in source.items() if value.is_floating_point()}, tmp_path / "net.pt")
    teacher = load_teacher(str(tmp_path / "net.pt"), architecture=f"{name}:make")
    assert teacher.input == InputSpec(Framing(16, 24))
    torch.testing.assert_close(teacher.module.state_dict()["conv.weight"], source["conv.weight"] + 0.01)


def test_a_checkpoint_fills_layers_that_never_saw_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_user_code(tmp_path, "mynets_lazy_weights", monkeypatch)
    trained = load_teacher(f"{name}:full").module
    torch.save(trained.state_dict(), tmp_path / "net.pt")
    teacher = load_teacher(str(tmp_path / "net.pt"), architecture=f"{name}:lazy")
    picture = torch.rand(2, 3, 16, 24)
    torch.testing.assert_close(teacher.module(picture), trained(picture), rtol=0, atol=0)


def test_our_own_students_know_what_they_are(tmp_path: Path) -> None:
    student = architecture("mobile-s").start(SMALL, seed=5)
    path = tmp_path / "student.safetensors"
    save_weights(path, student, architecture="mobile-s", input=SMALL)
    teacher = load_teacher(str(path))
    assert teacher.input == SMALL
    picture = torch.rand(1, 3, 32, 64)
    torch.testing.assert_close(teacher.module(picture), student.eval()(picture))


def test_code_that_a_file_names_is_run_only_once_the_user_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_user_code(tmp_path, "mynets_of_a_file", monkeypatch)
    net = load_teacher(f"{name}:make").module
    monkeypatch.delitem(sys.modules, name)
    path = tmp_path / "net.safetensors"
    save_weights(path, net, architecture=f"{name}:make", input=InputSpec(Framing(16, 24)))
    with pytest.raises(UsageError, match=f"add --architecture {name}:make") as raised:
        load_teacher(str(path))
    assert "\n" not in str(raised.value) and name not in sys.modules
    assert load_teacher(str(path), architecture=f"{name}:make").input.height == 16


def test_missing_and_unexpected_weights_are_one_line(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    weights["intruder"] = weights.pop("head.log_depth.bias")
    weights["stem.0.weight"] = weights["stem.0.weight"][:, :1]
    torch.save(weights, tmp_path / "net.pt")
    write_json(tmp_path / "net.pt.input.json", SMALL.to_json())
    with pytest.raises(ModelError) as raised:
        load_teacher(str(tmp_path / "net.pt"), architecture="mobile-s")
    said = str(raised.value)
    assert "misses head.log_depth.bias" in said and "unexpected intruder" in said and "stem.0.weight [" in said
    assert "\n" not in said


def test_a_sparse_tensor_is_one_line(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    weights["stem.0.weight"] = weights["stem.0.weight"].to_sparse()
    torch.save(weights, tmp_path / "net.pt")
    write_json(tmp_path / "net.pt.input.json", SMALL.to_json())
    with pytest.raises(ModelError, match=r"net\.pt holds stem\.0\.weight as a sparse or quantised tensor") as raised:
        load_teacher(str(tmp_path / "net.pt"), architecture="mobile-s")
    assert "\n" not in str(raised.value)


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch attacked",))


def test_pickled_code_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"w": Attack()}))
    torch.save({"state_dict": {"w": torch.zeros(1)}, "args": Attack()}, tmp_path / "zipped.pt")
    for name in ("plain.pt", "zipped.pt"):
        with pytest.raises((ModelError, FileError)):
            load_teacher(str(tmp_path / name), architecture="mobile-s")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<html>404</html>", "is a web page"),
        (b"PK\x03\x04 not a zip", "truncated|not a complete"),
        (b"\x00" * 100, "not a torch file|truncated|not a complete"),
    ],
)
def test_files_that_are_no_weights(suffix: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises((FileError, ModelError), match=message):
        load_teacher(str(path), architecture="mobile-s")


def test_weights_without_an_architecture(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "net.pt")
    with pytest.raises(UsageError, match=r"Add --architecture: one of mobile-s"):
        load_teacher(str(tmp_path / "net.pt"))
    with pytest.raises(UnknownNameError, match=r"Did you mean mobile-s.*Or pass package\.module:factory"):
        load_teacher(str(tmp_path / "net.pt"), architecture="mobil-s")
    with pytest.raises(ModelError, match=r"net\.pt\.input\.json"):
        load_teacher(str(tmp_path / "net.pt"), architecture="mobile-s")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/constants.pkl", b"")
        archive.writestr("net/data.pkl", b"")
    with pytest.raises(ModelError, match="TorchScript program"):
        load_teacher(str(tmp_path / "net.pt"), architecture="mobile-s")
