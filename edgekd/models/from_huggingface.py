"""Loads a teacher from Hugging Face with transformers: hf:org/name, or hf:FOLDER for one saved locally.

The table below gives a network's kind of depth (depth_kinds.py) by its model type; for others the user states it, as in
hf:org/name@inverse.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calibration.errors import FileError, MissingRuntimeError, ModelError, UsageError
from calibration.files import sha256_bytes
from calibration.progress import Progress
from calibration.reasons import first_line, out_of_memory
from calibration.wording import counted
from edgekd.models.checks import require_finite_weights
from edgekd.models.depth_kinds import DEPTH_KINDS, UNIT_OF_ITS_OWN, DepthOfKind, require_kind
from edgekd.models.freeze import freeze
from edgekd.models.huggingface_input import preprocessed_input
from edgekd.models.input_file import stated_input
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
    """The network's `predicted_depth`, resized to the pictures' size if that differs."""

    def read(self, x: Tensor) -> Tensor:
        raw: Tensor = self.network(pixel_values=x).predicted_depth[:, None]
        if raw.shape[-2:] != x.shape[-2:]:  # before any reciprocal, as in transformers
            raw = F.interpolate(raw, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return raw


def huggingface_teacher(spec: str, progress: Progress) -> Teacher:
    """Load hf:org/name or hf:FOLDER, optionally followed by @metric, @relative or @inverse.

    Loads no pickled weights and runs no remote code. Raises MissingRuntimeError without transformers, UsageError,
    FileError or ModelError.
    """
    transformers = _import_transformers()
    name, stated = _split(spec.removeprefix("hf:"))
    if stated:
        require_kind(stated)
    saved = _is_saved(name)
    if saved:
        name = str(Path(name).resolve())
    progress.note(f"Loading {name} with transformers" + ("" if saved else ", from the hub if needed"))
    config, network, missing = _load(transformers, name, saved)
    kind = stated or _kind(name, config)
    described = stated_input(Path(name)) or preprocessed_input(name, config)
    network.eval().float()
    for weight in (*network.parameters(), *network.buffers()):
        weight.data = weight.data.clone()  # transformers 4 maps the file, which may be replaced meanwhile
    require_finite_weights(name, network)
    if missing:
        _require_unused(name, network, missing, described)
        count = counted(len(missing), "weight")
        progress.note(f"{name} lacks {count} that its depth does not depend on, here set to 0")
    module = _Predicted(network, kind)
    if kind != "metric":
        _predicted(network, described)  # raises if it rejects such pictures; check_teacher does so for metric networks
        module.choose_unit(described)
    own = "" if kind == "metric" else f": {UNIT_OF_ITS_OWN}"
    progress.note(f"{name} is assumed to output {kind} depth for pictures of {described.height}x{described.width}{own}")
    loaded = Teacher(
        name.rstrip("/").rsplit("/", 1)[-1],
        module,
        described,
        digest=sha256_bytes(f"{weights_digest(network)} {kind}".encode()),  # without the unit, which the CPU rounds
        source=f"{name} ({config.model_type}, {kind} depth), by transformers",
        metric=kind == "metric",
    )
    return freeze(loaded, progress)


def _import_transformers() -> Any:
    """transformers, silenced. Raises MissingRuntimeError if it is not installed or does not support this torch."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the hub's client is imported
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
    """Config, network, and the names of the weights missing from its file. Raises FileError or ModelError."""
    where = name if saved else f"{name}, which is not a local folder,"
    fix = "Copy it again" if saved else "Check the name and the connection, or pass the folder it was saved in"
    try:
        with _from_the_disk_alone() if saved else contextlib.nullcontext():
            config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # transformers and the hub's client each raise their own errors
        if saved:
            _refuse_backbone_elsewhere(Path(name), error)
        raise FileError(f"The config.json of {where} cannot be read ({first_line(error)[:200]})", fix=fix) from error
    _require_depth_model(name, config, type(config) in transformers.MODEL_FOR_DEPTH_ESTIMATION_MAPPING)
    try:
        with _from_the_disk_alone() if saved else contextlib.nullcontext():
            network, loading = transformers.AutoModelForDepthEstimation.from_pretrained(
                name,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported below, by name
                output_loading_info=True,
            )
    except Exception as error:  # safetensors raises its own errors too
        if out_of_memory(error):
            raise
        if saved:
            _refuse_backbone_elsewhere(Path(name), error)
        raise FileError(f"The weights of {where} cannot be read ({first_line(error)[:200]})", fix=fix) from error
    for weight, found, wanted in loading["mismatched_keys"]:
        raise FileError(
            f"The weight {weight} of {name} is {list(found)}, but its config.json asks for {list(wanted)}",
            fix="Use the config.json and the weights of the same model",
        )
    return config, network, sorted(loading["missing_keys"])


@contextlib.contextmanager
def _from_the_disk_alone() -> Iterator[None]:
    """Let the hub's client open no connection: a saved config.json may name a backbone, which would be fetched."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _refuse_backbone_elsewhere(folder: Path, reason: BaseException) -> None:
    """Raise FileError, in place of `reason`, where a saved model failed because its backbone is on the hub."""
    causes, cause = [reason], reason.__cause__ or reason.__context__
    while cause is not None:
        causes, cause = [*causes, cause], cause.__cause__ or cause.__context__
    if not any(type(one).__name__ in ("OfflineModeIsEnabled", "LocalEntryNotFoundError") for one in causes):
        return
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a config.json that is damaged
        backbone = json.loads((folder / "config.json").read_bytes()).get("backbone")
        if isinstance(backbone, str):
            raise FileError(
                f"{folder} lacks its backbone: its config.json names {backbone} on the hub, which was not asked for",
                fix=f"Save the model with its backbone in it; or, if you trust it, hf download {shlex.quote(backbone)}",
            ) from reason


def _split(spec: str) -> tuple[str, str]:
    """Split off the kind of depth after an @; an @ may also belong to a folder's name."""
    head, mark, tail = spec.rpartition("@")
    return (head, tail) if mark and "/" not in tail and not Path(spec).is_dir() else (spec, "")


def _is_saved(name: str) -> bool:
    """Whether `name` is a saved model, not a hub name. Raises FileError for an incomplete folder or a missing one."""
    folder = Path(name)
    if not folder.is_dir():
        if not _HUB_NAME.fullmatch(name):
            raise FileError(f"Folder {name} not found", fix="Check the path, or pass a hub name: hf:org/name")
        return False
    for needed, about in (("config.json", "config.json"), ("*.safetensors", "weights in .safetensors")):
        if not any(folder.glob(needed)):
            raise FileError(f"{folder} holds no {about}", fix="Pass a complete folder written by save_pretrained")
    return True


def _require_depth_model(name: str, config: Any, known: bool) -> None:
    """Raise ModelError unless it is a depth model; `known` says whether transformers has depth models of its type."""
    stated = list(config.architectures or ())
    if known and (not stated or any(one.endswith("ForDepthEstimation") for one in stated)):
        return
    said = ", ".join(stated) or config.model_type
    raise ModelError(f"{name} is not a depth model: its config.json says {said}", fix=f"Use one that is: {_WORKS}")


@torch.no_grad()
def _predicted(network: nn.Module, input: InputSpec) -> Tensor:  # noqa: A002
    """The network's output for a test picture. Raises ModelError when it does not accept such pictures."""
    try:
        probe = NormalisePictures(input)(torch.from_numpy(probe_pictures(input.height, input.width, 1)))
        predicted: Tensor = network(pixel_values=probe).predicted_depth
    except Exception as error:
        raise ModelError(
            f"The network does not accept pictures of {input.height}x{input.width} ({first_line(error)[:200]})",
            fix="State its input size in NAME.input.json (edgekd/models/README.md)",
        ) from error
    return predicted


@torch.no_grad()
def _require_unused(name: str, network: nn.Module, missing: Sequence[str], input: InputSpec) -> None:  # noqa: A002
    """Set weights that are missing from the file, and that transformers drew at random, to 0.

    Some models lack weights that are never used, such as the first DPT models. Raises FileError when depth depends on
    them.
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
            fix="Use a model that was saved completely, for depth estimation",
        )
    for weight in weights:
        weight.zero_()


def _over_dinov2(config: Any) -> bool:
    """Whether a DPT uses DINOv2: those were trained on metres (NYU Depth, KITTI), all others on disparity."""
    return getattr(getattr(config, "backbone_config", None), "model_type", None) == "dinov2"


def _kind(name: str, config: Any) -> str:
    if config.model_type in _KIND_OF:
        return _KIND_OF[config.model_type](config)
    raise UsageError(
        f"Whether {name} ({config.model_type}) outputs metres is not known",
        fix=f"Specify it: hf:{name}@{' or @'.join(DEPTH_KINDS)}",
    )
