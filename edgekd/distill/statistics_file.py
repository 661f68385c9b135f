"""Statistics measured on private pictures, as a file that their owner can give away.

For each chosen layer it holds the mean and the variance per channel of the layer's input, over all pictures and all
places: two numbers per channel, 25 to 100 kB in all. With many pictures, no picture and no part of one can be computed
from them; they do tell what the set looks like as a whole (how dark, how cluttered, how far away). With very few
pictures they describe those pictures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from calibration.errors import FileError, ModelError
from calibration.files import write_bytes
from calibration.weights import STATISTICS
from edgekd.distill.statistics import StoredStatistics
from edgekd.models.batch_norm import batch_norm_layers, varies
from edgekd.models.model_file import refuse_other_files
from edgekd.models.running_order import running_order
from edgekd.models.teacher import Teacher
from edgekd.models.weights import tensors_digest

__all__ = ["LEAST_PICTURES", "StatisticsFile", "layers_to_measure"]

LEAST_PICTURES = 8  # with fewer the means would be those of single pictures
_MOST_LAYERS = 8  # of a network that has no BatchNorm
_MAKE = "Create it with edgekd statistics"
_NORMS = (nn.LayerNorm, nn.GroupNorm)
_NUMBERS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def layers_to_measure(teacher: Teacher) -> tuple[str, ...]:
    """Of the layers that run, in that order: all BatchNorm layers, if they are at least half of the normalisation;
    otherwise up to eight LayerNorm or GroupNorm layers (or convolutions) spread over the network."""
    module = teacher.module

    def running(candidates: list[str]) -> list[str]:
        return running_order(module, candidates, teacher.input) if candidates else []

    norms = running(list(batch_norm_layers(module)))
    names = running([name for name, layer in module.named_modules() if isinstance(layer, _NORMS)])
    if norms and len(norms) >= len(names):
        return tuple(norms)
    names = names or running([name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)])
    if not names:
        raise ModelError(
            "The teacher has no normalisation or convolution layer to measure", fix="Distil without the transformation"
        )
    count = min(len(names), _MOST_LAYERS)
    return tuple(names[round(index * (len(names) - 1) / max(1, count - 1))] for index in range(count))


@dataclass(frozen=True)
class StatisticsFile:
    """Means and variances of a teacher's layers, the teacher they belong to, and how many pictures they are of."""

    teacher: str
    digest: str  # of the teacher
    pictures: int
    statistics: StoredStatistics

    def write(self, path: Path) -> None:
        """Write it as safetensors. Raises FileError or DiskFullError."""
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        for index, (mean, variance) in enumerate(self.statistics.layers().values()):
            tensors[f"{index}.mean"], tensors[f"{index}.variance"] = mean.contiguous(), variance.contiguous()
        described = {
            "teacher": self.teacher,
            "digest": self.digest,
            "pictures": self.pictures,
            "layers": list(self.statistics.names),
            "weights": tensors_digest(tensors),
        }
        write_bytes(path, save(tensors, metadata={STATISTICS: json.dumps(described, sort_keys=True)}))

    @classmethod
    def read(cls, path: Path) -> StatisticsFile:
        """Raises FileError when it is missing, damaged or another kind of file, or holds numbers that cannot be."""
        from safetensors import SafetensorError, safe_open

        refuse_other_files(path)
        try:
            with safe_open(path, framework="pt") as stream:
                described = json.loads((stream.metadata() or {})[STATISTICS])
                layers = {
                    str(name): (stream.get_tensor(f"{index}.mean"), stream.get_tensor(f"{index}.variance"))
                    for index, name in enumerate(described["layers"])
                }
                if described["weights"] != tensors_digest({name: stream.get_tensor(name) for name in stream.keys()}):  # noqa: SIM118 - not a mapping
                    raise ValueError("it was altered after it was made")
            if int(described["pictures"]) < LEAST_PICTURES:
                raise ValueError(f"of only {described['pictures']} pictures")
            read = cls(
                str(described["teacher"]), str(described["digest"]), int(described["pictures"]), _checked(layers, path)
            )
        except KeyError as error:
            raise FileError(f"{path} is not a statistics file: it lacks {error}", fix=_MAKE) from error
        except (SafetensorError, OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise FileError(f"{path} is not a valid statistics file ({error})", fix=_MAKE) from error
        return read

    def for_teacher(self, teacher: Teacher) -> StoredStatistics:
        """The statistics, checked to be this teacher's. Raises ModelError naming what does not fit."""
        again = "Measure them on this teacher: edgekd statistics --teacher SPEC --images FOLDER"
        if self.digest != teacher.digest:
            alike = ": different weights, or a different kind of depth" if self.teacher == teacher.name else ""
            raise ModelError(
                f"The statistics are of a different teacher: {self.teacher} ({self.digest[:12]}), not {teacher.name}"
                f" ({teacher.digest[:12]}){alike}",
                fix=again,
            )
        known = dict(teacher.module.named_modules())
        absent = [name for name in self.statistics.names if name not in known]
        if absent:
            raise ModelError(f"The statistics are of layer {absent[0]}, which the teacher does not have", fix=again)
        wanted = layers_to_measure(teacher)
        missing = [name for name in wanted if name not in self.statistics.names]
        if missing:
            raise ModelError(f"The statistics lack the layer {missing[0]} of {teacher.name}", fix=again)
        others = [name for name in self.statistics.names if name not in wanted]
        if others:
            raise ModelError(f"The statistics are of {others[0]}, which is not measured", fix=again)
        for name, size in zip(self.statistics.names, self.statistics.sizes, strict=True):
            width = _channels(known[name])
            if width is not None and width != size:
                raise ModelError(f"The statistics are of {size} channels of {name}, which has {width}", fix=again)
        return self.statistics


def _channels(layer: nn.Module) -> int | None:
    """The channels of a layer's input, if the layer declares them."""
    for name in ("num_features", "num_channels", "in_channels"):
        if isinstance(width := getattr(layer, name, None), int):
            return width
    shape = getattr(layer, "normalized_shape", None)
    return int(shape[-1]) if shape else None


def _checked(layers: dict[str, tuple[Tensor, Tensor]], path: Path) -> StoredStatistics:
    remeasure = "Measure them again"
    for name, (mean, variance) in layers.items():
        if mean.ndim != 1 or mean.shape != variance.shape:
            raise FileError(f"{path}: the statistics of {name} have the wrong shape", fix=remeasure)
        if not {mean.dtype, variance.dtype} <= _NUMBERS:
            raise FileError(f"{path}: the statistics of {name} are {mean.dtype}, not plain numbers", fix=remeasure)
        if not (torch.isfinite(mean).all() and torch.isfinite(variance).all() and (variance >= 0).all()):
            raise FileError(
                f"{path}: the statistics of {name} hold NaN, infinity or a negative variance", fix=remeasure
            )
        if not varies(variance):
            raise FileError(f"{path}: the input of {name} never changed", fix=remeasure)
    if not layers:
        raise FileError(f"{path} holds no statistics", fix=remeasure)
    try:
        return StoredStatistics.of(layers)
    except ModelError as error:
        raise FileError(f"{path}: {error.message}", fix=remeasure) from error
