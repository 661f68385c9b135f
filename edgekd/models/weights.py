"""Weights files: safetensors with the architecture's name and the input in the metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from calibration.errors import FileError, ModelError
from calibration.files import sha256_bytes, sha256_file, write_bytes
from calibration.weights import NETWORK
from edgekd.models.model_file import refuse_other_files
from targets.input import InputSpec

__all__ = ["WeightsFile", "fill", "load_weights", "save_weights", "tensors_digest", "weights_digest"]


@dataclass(frozen=True)
class WeightsFile:
    """What a weights file holds. `architecture` and `input` are None in files that edgekd did not write."""

    tensors: dict[str, Tensor]
    architecture: str | None
    input: InputSpec | None
    digest: str  # sha256 of the file


def weights_digest(module: nn.Module) -> str:
    """Hex SHA-256 over the names, types, shapes and bytes of every parameter and buffer."""
    return tensors_digest(module.state_dict())


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 over the names, types, shapes and bytes of tensors; `calibration.weights` computes it from a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_weights(path: Path, module: nn.Module, *, architecture: str, input: InputSpec) -> str:  # noqa: A002
    """Write the module's state as safetensors, completely or not at all; returns the file's sha256.

    Raises FileError or DiskFullError.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    described = {"architecture": architecture, "input": input.to_json(), "weights": weights_digest(module)}
    # A single entry: safetensors writes several in arbitrary order, and the same weights must give the same file.
    content = save(tensors, metadata={NETWORK: json.dumps(described, sort_keys=True)})
    write_bytes(path, content)
    return sha256_bytes(content)


def load_weights(path: Path) -> WeightsFile:
    """Read a safetensors file. Raises FileError when it is missing, incomplete or not a safetensors file."""
    from safetensors import SafetensorError, safe_open

    refuse_other_files(path)
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise FileError(
            f"{path} is not a complete safetensors file ({error})", fix="Copy or save the file again"
        ) from error
    architecture, described = _described(metadata[NETWORK], tensors, path) if NETWORK in metadata else (None, None)
    return WeightsFile(tensors=tensors, architecture=architecture, input=described, digest=sha256_file(path))


def fill(module: nn.Module, tensors: dict[str, Tensor], source: str, *, architecture: str) -> None:
    """Copy `tensors` into `module`. Raises ModelError naming what is missing, unexpected or of another shape."""
    wanted = module.state_dict()
    filled = {_place(wanted[name]) for name in tensors if name in wanted}
    missing = [
        name
        for name in wanted
        # Of weights with several names, safetensors' save_model writes one.
        if name not in tensors and not name.endswith("num_batches_tracked") and _place(wanted[name]) not in filled
    ]
    unexpected = [name for name in tensors if name not in wanted]
    shapes = [
        f"{name} {list(tensors[name].shape)} instead of {list(wanted[name].shape)}"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    complaints = [
        f"{what} {_some(names)}"
        for what, names in (("misses", missing), ("has unexpected", unexpected), ("has shapes", shapes))
        if names
    ]
    if complaints:
        raise ModelError(
            f"{source} does not match the architecture {architecture}: it {' and '.join(complaints)}",
            fix="Pass the architecture that the weights were saved from",
        )
    module.load_state_dict(tensors, strict=False)


def _described(text: str, tensors: dict[str, Tensor], path: Path) -> tuple[str, InputSpec]:
    try:
        value = json.loads(text)
        if value["weights"] != tensors_digest(tensors):
            raise ValueError("the weights were altered after they were saved")
        return str(value["architecture"]), InputSpec.from_json(value["input"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ModelError, OverflowError) as error:
        raise FileError(f"The description in {path} cannot be read ({error})", fix="Save the weights again") from error


def _place(tensor: Tensor) -> tuple[int, torch.Size]:
    """Where a tensor is in memory, which tells whether two names are those of one."""
    return tensor.data_ptr(), tensor.shape


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
