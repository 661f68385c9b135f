"""Loads a teacher from a weights file and the name of its architecture, without running any pickled code."""

from __future__ import annotations

import pickle
import shlex
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calibration.errors import FileError, ModelError, UsageError
from calibration.files import sha256_file
from calibration.progress import Progress
from calibration.reasons import out_of_memory
from edgekd.models.architectures import ARCHITECTURES
from edgekd.models.architectures import architecture as find
from edgekd.models.freeze import freeze
from edgekd.models.from_factory import call_factory, gives_metres, input_of
from edgekd.models.input_file import INPUT_EXAMPLE, stated_input
from edgekd.models.lazy import allocate_weights, shape_weights
from edgekd.models.model_file import refuse_other_files
from edgekd.models.teacher import Teacher
from edgekd.models.weights import WeightsFile, fill, load_weights
from targets.input import InputSpec

__all__ = ["checkpoint_teacher"]

_NESTED = (
    "state_dict", "model", "model_state_dict", "net", "network", "params", "ema", "model_ema", "ema_state_dict",
    "state_dict_ema",
)  # fmt: skip
"""Names under which training scripts save the weights; the first that is found is used."""

_DEPTH = 3  # levels of such names that are followed; a file may hold a mapping that contains itself

_PREFIXES = ("model.", "net.", "network.", "module.", "_orig_mod.")
"""Prefixes that Lightning modules, DataParallel and torch.compile add to every name. `module.` comes after those of the
network itself, because averaged weights are saved under it."""

_COUNTERS = ("total_ops", "total_params")
"""Buffers that thop leaves in a network whose operations it counted."""


def checkpoint_teacher(path: Path, architecture: str | None, progress: Progress) -> Teacher:
    """Build the architecture and fill it from `path` (.pt, .pth or .safetensors).

    `architecture` is a name in `ARCHITECTURES` or package.module:factory; files written by edgekd state their own name.
    The input is described by <file>.input.json, by the file's metadata, or by the module.

    Raises UsageError, FileError or ModelError.
    """
    held = load_weights(path) if path.suffix.lower() == ".safetensors" else _load_pickled(path, progress)
    architecture = architecture or _stated_name(path, held)
    if architecture is None:
        raise UsageError(
            f"{path} holds only weights; their architecture is not stated",
            fix=f"Add --architecture: one of {', '.join(ARCHITECTURES)}, or package.module:factory",
        )
    module, described, metric = _build(architecture, stated_input(path) or held.input, path, progress)
    fill(module, _unwrapped(held.tensors, module, path, progress), str(path), architecture=architecture)
    source = f"the weights {path} of the architecture {architecture}"
    return freeze(Teacher(path.stem, module, described, held.digest, source, metric), progress)


def _stated_name(path: Path, held: WeightsFile) -> str | None:
    """The architecture that the file states. Raises UsageError for a factory: code runs only if the user names it."""
    stated = held.architecture
    if stated is not None and ":" in stated:
        raise UsageError(
            f"{path} names code as its architecture ({stated}), and code runs only if you name it",
            fix=f"If you trust that code, add --architecture {shlex.quote(stated)}",
        )
    return stated


def _build(
    architecture: str, described: InputSpec | None, path: Path, progress: Progress
) -> tuple[nn.Module, InputSpec, bool]:
    """The network, its input, and whether it outputs metres."""
    missing = ModelError(
        f"The input of {architecture} is not described",
        fix=f"Describe it in {path.name}.input.json beside the weights, such as {INPUT_EXAMPLE}",
    )
    if ":" not in architecture:
        entry = find(architecture)
        if described is None:
            raise missing
        return entry.build(described), described, True
    made = call_factory(architecture, progress)
    module = made.module if isinstance(made, Teacher) else made
    described = described or (made.input if isinstance(made, Teacher) else input_of(made))
    if described is None:
        raise missing
    if isinstance(module, nn.DataParallel):
        module = module.module
    allocate_weights(module, architecture)
    shape_weights(module, described, architecture)
    return module, described, gives_metres(made)


def _load_pickled(path: Path, progress: Progress) -> WeightsFile:
    refuse_other_files(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            if any(name.endswith("constants.pkl") for name in names):
                raise ModelError(f"{path} is a TorchScript program, not weights", fix="Export it to ONNX and pass that")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about the pickle protocol; the errors below say what matters
            held = torch.load(path, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        if not _is_pickle(path):
            raise FileError(f"{path} is not a torch file", fix="Save model.state_dict() with torch.save") from error
        raise ModelError(
            f"{path} holds more than tensors and is not loaded, because it could run code",
            fix="Save model.state_dict() alone, or as safetensors",
        ) from error
    except Exception as error:  # a damaged file can fail anywhere in torch's reader
        if out_of_memory(error):
            raise
        raise FileError(f"{path} is truncated or not a torch file", fix="Copy or save it again") from error
    for _ in range(_DEPTH):
        found = [key for key in _NESTED if isinstance(held, Mapping) and isinstance(held.get(key), Mapping)]
        if not found:
            break
        averages = [key for key in found[1:] if "ema" in key]
        if averages:
            progress.note(f"{path} also holds averaged weights ({', '.join(averages)}): using those of {found[0]}")
        held = held[found[0]]
    tensors = (
        {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
        if isinstance(held, Mapping)
        else {}
    )
    if not tensors:
        raise _no_weights(path, held)
    odd = [name for name, value in tensors.items() if value.layout != torch.strided or value.is_quantized]
    if odd:
        raise ModelError(f"{path} holds {odd[0]} as a sparse or quantised tensor", fix="Save it with tensor.to_dense()")
    return WeightsFile(tensors=tensors, architecture=None, input=None, digest=sha256_file(path))


def _no_weights(path: Path, held: Any) -> ModelError:
    parts = [
        str(key)
        for key, value in (held.items() if isinstance(held, Mapping) else ())
        if isinstance(value, Mapping) and any(isinstance(one, Tensor) for one in value.values())
    ]
    if not parts:
        return ModelError(f"{path} holds no state_dict", fix="Save model.state_dict()")
    return ModelError(
        f"{path} holds weights under {', '.join(parts)}, not those of a single network",
        fix="Load them into the network and save its state_dict()",
    )


def _unwrapped(tensors: dict[str, Tensor], module: nn.Module, path: Path, progress: Progress) -> dict[str, Tensor]:
    """The tensors by the module's own names: without prefixes, without counters and, with a note, without what was
    trained beside the network."""
    wanted = module.state_dict()
    tensors = {name: value for name, value in tensors.items() if name in wanted or not name.endswith(_COUNTERS)}
    candidates = list(_by_prefix(tensors))
    known = [sum(name in wanted for name in inside) for _, inside in candidates]
    most = max(known)
    (prefix, found), *others = [one for one, count in zip(candidates, known, strict=True) if count == most]
    if others and most:
        progress.note(f"{path} also holds the network under {others[0][0]}*: using {prefix}*")
    elif beside := len(tensors) - len(found):
        progress.note(f"{path} also holds tensors that do not belong to the network ({beside}); they are ignored")
    return found


def _by_prefix(tensors: dict[str, Tensor], prefix: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """All tensors, then those under each prefix, or nested prefixes, by the rest of their names."""
    yield prefix, tensors
    for one in _PREFIXES:
        inside = {name.removeprefix(one): value for name, value in tensors.items() if name.startswith(one)}
        if inside:
            yield from _by_prefix(inside, prefix + one)


def _is_pickle(path: Path) -> bool:
    """Whether torch may have written the file: a zip archive, or a pickle of protocol 2 to 5."""
    with open(path, "rb") as stream:
        return stream.read(2) in (b"PK", *(bytes([0x80, protocol]) for protocol in range(2, 6)))
