"""Checks that a network can serve as a teacher."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from calibration.errors import ModelError
from calibration.reasons import first_line, out_of_memory
from edgekd.models.batch_norm import batch_norm_layers, mostly_otherwise, stores_statistics, why_no_batch_norm
from edgekd.models.pictures import NormalisePictures, probe_pictures
from edgekd.models.teacher import Teacher

__all__ = ["check_teacher", "require_finite_weights"]

_SAY = "Metres are expected: append @inverse or @relative to its name, or pass a factory that converts it to metres"


def require_finite_weights(name: str, network: nn.Module) -> None:
    """Raise ModelError naming the first weights that are not finite."""
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"The weights {key} of {name} hold NaN or infinity", fix="Save or copy the model again")


@torch.no_grad()
def check_teacher(teacher: Teacher) -> tuple[str, ...]:
    """Run the teacher on two pictures and check its weights; returns remarks that do not prevent its use.

    Raises ModelError when weights or depth are not finite, when it does not accept RGB at its stated resolution, when
    its output is not one depth map per picture, when its depth is mostly negative, when its depth does not depend on
    the picture, or when a copy of it computes another depth.
    """
    name, network = teacher.name, teacher.module
    require_finite_weights(name, network)
    height, width = teacher.input.height, teacher.input.width
    pictures = NormalisePictures(teacher.input)(torch.from_numpy(probe_pictures(height, width, 2)))
    try:
        depth = network(pictures)
    except Exception as error:
        if out_of_memory(error):
            raise
        more = isinstance(error, TypeError) and "required positional argument" in str(error)
        raise ModelError(
            f"The teacher {name} does not accept pictures [N, 3, {height}, {width}] ({first_line(error)[:200]})",
            fix="Wrap it in a module whose forward takes only pictures and supplies the rest"
            if more
            else "Check its input: three channels, and the resolution it was made for",
        ) from error
    if not isinstance(depth, Tensor) or depth.shape != (len(pictures), 1, height, width):
        got = list(depth.shape) if isinstance(depth, Tensor) else type(depth).__name__
        raise ModelError(
            f"The teacher {name} outputs {got}, but depth [{len(pictures)}, 1, {height}, {width}] is needed",
            fix="Use a model with one depth map as its output",
        )
    if not torch.isfinite(depth).all():
        raise ModelError(f"The teacher {name} outputs NaN or infinite depth", fix="Save or copy the model again")
    if float(depth.max() - depth.min()) <= 1e-6 * float(depth.abs().max()) or torch.equal(depth[0], depth[1]):
        raise ModelError(f"The depth from {name} does not depend on the picture", fix="Load trained weights")
    if bool((depth.amax((1, 2, 3)) - depth.amin((1, 2, 3)) <= 1e-6 * depth.abs().amax((1, 2, 3))).all()):
        raise ModelError(
            f"{name} outputs a single depth for the whole picture", fix="Use a model that predicts depth per pixel"
        )
    negative = float((depth < 0).float().mean())
    if negative > 0.5:
        raise ModelError(
            f"The teacher {name} outputs negative depth for {negative:.0%} of the pixels",
            fix="Use a model that outputs metres, not log depth or inverse depth",
        )
    if not _copies_alike(network, pictures.flip(0)):
        raise ModelError(
            f"A copy of {name} does not compute the same depth: one of its forward hooks writes into the original",
            fix="Keep the features in forward, or let the hook be a method of the network, as in "
            "layer.register_forward_hook(self.keep), not a function made in __init__",
        )
    remarks = _remarks(teacher, depth, negative)
    apart = float((network(pictures) - depth).abs().mean() / depth.abs().mean())
    if apart > 1e-4:
        remarks.append(
            f"{name} is not deterministic: depth of the same picture varies by {apart:.1%} on average. Perhaps dropout "
            "is always on and needs F.dropout(x, p, training=self.training)"
        )
    return tuple(remarks)


def _copies_alike(network: nn.Module, pictures: Tensor) -> bool:
    """Whether a copy of the network, which statistics and students are made with, computes the same on `pictures`.

    Copying a function does not copy what it refers to: through a hook with a closure, the copy's features go to the
    original, and the copy reads those that it was copied with.
    """
    if not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules()):
        return True
    try:
        copied = copy.deepcopy(network)
    except Exception as error:  # left to those who need a copy
        if out_of_memory(error):
            raise
        return True
    found = []
    with torch.random.fork_rng(devices=[]):
        for one in (network, copied):
            torch.manual_seed(0)  # for dropout that is always on
            found.append(one(pictures))
    wanted, given = found
    return wanted.shape == given.shape and bool((wanted - given).abs().max() <= 1e-3 * wanted.abs().max())


def _remarks(teacher: Teacher, depth: Tensor, negative: float) -> list[str]:
    remarks = []
    if not batch_norm_layers(teacher.module):
        remarks.append(f"{teacher.name} stores no statistics: {why_no_batch_norm(teacher.module)}")
    elif stores_statistics(teacher.module) and (mostly := mostly_otherwise(teacher.module)):
        remarks.append(
            f"{teacher.name} normalises mostly with {mostly}, which keeps no statistics, and few of its layers with "
            "BatchNorm: pictures are fitted to those few, unless you pass a file from edgekd statistics"
        )
    if negative:
        remarks.append(f"{teacher.name} output negative depth for {negative:.1%} of the pixels of two test pictures")
    middle = float(depth.median())
    if not teacher.metric:
        return remarks
    if not 0.1 <= middle <= 100:
        unit = "millimetres or inverse depth" if middle > 100 else "inverse depth or another unit"
        remarks.append(f"{teacher.name} output a median depth of {middle:.3g}: perhaps {unit}. {_SAY}")
    elif not negative and float(depth.max()) <= 1:
        remarks.append(
            f"{teacher.name} output depth between {float(depth.min()):.3g} and {float(depth.max()):.3g}: perhaps "
            f"a sigmoid's disparity or a fraction of the range. {_SAY}"
        )
    return remarks
