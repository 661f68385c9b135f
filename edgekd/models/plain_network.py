"""A network without what training wraps around it: compilation, statistics over GPUs, weights by other weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from calibration.errors import ModelError

__all__ = ["plain_network"]


def plain_network(module: nn.Module, name: str) -> nn.Module:
    """The network, changed in place, that computes the same in evaluation mode with its weights as plain tensors.

    Of torch.compile's wrapper what it wraps, of a SyncBatchNorm the BatchNorm2d that it is on one device, of
    weight_norm and spectral_norm the weights they give. Raises ModelError naming a layer that is TorchScript: its
    statistics cannot be read, and it can be neither cut nor exported.
    """
    for where, layer in module.named_modules():
        if isinstance(layer, torch.jit.ScriptModule):
            raise ModelError(
                f"{f'The layer {where} of {name}' if where else name} is a TorchScript program",
                fix="Build it from its Python class, or export it to ONNX and give that",
            )
    return _plain(module)


def _plain(layer: nn.Module) -> nn.Module:
    compiled = getattr(layer, "_orig_mod", None)
    if isinstance(compiled, nn.Module):
        return _plain(compiled)
    if isinstance(layer, nn.SyncBatchNorm):
        plain = nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        plain.load_state_dict(layer.state_dict())
        return plain.train(layer.training)
    for name, child in layer.named_children():
        replacement = _plain(child)
        if replacement is not child:
            setattr(layer, name, replacement)
    _store_weights(layer)
    return layer


def _store_weights(layer: nn.Module) -> None:
    if parametrize.is_parametrized(layer):
        for name in list(layer.parametrizations):  # type: ignore[arg-type]
            parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
    for hook in list(layer._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(layer, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(layer, hook.name)
