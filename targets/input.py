"""What a network expects as input: its resolution, its normalisation, and how a camera's picture is framed for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from targets.board.framing import seen_box

__all__ = ["Framing", "InputSpec"]


@dataclass(frozen=True)
class Framing:
    """How any picture becomes `height` x `width`: optional resize to a height, centre crop, resize.

    With `crop` None it takes the largest centred rectangle of the network's aspect ratio, so nothing is distorted.
    """

    height: int
    width: int
    resize_height: int | None = None
    crop: tuple[int, int] | None = None  # (height, width) after resize_height

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise ModelError(
                f"A network input of {self.height}x{self.width} has no pixels", fix="Use a positive height and width"
            )
        if self.crop is not None and self.resize_height is None:
            raise ModelError("A framing with a crop needs resize_height", fix="Set both or neither")

    def box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """The rectangle (left, top, right, bottom), in the picture's own pixels, that the network will see."""
        return seen_box((height, width), (self.height, self.width), self.resize_height, self.crop)

    def image(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Frame a picture uint8 [H, W, 3] with an anti-aliased bilinear resize; returns uint8 [height, width, 3]."""
        from PIL import Image

        picture = Image.fromarray(rgb)
        box = self.box(rgb.shape[0], rgb.shape[1])
        return np.asarray(picture.resize((self.width, self.height), Image.Resampling.BILINEAR, box=box))

    def nearest(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Frame ids or depth [H, W] of any type by nearest neighbour; values are never blended."""
        left, top, right, bottom = self.box(plane.shape[0], plane.shape[1])
        rows = np.floor(top + (np.arange(self.height) + 0.5) * (bottom - top) / self.height).astype(np.intp)
        columns = np.floor(left + (np.arange(self.width) + 0.5) * (right - left) / self.width).astype(np.intp)
        rows, columns = rows.clip(0, plane.shape[0] - 1), columns.clip(0, plane.shape[1] - 1)
        framed: NDArray[Any] = plane[rows[:, None], columns[None, :]]
        return framed


@dataclass(frozen=True)
class InputSpec:
    """A network's input: framing and normalisation, (pixel / 255 - mean) / std per RGB channel."""

    framing: Framing
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        usable = all(map(math.isfinite, (*self.mean, *self.std))) and all(deviation > 0 for deviation in self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not usable:
            raise ModelError(
                f"A normalisation of mean {self.mean} and std {self.std} cannot be applied to RGB",
                fix="Use three means and three positive deviations",
            )
        if max(self.mean) > 2:  # too large for pixels from 0 to 1: it is for 0 to 255
            raise ModelError(f"A mean of {self.mean} is not for pixels from 0 to 1", fix="Divide mean and std by 255")

    @property
    def height(self) -> int:
        return self.framing.height

    @property
    def width(self) -> int:
        return self.framing.width

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, fix: str = "Export the model again") -> InputSpec:
        """The inverse of `to_json`; resize_height and crop may be left out.

        Raises ModelError when a field is missing or of the wrong kind: `fix` is what to do then.
        """
        try:
            framing = value["framing"]
            crop, resize_height = framing.get("crop"), framing.get("resize_height")
            return cls(
                framing=Framing(
                    height=int(framing["height"]),
                    width=int(framing["width"]),
                    resize_height=None if resize_height is None else int(resize_height),
                    crop=None if crop is None else (int(crop[0]), int(crop[1])),
                ),
                mean=_triple(value["mean"]),
                std=_triple(value["std"]),
            )
        except KeyError as error:
            raise ModelError(f"An input description lacks {error.args[0]}", fix=fix) from error
        except (AttributeError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise ModelError(f"An input description cannot be read ({error!r})", fix=fix) from error


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
