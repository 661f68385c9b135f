"""Detects attention in an imported network: a product of two tensors that depend on the picture, after a reshape."""

from __future__ import annotations

import torch
from torch import fx, nn

from edgekd.models.onnx_import.arithmetic import Einsum, Fold
from edgekd.models.onnx_import.op import layer_of
from edgekd.models.onnx_import.shape import Reshape

__all__ = ["attention"]

_STARTS_ANEW = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)  # read channels as channels, whatever came before


def attention(network: nn.Module) -> str | None:
    """The name of the first product of two tensors that depend on the picture, after a reshape; None if there is none.

    Only imported networks are searched, not other modules.
    """
    for part in network.modules():
        if isinstance(part, fx.GraphModule):
            for node in part.graph.nodes:
                if len(node.all_input_nodes) > 1 and _is_product(layer_of(part, node)) and _reshaped(part, node):
                    return str(node.target)
    return None


def _is_product(layer: nn.Module | None) -> bool:
    return type(layer) is Einsum or (isinstance(layer, Fold) and layer.function is torch.matmul)


def _reshaped(network: fx.GraphModule, product: fx.Node) -> bool:
    """Whether a reshape lies between a product and the convolutions before it."""
    seen: set[fx.Node] = set()
    waiting = list(product.all_input_nodes)
    while waiting:
        node = waiting.pop()
        layer = layer_of(network, node)
        if isinstance(layer, (Reshape, nn.Flatten)):
            return True
        if node not in seen and not isinstance(layer, _STARTS_ANEW):
            waiting += node.all_input_nodes
        seen.add(node)
    return False
