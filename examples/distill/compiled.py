"""Does torch.compile pay off? Runs a plain step's networks with and without it, alternating.

    python examples/distill/compiled.py [--teacher fastdepth] [--student slim-l] [--batch 16] [--steps 10]

Prints the milliseconds of the teacher's forward pass, of the student's forward and backward passes, and of compiling.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from calibration.script import run_script
from edgekd.distill.allocator import keep_freed_memory
from edgekd.distill.device import autocast, choose_device, describe
from edgekd.models.students import DEFAULT_STUDENT, build_student
from edgekd.models.teachers import load_teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="rooms")
    parser.add_argument("--student", default=DEFAULT_STUDENT)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    device = choose_device(arguments.device)
    teacher = load_teacher(arguments.teacher)
    student = build_student(arguments.student, teacher, 0).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    frozen = teacher.module.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    shape = arguments.batch, 3, teacher.input.height, teacher.input.width
    pictures = torch.randn(shape, device=device).to(memory_format=torch.channels_last)

    def teach(network: Callable[[Tensor], Tensor]) -> None:
        with torch.no_grad(), autocast(device):
            network(pictures)

    def learn(network: Callable[[Tensor], Tensor]) -> None:
        with autocast(device):
            depth = network(pictures)
        depth.float().mean().backward()

    print(
        f"{teacher.name} -> {arguments.student}, batch {arguments.batch}, {describe(device)}, torch {torch.__version__}"
    )
    for name, network, step in (("teacher", frozen, teach), ("student", student, learn)):
        _compare(name, network, step, arguments.steps, device)


def _compare(
    name: str, network: nn.Module, step: Callable[[Callable[[Tensor], Tensor]], None], steps: int, device: torch.device
) -> None:
    compiled = torch.compile(network)
    begun = time.perf_counter()
    step(compiled)
    cost = time.perf_counter() - begun
    seconds: dict[str, list[float]] = {"eager": [], "compiled": []}
    for number in range(steps + 2):
        for kind, run in (("eager", network), ("compiled", compiled)):
            begun = time.perf_counter()
            step(run)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number >= 2:
                seconds[kind].append(time.perf_counter() - begun)
    eager, quick = (statistics.median(values) * 1e3 for values in seconds.values())
    print(
        f"{name:8} as it is {eager:7.1f} ms, compiled {quick:7.1f} ms, ratio {quick / eager:.2f}; "
        f"compiling {cost:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    run_script(main)
