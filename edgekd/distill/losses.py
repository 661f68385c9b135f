"""How far the student is from the teacher."""

from __future__ import annotations

from torch import Tensor

__all__ = ["distillation_loss", "log_depth"]

_NEAREST = 0.1  # metres


def log_depth(depth: Tensor) -> Tensor:
    """Natural logarithm of metres, replaced below 0.1 m by its tangent there.

    A depth of zero or less, which a network that does not predict log depth may give, thus has a finite value and a
    gradient that leads away from it.
    """
    near = depth.clamp_max(_NEAREST)
    return depth.clamp_min(_NEAREST).log() + (near - _NEAREST) / _NEAREST


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of log depth [N, 1, H, W], and of its gradients at three scales, each with weight 1/2.

    In the logarithm an error is a ratio, as in AbsRel and the deltas; the gradients keep edges and flat walls
    (the multi-scale form of Li and Snavely, MegaDepth, CVPR 2018, with the teacher in place of the truth).
    """
    difference = log_depth(student) - log_depth(teacher)
    loss = difference.abs().mean()
    for stride in (1, 2, 4):
        coarse = difference[:, :, ::stride, ::stride]
        for axis in (2, 3):
            if coarse.shape[axis] > 1:
                loss = loss + 0.5 * coarse.diff(dim=axis).abs().mean()
    return loss
