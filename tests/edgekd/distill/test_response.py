from __future__ import annotations

import torch

from edgekd.distill.response import camera_response


def by_torch(
    y: torch.Tensor, bend: torch.Tensor, twist: torch.Tensor, noise: torch.Tensor | None, level: torch.Tensor
) -> torch.Tensor:
    """The same in PyTorch's own operations, as the formula says."""
    bend, twist = bend[:, :, None, None], twist[:, :, None, None]
    y = y + y * (1 - y) * (bend + twist * (1 - 2 * y))
    y = y if noise is None else y + noise * level[:, None, None]
    passing = 0.9 * y.clamp(0, 1) + 0.1 * y  # a tenth of the gradient passes where it is clipped
    return y.clamp(0, 1).detach() + passing - passing.detach()


def test_values_and_gradients_are_those_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    draw = {"generator": generator, "dtype": torch.float64}
    y = torch.rand(4, 3, 5, 7, **draw) * 1.4 - 0.2  # some are clipped
    bend, twist = torch.randn(4, 3, **draw), torch.randn(4, 3, **draw)
    level, weight = torch.rand(3, **draw), torch.randn(4, 3, 5, 7, **draw)
    for noise in (torch.randn(4, 3, 5, 7, **draw), None):
        gradients = []
        for function in (camera_response, by_torch):
            given = [x.clone().requires_grad_() for x in (y, bend, twist, level)]
            response = function(*given[:3], noise, given[3])
            (response * weight).sum().backward()
            gradients.append([response.detach(), *(x.grad for x in given[: 4 if noise is not None else 3])])
        assert gradients[0][0].min() == 0 and gradients[0][0].max() == 1
        for mine, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, expected)
