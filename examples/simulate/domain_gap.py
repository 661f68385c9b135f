"""Are the two looks two domains? Trains a small depth network on each look and tests it on both.

    python examples/simulate/domain_gap.py

Takes three minutes on one core. Prints delta1, raw and median-scaled, on 100 pictures of each look.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.simulate.looks import LOOKS
from edgekd.simulate.rooms import RoomSettings, render

TRAINING, TEST, STEPS, BATCH = 400, 100, 500, 16
CHANNELS = (24, 48, 96, 128)


def _block(into: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU())


class SmallNet(nn.Module):
    """A U-Net of four levels that gives the logarithm of depth."""

    def __init__(self) -> None:
        super().__init__()
        pairs = zip((3, *CHANNELS[:-1]), CHANNELS, strict=True)
        self.down = nn.ModuleList(nn.Sequential(_block(into, out, 2), _block(out, out)) for into, out in pairs)
        self.up = nn.ModuleList(_block(CHANNELS[k + 1] + CHANNELS[k], CHANNELS[k]) for k in (2, 1, 0))
        self.head = nn.Conv2d(CHANNELS[0], 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = []
        for layer in self.down:
            x = layer(x)
            seen.append(x)
        for layer, skip in zip(self.up, seen[2::-1], strict=True):
            x = layer(torch.cat([F.interpolate(x, skip.shape[2:]), skip], dim=1))
        return F.interpolate(self.head(x), scale_factor=2, mode="bilinear")


def pictures(look: str) -> tuple[Tensor, Tensor]:
    settings = RoomSettings(120, 160, look)
    images = [render(settings, 50, index) for index in range(TRAINING + TEST)]
    rgb = torch.from_numpy(np.stack([image.rgb for image in images])).permute(0, 3, 1, 2).float() / 255
    depth = torch.from_numpy(np.stack([image.depth for image in images]))[:, None]
    return F.interpolate(rgb, (60, 80), mode="area"), F.interpolate(depth, (60, 80))


def trained(rgb: Tensor, depth: Tensor) -> SmallNet:
    torch.manual_seed(0)
    net = SmallNet().train()
    optimiser = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, STEPS)
    for step in range(STEPS):
        chosen = torch.randint(0, TRAINING, (BATCH,))
        x, target = rgb[chosen], depth[chosen].log()
        if step % 2:
            x, target = x.flip(3), target.flip(3)
        loss = (net(x) - target).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def delta1(net: SmallNet, rgb: Tensor, depth: Tensor) -> tuple[float, float]:
    predicted, truth = net(rgb[TRAINING:]).exp(), depth[TRAINING:]
    scale = truth.flatten(1).median(1).values / predicted.flatten(1).median(1).values
    return tuple(  # type: ignore[return-value]
        float((torch.maximum(p / truth, truth / p) < 1.25).float().mean())
        for p in (predicted, predicted * scale[:, None, None, None])
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    data = {look: pictures(look) for look in LOOKS}
    for look, (rgb, depth) in data.items():
        net = trained(rgb, depth)
        for other in data:
            raw, scaled = delta1(net, *data[other])
            print(f"trained on {look}, tested on {other}: delta1 {raw:.3f} raw, {scaled:.3f} median-scaled")


if __name__ == "__main__":
    main()
