"""A teacher from Hugging Face: hf:org/name, or hf:FOLDER for one saved locally, by transformers' own classes.

What a network's number means is decided by name, never guessed from values:

    metric     metres
    relative   proportional to depth; the unit is unknown
    inverse    proportional to 1/depth (MiDaS and DPT, the first Depth Anything); an unknown shift is taken as 0

hf:org/name@inverse says it where the table below does not know. Of relative and inverse depth the unit is set so that
the median over test pictures is that of a room; distances keep their ratios, and metres are only a name.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calibration.errors import FileError, MissingRuntimeError, ModelError, UsageError
from calibration.files import sha256_bytes
from calibration.progress import Progress
from calibration.reasons import first_line
from edgekd.models.blocks import TYPICAL_DEPTH
from edgekd.models.freeze import freeze, stated_input
from edgekd.models.pictures import NormalisePictures, probe_pictures
from edgekd.models.teacher import Teacher
from edgekd.models.weights import weights_digest
from targets.input import Framing, InputSpec

__all__ = ["DEPTH_KINDS", "huggingface_teacher"]

DEPTH_KINDS = ("metric", "relative", "inverse")

_KIND_OF: dict[str, Callable[[Any], str]] = {
    "dpt": lambda config: "inverse",
    "depth_anything": lambda config: "metric" if config.depth_estimation_type == "metric" else "inverse",
    "glpn": lambda config: "metric",
    "zoedepth": lambda config: "metric",
}
_UNSIZED = (480, 640)  # of networks that take any resolution


class _Depth(nn.Module):
    """The network's `predicted_depth` as depth, [N, H, W]."""

    def __init__(self, network: nn.Module, kind: str) -> None:
        super().__init__()
        self.network, self.kind = network, kind
        self.register_buffer("unit", torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        raw: Tensor = self.network(pixel_values=x).predicted_depth
        if self.kind == "inverse":
            # A hundred times as far as what is typical is as far as it goes: a disparity of 0 is infinitely far.
            raw = 1 / torch.maximum(raw, 0.01 / TYPICAL_DEPTH * self.get_buffer("unit"))
        depth: Tensor = raw * self.get_buffer("unit")
        return depth

    @torch.no_grad()
    def choose_unit(self, input: InputSpec) -> None:  # noqa: A002 - the field's own name
        raw = _predicted(self.network, input, pictures=4)
        if not torch.isfinite(raw).all():
            raise ModelError("The network gives NaN or infinite depth", fix="Save or copy the model again")
        middle = float(raw.clamp_min(0).median())
        if not middle > 0:
            raise ModelError(
                f"The median of its output is {middle:g}, so it is no {self.kind} depth",
                fix=f"Say which kind it is: hf:NAME@{' or @'.join(DEPTH_KINDS)}",
            )
        self.get_buffer("unit").fill_(TYPICAL_DEPTH * middle if self.kind == "inverse" else TYPICAL_DEPTH / middle)


def huggingface_teacher(spec: str, progress: Progress) -> Teacher:
    """Load hf:org/name or hf:FOLDER, either with @metric, @relative or @inverse behind it; nothing pickled, no code.

    Raises MissingRuntimeError without transformers, UsageError, FileError or ModelError.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when its hub's client is imported
    try:
        from transformers import AutoConfig, AutoModelForDepthEstimation
        from transformers import __version__ as version
        from transformers.utils import is_torch_available
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise MissingRuntimeError(
            f"Teachers from Hugging Face need transformers ({error})", fix="Run pip install 'edgekd[huggingface]'"
        ) from error
    if not is_torch_available():
        raise MissingRuntimeError(
            f"transformers {version} does not work with PyTorch {torch.__version__}",
            fix="Run pip install --upgrade torch, or pip install 'transformers<5'",
        )
    name, stated = _split(spec.removeprefix("hf:"))
    if stated and stated not in DEPTH_KINDS:
        raise UsageError(f"There is no kind of depth {stated!r}", fix=f"Say @{', @'.join(DEPTH_KINDS)}")
    saved = Path(name).is_dir()
    if saved:
        name = str(Path(name).resolve())
    progress.note(f"Loading {name} with transformers" + ("" if saved else ", from its hub if need be"))
    logging.getLogger("transformers").setLevel(logging.ERROR)
    disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        network, loading = AutoModelForDepthEstimation.from_pretrained(
            name, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # transformers, its hub's client and safetensors each have their own
        raise FileError(
            f"{name} cannot be loaded as a depth model of transformers ({first_line(error)[:200]})",
            fix="Check the name, that it holds safetensors, and the connection; or give the folder it was saved in",
        ) from error
    kind = stated or _kind(name, config)
    described = stated_input(Path(name)) or _input(name, config)
    network.eval().float()
    missing = sorted(loading["missing_keys"])
    if missing:
        _require_unused(name, network, missing, described)
        progress.note(f"{name} lacks {len(missing)} weights that its depth does not depend on: they are taken as 0")
    module = _Depth(network, kind)
    if kind != "metric":
        module.choose_unit(described)
        progress.note(f"{name} gives {kind} depth: its metres are a unit of their own, and only ratios mean something")
    teacher, remarks = freeze(
        name.rstrip("/").rsplit("/", 1)[-1],
        module,
        described,
        digest=sha256_bytes(f"{weights_digest(network)} {kind}".encode()),  # not of the unit, which a processor rounds
        source=f"{name} ({config.model_type}, {kind} depth), by transformers",
    )
    for remark in remarks:
        progress.note(remark)
    return teacher


def _split(spec: str) -> tuple[str, str]:
    """A name or folder, and the kind of depth behind its @; a folder may have an @ of its own."""
    head, mark, tail = spec.rpartition("@")
    return (head, tail) if mark and "/" not in tail and not Path(spec).is_dir() else (spec, "")


@torch.no_grad()
def _predicted(network: nn.Module, input: InputSpec, pictures: int) -> Tensor:  # noqa: A002
    """What the network gives of test pictures. Raises ModelError when it does not take them."""
    probe = NormalisePictures(input)(torch.from_numpy(probe_pictures(input.height, input.width, pictures)))
    try:
        predicted: Tensor = network(pixel_values=probe).predicted_depth
    except Exception as error:
        raise ModelError(
            f"The network does not take pictures of {input.height}x{input.width} ({first_line(error)[:200]})",
            fix="State the size it takes in NAME.input.json (edgekd/models/README.md)",
        ) from error
    return predicted


@torch.no_grad()
def _require_unused(name: str, network: nn.Module, missing: Sequence[str], input: InputSpec) -> None:  # noqa: A002
    """Set weights that a file lacks, and that transformers drew at random, to 0.

    Some lack weights that are never used, as the first DPT do. Raises FileError when depth depends on them.
    """
    state = network.state_dict()
    weights = [state[key] for key in missing if key in state and state[key].is_floating_point()]
    given = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        for weight in weights:
            drawn = torch.randn(weight.shape, generator=generator)
            weight.copy_(0.1 * drawn if seed else torch.zeros_like(drawn))
        given.append(_predicted(network, input, pictures=1))
    if not all(torch.equal(given[0], other) for other in given[1:]):
        raise FileError(
            f"{name} lacks {len(missing)} of its weights, such as {missing[0]}",
            fix="Load a model that was saved whole, for depth estimation",
        )
    for weight in weights:
        weight.zero_()


def _kind(name: str, config: Any) -> str:
    if config.model_type in _KIND_OF:
        return _KIND_OF[config.model_type](config)
    raise UsageError(
        f"Whether {name} ({config.model_type}) gives metres is not known here",
        fix=f"Say it: hf:{name}@{' or @'.join(DEPTH_KINDS)}",
    )


def _input(name: str, config: Any) -> InputSpec:
    """What the model's own preprocessor_config.json says."""
    said = _preprocessor(name)
    size = said.get("size")
    if isinstance(size, Mapping) and "height" in size and "width" in size:
        try:
            height, width = int(size["height"]), int(size["width"])
        except (TypeError, ValueError) as error:
            raise FileError(
                f"preprocessor_config.json of {name} does not state a size ({error})",
                fix=f"State it in {name}.input.json",
            ) from error
    elif isinstance(getattr(config, "image_size", None), int):
        height = width = int(config.image_size)
    else:
        by = said.get("size_divisor", 32)
        if not isinstance(by, int) or not 1 <= by <= min(_UNSIZED):
            raise FileError(
                f"preprocessor_config.json of {name} states a size_divisor of {by!r}",
                fix=f"State the size in {name}.input.json",
            )
        height, width = (extent // by * by for extent in _UNSIZED)
    if not said.get("do_normalize", "image_mean" in said):
        return InputSpec(Framing(height, width))
    try:
        (r, g, b), (dr, dg, db) = ([float(value) for value in said[key]] for key in ("image_mean", "image_std"))
        return InputSpec(Framing(height, width), mean=(r, g, b), std=(dr, dg, db))
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"preprocessor_config.json of {name} does not state its normalisation ({error})",
            fix=f"State it in {name}.input.json",
        ) from error


def _preprocessor(name: str) -> dict[str, Any]:
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(name, "preprocessor_config.json")
        value = json.loads(Path(str(found)).read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise FileError(
            f"{name} has no readable preprocessor_config.json ({first_line(error)[:200]})",
            fix=f"State what it is fed in {name}.input.json (edgekd/models/README.md)",
        ) from error
    return value
