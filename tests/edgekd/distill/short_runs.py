"""Runs of a few steps, and what they logged and learnt."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from calibration.progress import Quiet
from edgekd.distill.loop import Distilled, distill
from edgekd.distill.settings import DistillSettings, TransformSettings
from edgekd.models.teacher import Teacher

CPU = torch.device("cpu")
SETTINGS = DistillSettings(
    steps=12, batch=4, set_aside=8, preview_every=8, transform=TransformSettings(warm_up=3), learning_rate=1e-2
)


def run(teacher: Teacher, student, boxes, folder: Path, settings=SETTINGS, progress=None) -> Distilled:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(5)
    return distill(teacher, student(), boxes, settings, folder, progress or Quiet(), device=CPU, student_name="small")


def weights(result: Distilled) -> torch.Tensor:
    parts = [result.student] if result.transform is None else [result.student, result.transform]
    return torch.cat([v.flatten().double() for part in parts for v in part.state_dict().values()])


def steps_logged(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
