"""A teacher from Hugging Face: hf:org/name, or hf:FOLDER for one saved locally, by transformers' own classes.

What a network's number means (depth_kinds.py) is in the table below by its class; hf:org/name@inverse says it where the
table does not know.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calibration.errors import FileError, MissingRuntimeError, ModelError, UsageError
from calibration.files import sha256_bytes
from calibration.progress import Progress
from calibration.reasons import first_line, out_of_memory
from edgekd.models.checks import require_finite_weights
from edgekd.models.depth_kinds import DEPTH_KINDS, UNIT_OF_ITS_OWN, DepthOfKind, require_kind
from edgekd.models.freeze import freeze, stated_input
from edgekd.models.huggingface_input import preprocessed_input
from edgekd.models.pictures import NormalisePictures, probe_pictures
from edgekd.models.teacher import Teacher
from edgekd.models.weights import weights_digest
from targets.input import InputSpec

__all__ = ["huggingface_teacher"]

_KIND_OF: dict[str, Callable[[Any], str]] = {
    "dpt": lambda config: "metric" if _over_dinov2(config) else "inverse",
    "depth_anything": lambda config: "metric" if config.depth_estimation_type == "metric" else "inverse",
    "glpn": lambda config: "metric",
    "zoedepth": lambda config: "metric",
}
_WORKS = "DPT, Depth Anything, GLPN and ZoeDepth are"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class _Predicted(DepthOfKind):
    """The network's `predicted_depth`, at the pictures' size: some give it of another."""

    def read(self, x: Tensor) -> Tensor:
        raw: Tensor = self.network(pixel_values=x).predicted_depth[:, None]
        if raw.shape[-2:] != x.shape[-2:]:  # before any reciprocal, as transformers does
            raw = F.interpolate(raw, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return raw


def huggingface_teacher(spec: str, progress: Progress) -> Teacher:
    """Load hf:org/name or hf:FOLDER, either with @metric, @relative or @inverse behind it; nothing pickled, no code.

    Raises MissingRuntimeError without transformers, UsageError, FileError or ModelError.
    """
    transformers = _import_transformers()
    name, stated = _split(spec.removeprefix("hf:"))
    if stated:
        require_kind(stated)
    saved = _is_saved(name)
    if saved:
        name = str(Path(name).resolve())
    progress.note(f"Loading {name} with transformers" + ("" if saved else ", from its hub if need be"))
    config, network, missing = _load(transformers, name, saved)
    kind = stated or _kind(name, config)
    described = stated_input(Path(name)) or preprocessed_input(name, config)
    network.eval().float()
    require_finite_weights(name, network)
    if missing:
        _require_unused(name, network, missing, described)
        progress.note(f"{name} lacks {len(missing)} weights that its depth does not depend on: they are taken as 0")
    module = _Predicted(network, kind)
    if kind != "metric":
        _predicted(network, described)  # whether it takes such pictures: of what gives metres check_teacher tells
        module.choose_unit(described)
    own = "" if kind == "metric" else f": {UNIT_OF_ITS_OWN}"
    progress.note(f"{name} is taken to give {kind} depth, of pictures of {described.height}x{described.width}{own}")
    teacher, remarks = freeze(
        name.rstrip("/").rsplit("/", 1)[-1],
        module,
        described,
        digest=sha256_bytes(f"{weights_digest(network)} {kind}".encode()),  # not of the unit, which a processor rounds
        source=f"{name} ({config.model_type}, {kind} depth), by transformers",
        metric=kind == "metric",
    )
    for remark in remarks:
        progress.note(remark)
    return teacher


def _import_transformers() -> Any:
    """transformers, silent. Raises MissingRuntimeError where it is not installed, or not for this torch."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when its hub's client is imported
    try:
        import transformers
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise MissingRuntimeError(
            f"Teachers from Hugging Face need transformers ({error})", fix="Run pip install 'edgekd[huggingface]'"
        ) from error
    if not transformers.utils.is_torch_available():
        raise MissingRuntimeError(
            f"transformers {transformers.__version__} does not work with PyTorch {torch.__version__}",
            fix="Run pip install --upgrade torch, or pip install 'transformers<5'",
        )
    for talkative in ("transformers", "huggingface_hub"):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    disable_progress_bar()
    return transformers


def _load(transformers: Any, name: str, saved: bool) -> tuple[Any, nn.Module, list[str]]:
    """Config, network, and the names of the weights that its file lacks. Raises FileError or ModelError."""
    where = name if saved else f"{name}, of which there is no folder here,"
    fix = "Copy it again" if saved else "Check the name and the connection, or give the folder it was saved in"
    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # transformers and its hub's client each have their own
        raise FileError(f"The config.json of {where} cannot be read ({first_line(error)[:200]})", fix=fix) from error
    _require_depth_model(name, config, type(config) in transformers.MODEL_FOR_DEPTH_ESTIMATION_MAPPING)
    try:
        network, loading = transformers.AutoModelForDepthEstimation.from_pretrained(
            name,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # which are told of below, by name
            output_loading_info=True,
        )
    except Exception as error:  # safetensors' own as well
        if out_of_memory(error):
            raise
        raise FileError(f"The weights of {where} cannot be read ({first_line(error)[:200]})", fix=fix) from error
    for weight, found, wanted in loading["mismatched_keys"]:
        raise FileError(
            f"The weight {weight} of {name} is of {list(found)}, and its config.json asks for {list(wanted)}",
            fix="Give the config.json and the weights of one model",
        )
    return config, network, sorted(loading["missing_keys"])


def _split(spec: str) -> tuple[str, str]:
    """A name or folder, and the kind of depth behind its @; a folder may have an @ of its own."""
    head, mark, tail = spec.rpartition("@")
    return (head, tail) if mark and "/" not in tail and not Path(spec).is_dir() else (spec, "")


def _is_saved(name: str) -> bool:
    """Whether it is a folder that transformers wrote. Raises FileError when it is another one, or a path to none."""
    folder = Path(name)
    if not folder.is_dir():
        if not _HUB_NAME.fullmatch(name):
            raise FileError(f"There is no folder {name}", fix="Check the path, or give a name of the hub: hf:org/name")
        return False
    for needed, about in (("config.json", "config.json"), ("*.safetensors", "weights in .safetensors")):
        if not any(folder.glob(needed)):
            raise FileError(f"{folder} holds no {about}", fix="Give a folder that save_pretrained wrote, whole")
    return True


def _require_depth_model(name: str, config: Any, known: bool) -> None:
    """Raise ModelError for a model of something else than depth; `known`: there are depth models of its type."""
    stated = list(config.architectures or ())
    if known and (not stated or any(one.endswith("ForDepthEstimation") for one in stated)):
        return
    said = ", ".join(stated) or config.model_type
    raise ModelError(f"{name} is no depth model: its config.json says {said}", fix=f"Give one that is: {_WORKS}")


@torch.no_grad()
def _predicted(network: nn.Module, input: InputSpec) -> Tensor:  # noqa: A002
    """What the network gives of a test picture. Raises ModelError when it does not take them."""
    try:
        probe = NormalisePictures(input)(torch.from_numpy(probe_pictures(input.height, input.width, 1)))
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
        given.append(_predicted(network, input))
    if not all(torch.equal(given[0], other) for other in given[1:]):
        raise FileError(
            f"{name} lacks {len(missing)} of its weights, such as {missing[0]}",
            fix="Load a model that was saved whole, for depth estimation",
        )
    for weight in weights:
        weight.zero_()


def _over_dinov2(config: Any) -> bool:
    """Those DPT were trained on the metres of NYU Depth and KITTI, those over other networks on disparity."""
    return getattr(getattr(config, "backbone_config", None), "model_type", None) == "dinov2"


def _kind(name: str, config: Any) -> str:
    if config.model_type in _KIND_OF:
        return _KIND_OF[config.model_type](config)
    raise UsageError(
        f"Whether {name} ({config.model_type}) gives metres is not known here",
        fix=f"Say it: hf:{name}@{' or @'.join(DEPTH_KINDS)}",
    )
