"""Teachers from Hugging Face: tiny models of the real classes, saved and loaded as users do."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from notes import Notes

transformers = pytest.importorskip("transformers", reason="these teachers are loaded with transformers")
if not transformers.utils.is_torch_available():
    pytest.skip("this transformers does not work with this torch", allow_module_level=True)

from safetensors.torch import load_file, save_file  # noqa: E402

from calibration.errors import FileError, MissingRuntimeError, ModelError, UsageError  # noqa: E402
from calibration.progress import Quiet  # noqa: E402
from edgekd.models.blocks import TYPICAL_DEPTH  # noqa: E402
from edgekd.models.depth_kinds import DepthOfKind  # noqa: E402
from edgekd.models.from_huggingface import huggingface_teacher  # noqa: E402
from edgekd.models.huggingface_input import preprocessed_input  # noqa: E402
from edgekd.models.teachers import load_teacher  # noqa: E402
from targets.input import Framing, InputSpec  # noqa: E402

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "do_normalize": True}


def _backbone():
    return transformers.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )


def _depth_anything(kind: str):
    config = transformers.DepthAnythingConfig(
        backbone_config=_backbone(),
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type=kind,
        max_depth=10,
    )
    return transformers.DepthAnythingForDepthEstimation(config)


def _dpt():
    config = transformers.DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        is_hybrid=False,
    )
    return transformers.DPTForDepthEstimation(config)


def _glpn():
    config = transformers.GLPNConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8
    )
    return transformers.GLPNForDepthEstimation(config)


def save(folder: Path, network, preprocessor: dict) -> Path:
    # transformers draws weights so small that depth hardly depends on the picture, or is all zeros.
    convolutions = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    for layer in convolutions:
        layer.reset_parameters()
    torch.nn.init.constant_(convolutions[-1].bias, 0.5)
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    square = {**IMAGENET, "size": {"height": 56, "width": 56}}
    return {
        "metric": save(tmp_path / "metric", _depth_anything("metric"), square),
        "inverse": save(tmp_path / "inverse", _depth_anything("relative"), square),
        "dpt": save(tmp_path / "dpt", _dpt(), {**IMAGENET, "size": {"height": 64, "width": 64}}),
        "glpn": save(tmp_path / "glpn", _glpn(), {"do_rescale": True, "size_divisor": 32}),
    }


def test_metric_depth_is_what_the_real_class_predicts(saved):
    teacher = load_teacher(f"hf:{saved['metric']}")
    assert (teacher.input.height, teacher.input.width) == (56, 56)
    assert teacher.input.mean == (0.485, 0.456, 0.406)
    network = transformers.DepthAnythingForDepthEstimation.from_pretrained(saved["metric"]).eval()
    x = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(teacher.module(x)[:, 0], network(x).predicted_depth)


@pytest.mark.parametrize("name", ["inverse", "dpt"])
def test_inverse_depth_keeps_its_ratios_and_is_told_apart_from_metres(saved, name):
    notes = Notes()
    teacher = huggingface_teacher(f"hf:{saved[name]}", notes)
    assert any("inverse depth" in note and "only ratios" in note for note in notes.said)
    assert not teacher.metric
    network = transformers.AutoModelForDepthEstimation.from_pretrained(saved[name]).eval()
    size = teacher.input.height
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        disparity, depth = network(x).predicted_depth, teacher.module(x)[:, 0]
    assert depth.shape == disparity.shape
    product = (disparity * depth)[disparity > 0.2 * disparity.median()]
    torch.testing.assert_close(product, torch.full_like(product, product.median()), rtol=1e-3, atol=0)
    assert torch.isfinite(depth).all() and (depth > 0).all()


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_inverse_depth_is_cut_at_a_hundred_times_its_median_whatever_its_unit(scale):
    """A disparity of 0, as of the sky, is infinitely far; with a median of 2.5 depth is cut at 250."""

    class Disparity(torch.nn.Module):
        def forward(self, x):
            return torch.where(x[:, :1] < -1e8, 0.0, x.mean(1, keepdim=True).clamp_min(0) * scale)

    depth = DepthOfKind(Disparity(), "inverse")
    depth.choose_unit(InputSpec(Framing(32, 48)))
    x = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    x[:, :, :4] = -1e9
    found = depth(x)[0, 0]
    torch.testing.assert_close(found[:4], torch.full((4, 48), 100 * TYPICAL_DEPTH))
    ratios = found[4:] * x.mean(1)[0, 4:]
    torch.testing.assert_close(ratios, torch.full_like(ratios, float(ratios.median())), rtol=1e-4, atol=0)


def test_a_digest_does_not_depend_on_what_a_processor_rounds(saved, monkeypatch):
    digest = huggingface_teacher(f"hf:{saved['dpt']}", Quiet()).digest
    chosen = DepthOfKind.choose_unit

    def rounded_otherwise(self, spec):
        chosen(self, spec)
        self.unit *= 1.0001

    monkeypatch.setattr(DepthOfKind, "choose_unit", rounded_otherwise)
    assert huggingface_teacher(f"hf:{saved['dpt']}", Quiet()).digest == digest
    assert huggingface_teacher(f"hf:{saved['dpt']}@relative", Quiet()).digest != digest


def test_a_network_of_any_resolution_and_without_normalisation(saved):
    teacher = huggingface_teacher(f"hf:{saved['glpn']}", Quiet())
    assert (teacher.input.height, teacher.input.width) == (480, 640)
    assert teacher.input.std == (1.0, 1.0, 1.0)
    assert "metric depth" in teacher.source


def test_a_saved_model_that_names_a_backbone_on_the_hub_opens_no_connection(saved, monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_: asked.append(host) or [])
    path = saved["metric"] / "config.json"
    named = {"backbone": "no-such-org/b", "use_pretrained_backbone": True, "use_timm_backbone": False}
    path.write_text(json.dumps({**json.loads(path.read_text()), **named, "backbone_config": None}))
    with pytest.raises(FileError, match=r"names no-such-org/b on the hub.* hf download no-such-org/b") as raised:
        load_teacher(f"hf:{saved['metric']}")
    assert "\n" not in str(raised.value) and not asked


def test_what_is_wrong_with_it_is_one_line(saved, tmp_path):
    with pytest.raises(UsageError, match="@metric, @relative, @inverse"):
        huggingface_teacher(f"hf:{saved['metric']}@disparity", Quiet())
    with pytest.raises(FileError, match=r"Folder .*nothing not found\. Check the path"):
        huggingface_teacher(f"hf:{tmp_path / 'nothing'}", Quiet())
    (saved["dpt"] / "preprocessor_config.json").unlink()
    with pytest.raises(
        FileError, match=r"preprocessor_config\.json \(No such file.*\)\. Describe its input .* like \{"
    ):
        huggingface_teacher(f"hf:{saved['dpt']}", Quiet())
    (saved["glpn"] / "preprocessor_config.json").write_text('{"size_divisor": 0}')
    with pytest.raises(FileError, match="size_divisor of 0"):
        huggingface_teacher(f"hf:{saved['glpn']}", Quiet())
    weights = saved["inverse"] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(FileError, match=r"The weights of \S+ cannot be read .*Copy it again"):
        huggingface_teacher(f"hf:{saved['inverse']}", Quiet())
    (saved["metric"] / "model.safetensors").unlink()
    with pytest.raises(FileError, match=r"holds no weights in \.safetensors"):
        huggingface_teacher(f"hf:{saved['metric']}", Quiet())
    (saved["metric"] / "config.json").unlink()
    with pytest.raises(FileError, match=r"holds no config\.json"):
        huggingface_teacher(f"hf:{saved['metric']}", Quiet())


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_model_of_something_else_or_of_another_shape_is_named(saved):
    change(saved["dpt"] / "config.json", architectures=["DPTForSemanticSegmentation"])
    with pytest.raises(ModelError, match=r"is not a depth model: its config\.json says DPTForSemanticSegmentation"):
        huggingface_teacher(f"hf:{saved['dpt']}", Quiet())
    change(saved["metric"] / "config.json", fusion_hidden_size=16)
    with pytest.raises(FileError, match=r"The weight \S+ of \S+ is \[.*\], but its config\.json asks for \["):
        huggingface_teacher(f"hf:{saved['metric']}", Quiet())
    state = load_file(saved["inverse"] / "model.safetensors")
    state["head.conv1.bias"][0] = torch.nan
    save_file(state, saved["inverse"] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"The weights head\.conv1\.bias of \S+ hold NaN"):
        huggingface_teacher(f"hf:{saved['inverse']}", Quiet())


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({"size": 56}, (56, 56)),
        ({"size": {"height": 42, "width": 70}}, (42, 70)),
        ({"size": {"height": 60, "width": 60}, "ensure_multiple_of": 14}, (56, 56)),
        ({"size": {"height": 56, "width": 56}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}, (56, 70)),
        ({"size": {"height": 518, "width": 518}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}, (518, 686)),
        ({"size": {"shortest_edge": 240}}, (240, 320)),
        ({"size_divisor": 64}, (448, 640)),
    ],
)
def test_a_network_is_fed_what_its_processor_gives_of_a_cameras_picture(tmp_path, said, size):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    described = preprocessed_input(str(tmp_path), SimpleNamespace())
    assert (described.height, described.width) == size
    if "shortest_edge" not in str(said) and "size" in said:  # DPT's processor takes neither that nor a divisor
        processor = transformers.DPTImageProcessor(**said)
        given = processor(np.zeros((480, 640, 3), np.uint8), return_tensors="pt")["pixel_values"]
        assert tuple(given.shape[-2:]) == size


@pytest.mark.parametrize(
    "said", [{"size": "large"}, {"size": {"width": 64}}, {**IMAGENET, "size": 56, "image_std": [0, 1, 1]}]
)
def test_what_a_processor_says_must_be_to_follow(tmp_path, said):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(FileError, match=rf"preprocessor_config\.json of {tmp_path}.* Describe its input in"):
        preprocessed_input(str(tmp_path), SimpleNamespace())


def test_dpt_over_dinov2_gives_metres_and_a_map_that_is_brought_to_the_pictures_size(tmp_path):
    config = transformers.DPTConfig(backbone_config=_backbone(), neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8)
    torch.manual_seed(0)
    folder = save(tmp_path / "net", transformers.DPTForDepthEstimation(config), {**IMAGENET, "size": 56})
    teacher = load_teacher(f"hf:{folder}")
    assert teacher.metric and "metric depth" in teacher.source
    network = transformers.DPTForDepthEstimation.from_pretrained(folder).eval()
    x = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        raw = network(x).predicted_depth[:, None]
        assert raw.shape[-2:] == (64, 64)
        wanted = torch.nn.functional.interpolate(raw, size=(56, 56), mode="bilinear", align_corners=False)
        torch.testing.assert_close(teacher.module(x), wanted)


def without(folder: Path, *parts: str) -> int:
    """Removes the weights whose names contain one of `parts` from a saved model; returns how many."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    kept = {name: tensor for name, tensor in tensors.items() if not any(part in name for part in parts)}
    save_file(kept, path, metadata={"format": "pt"})
    return len(tensors) - len(kept)


def test_weights_that_are_never_used_may_be_missing_and_make_no_other_teacher(saved):
    """The first DPT models lack those of an unused residual unit; transformers draws them anew each time."""
    whole = load_teacher(f"hf:{saved['dpt']}")
    lacking = without(saved["dpt"], "fusion_stage.layers.0.residual_layer1")
    assert lacking == 4
    notes = Notes()
    one, other = (huggingface_teacher(f"hf:{saved['dpt']}", notes) for _ in range(2))
    assert one.digest == other.digest
    assert any("lacks 4 weights that its depth does not depend on" in note for note in notes.said)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(one.module(x), whole.module(x)) and torch.equal(one.module(x), other.module(x))


@pytest.mark.parametrize("parts", [("head.",), ("encoder.layer.1.",), ("fusion_stage.layers.1.residual_layer1",)])
def test_a_model_that_was_not_saved_whole_is_refused(saved, parts):
    lacking = without(saved["dpt"], *parts)
    with pytest.raises(FileError, match=rf"lacks {lacking} of its weights, such as \S*{parts[0]}"):
        load_teacher(f"hf:{saved['dpt']}@metric")


def test_a_folder_may_have_an_at_sign(saved, tmp_path):
    for name, spec in (("me@work/net", ""), ("net@2", ""), ("me@work/net", "@metric"), ("net@2", "@metric")):
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(saved["metric"], folder)
        assert load_teacher(f"hf:{folder}{spec}").name == folder.name
    with pytest.raises(UsageError, match="no kind of depth named 'meters'"):
        load_teacher(f"hf:{saved['metric']}@meters")


def test_a_transformers_for_which_torch_is_too_old_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from version 5 on with torch 2.4: it imports, but reports PyTorch as missing when a model is loaded."""
    monkeypatch.setattr(transformers.utils, "is_torch_available", lambda: False)
    with pytest.raises(MissingRuntimeError, match=r"does not work with PyTorch .*pip install --upgrade torch"):
        huggingface_teacher(f"hf:{tmp_path}", Quiet())
