"""A teacher as exporters to ONNX leave it: with BatchNorm folded into the convolutions before it."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgekd.models.stored import layers_as_run
from edgekd.models.teacher import Teacher
from edgekd.models.weights import tensors_digest

__all__ = ["folded"]


def folded(teacher: Teacher) -> Teacher:
    """The same network; what it stored of its pictures is lost."""
    module = copy.deepcopy(teacher.module).eval()
    put: dict[nn.Module, nn.Module] = {}
    for layer in layers_as_run(module, torch.zeros(1, 3, teacher.input.height, teacher.input.width)):
        if layer.norm is not None:
            put[layer.convolution] = fuse_conv_bn_eval(layer.convolution, layer.norm)
            put[layer.norm] = nn.Identity()
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if child in put:
                setattr(parent, name, put[child])
    digest = tensors_digest(dict(module.state_dict()))
    return replace(teacher, name=f"{teacher.name}-folded", module=module.requires_grad_(False), digest=digest)
