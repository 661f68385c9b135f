"""The settings of a distillation of a few steps, and what interrupts one."""

from __future__ import annotations

from edgekd.distill.settings import DistillSettings, TransformSettings

SETTINGS = DistillSettings(steps=6, batch=2, set_aside=8, preview_every=4, transform=TransformSettings(warm_up=2))


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
