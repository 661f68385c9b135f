"""Networks as exporters to ONNX leave them: BatchNorm folded into the convolutions before it."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgekd.models.stored import layers_as_run
from edgekd.models.teacher import Teacher


def folded(teacher: Teacher) -> Teacher:
    module = copy.deepcopy(teacher.module).eval()
    for layer in layers_as_run(module, torch.zeros(1, 3, teacher.input.height, teacher.input.width)):
        if layer.norm is not None:
            fused = fuse_conv_bn_eval(layer.convolution, layer.norm)
            for parent in list(module.modules()):
                for name, child in list(parent.named_children()):
                    if child is layer.convolution:
                        setattr(parent, name, fused)
                    elif child is layer.norm:
                        setattr(parent, name, nn.Identity())
    name = f"{teacher.name}-folded"
    return replace(teacher, name=name, module=module.requires_grad_(False), digest=name)
