"""The transformation network: makes simulated pictures look, to the teacher's statistics, like its own.

It is small on purpose. A camera's colours, tone, sharpness and noise are a few numbers each; only slow local changes
(light, haze, vignetting) are left to convolutions, at a quarter of the resolution. So it costs a few per cent of a step
and cannot paint structure that the simulated scene does not have.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.distill.response import camera_response

__all__ = ["TransformNet"]

_CONDITIONS = 6  # mean and deviation of each channel
_GLOBALS = 9 + 3 + 3 + 3  # colour matrix, offset, two tone coefficients per channel
_LOCAL_LIMIT = 0.15  # of the value range: the most that the local part may add or take away
_POOL = 4
_CHANNELS = 12  # of the local part
_HIDDEN = 24  # values between the conditions and what they correct


class TransformNet(nn.Module):
    """RGB [N, 3, H, W] in [0, 1] to RGB of the same shape and range. Starts as the identity."""

    def __init__(self) -> None:
        super().__init__()
        # One full-resolution convolution holds sharpness, blur and the mixing of colours.
        self.lens = nn.Conv2d(3, 3, 3, padding=1, padding_mode="replicate", bias=False)
        nn.init.dirac_(self.lens.weight)
        residual = nn.Conv2d(_CHANNELS, 3, 1)
        self.local = nn.Sequential(
            nn.Conv2d(3, _CHANNELS, 3, padding=1, padding_mode="replicate"),
            nn.LeakyReLU(0.1),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, padding_mode="replicate"),
            nn.LeakyReLU(0.1),
            residual,
        )
        self.globals = nn.Parameter(torch.zeros(_GLOBALS))
        correction = nn.Linear(_HIDDEN, _GLOBALS)
        self.condition = nn.Sequential(nn.Linear(_CONDITIONS, _HIDDEN), nn.Hardtanh(), correction)
        self.noise = nn.Parameter(torch.full((3,), -5.0))  # ln of the deviation
        for last in (*correction.parameters(), *residual.parameters()):
            nn.init.zeros_(last)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The transformed picture and its mean squared local change, which a loss may keep small.

        `noise`, normally distributed and of the picture's shape, becomes sensor noise; None leaves it out.
        """
        pooled = F.avg_pool2d(x, _POOL, ceil_mode=True)
        local = torch.tanh(self.local(pooled)) * _LOCAL_LIMIT
        # In channels_last memory this convolution is twice as fast and its gradient four times; the rest is not faster.
        y = self.lens(x.contiguous(memory_format=torch.channels_last)).contiguous()
        y = y + F.interpolate(local, size=x.shape[-2:], mode="bilinear", align_corners=False)

        conditions = torch.cat([pooled.mean((2, 3)) - 0.5, pooled.flatten(2).std(2) - 0.2], dim=1)
        matrix, offset, bend, twist = (self.globals + self.condition(conditions)).split([9, 3, 3, 3], dim=1)
        colour = matrix.view(-1, 3, 3) + torch.eye(3, device=x.device, dtype=x.dtype)
        y = torch.baddbmm(offset.unsqueeze(2), colour, y.flatten(2)).view_as(x)
        y = camera_response(y, bend, twist, noise, self.noise.clamp(-7, -2).exp())
        return y, local.square().mean()
