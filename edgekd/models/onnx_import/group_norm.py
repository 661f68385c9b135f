"""GroupNorm, which exporters before opset 21 write as an instance norm between two reshapes."""

from __future__ import annotations

import torch
from torch import fx, nn

from edgekd.models.onnx_import.op import Op, layer_of
from edgekd.models.onnx_import.shape import Reshape

__all__ = ["SHAPE", "fuse_group_norms", "group_norm"]

SHAPE = "shape"
"""Key in an fx node's `meta` for the shape of its result, for a batch of one."""


def group_norm(op: Op) -> nn.Module:
    """ONNX's own GroupNormalization, of opset 21; models with that of opset 18 are not valid any more."""
    channels, groups = op.data.shape[1], int(op.attributes["num_groups"])
    layer = nn.GroupNorm(groups, channels, eps=float(op.attributes.get("epsilon", 1e-5)))
    with torch.no_grad():
        layer.weight.copy_(op.weights(1))
        layer.bias.copy_(op.weights(2))
    return layer


def fuse_group_norms(network: fx.GraphModule) -> None:
    """Replace each reshape to groups, instance norm and reshape back by a GroupNorm, in place. Layers that were split
    would write down the number of channels, and no student could be cut from the network."""
    for node in list(network.graph.nodes):
        norm = layer_of(network, node)
        if not isinstance(norm, nn.InstanceNorm1d) or not _neutral(norm) or len(node.users) != 1:
            continue
        to_groups, back = node.args[0], next(iter(node.users))
        if (
            not all(isinstance(layer_of(network, one), Reshape) for one in (to_groups, back))
            or len(to_groups.users) != 1
        ):
            continue
        source = to_groups.args[0]
        shape = source.meta.get(SHAPE)
        if shape is None or len(shape) != 4 or shape != back.meta[SHAPE]:
            continue
        setattr(network, str(node.target), nn.GroupNorm(norm.num_features, shape[1], norm.eps, affine=False))
        node.args = (source,)
        node.meta[SHAPE] = shape
        back.replace_all_uses_with(node)
        for one in (back, to_groups):
            network.graph.erase_node(one)
    network.delete_all_unused_submodules()
    network.recompile()


def _neutral(norm: nn.InstanceNorm1d) -> bool:
    return bool((norm.weight == 1).all() and (norm.bias == 0).all())
