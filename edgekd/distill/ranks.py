"""Several processes that distil one student together, as torchrun starts them.

    torchrun --nproc-per-node 2 --no-python edgekd distill --batch 32

Each process takes its part of every batch. Statistics, BatchNorm and gradients are those of the whole batch, so the
student is the same as from a single process, up to the order of summation. Only the first process writes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed
from torch import Tensor

from calibration.errors import EdgekdError, UsageError
from calibration.reasons import first_line, out_of_memory
from edgekd.distill.device import choose_device
from edgekd.distill.moments import Moments

__all__ = ["ALONE", "Ranks", "joined", "leads", "sum_over_processes"]

_PATIENCE = timedelta(minutes=30)  # the others may wait this long while the first process renders


@dataclass(frozen=True)
class Ranks:
    """This process among those that distil together; by default it is alone."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def part(self, batch: Tensor) -> Tensor:
        """This process's share of a batch [N, ...]."""
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes; no gradient passes."""
        tensor = tensor.detach().clone()
        if self.count > 1:
            sum_over_processes(tensor)
            tensor /= self.count
        return tensor

    def means(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean of each value over all processes, which have the same names in the same order."""
        means = self.mean(torch.tensor(list(values.values()), dtype=torch.float64)).tolist()
        return dict(zip(values, means, strict=True))

    def moments(self, mine: Moments) -> Moments:
        """The moments of the whole batch, with the gradient of this process's part.

        Averaged over the processes (`average_gradients`) it is the gradient of the whole batch's moments.
        """
        if self.count == 1:
            return mine
        mean, square = self.mean(torch.stack([mine.mean, mine.variance + mine.mean.square()]))
        part = mine.variance + mine.mean.square() - 2 * mean * mine.mean
        return Moments(
            mean + (mine.mean - mine.mean.detach()),
            (square - mean.square()).clamp_min(0) + (part - part.detach()),
        )

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        sum_over_processes(flat)
        flat /= self.count
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor, in place, by the first process's."""
        for tensor in tensors if self.count > 1 else ():
            if not self.first:
                tensor.zero_()
            sum_over_processes(tensor)

    def any(self, *here: bool) -> tuple[bool, ...]:
        """For each question, whether any process answers yes."""
        if self.count == 1:
            return here
        answers = torch.tensor([float(answer) for answer in here])
        sum_over_processes(answers)
        return tuple(bool(answer) for answer in answers.tolist())

    def wait(self) -> None:
        """Wait until all processes have reached this call."""
        self.any(False)

    def require_parts(self, batch: int, accumulate: int = 1) -> None:
        """Raise UsageError when a batch cannot be shared evenly, or leaves too little for statistics."""
        parts = self.count * accumulate
        if batch % parts or batch // parts < 2:
            raise UsageError(
                f"A batch of {batch} cannot be split evenly (processes: {self.count}, parts in each: {accumulate})",
                fix=f"Set --batch to a multiple of {parts}, at least {2 * parts}",
            )


def sum_over_processes(tensor: Tensor) -> None:
    """Replace a tensor by its sum over all processes. Raises EdgekdError when another process has ended."""
    shared = tensor if torch.distributed.get_backend() == "gloo" else tensor.cuda()  # NCCL takes nothing else
    try:
        torch.distributed.all_reduce(shared)
        tensor.copy_(shared)
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise EdgekdError(
            f"Another of the {torch.distributed.get_world_size()} processes ended, or did not respond for"
            f" {_PATIENCE.seconds // 60} minutes ({first_line(error)[:120]})",
            fix="Run the same torchrun command again: it resumes from the last checkpoint, if one was saved",
        ) from error


ALONE = Ranks()


def leads() -> bool:
    """Whether this process is the one that writes and prints: the only one, or the first that torchrun started."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """This process's rank and device: alone, or as torchrun sets RANK, WORLD_SIZE and LOCAL_RANK."""
    count = _number("WORLD_SIZE")
    if count == 1:
        yield ALONE, choose_device(device)
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UsageError(f"WORLD_SIZE is {count}, but {missing[0]} is not set", fix="Start it with torchrun")
    rank = os.environ["RANK"]
    if not rank.isdecimal() or int(rank) >= count:  # torch would wait for the others until it times out
        raise UsageError(f"RANK is {rank!r} among {count} processes", fix="Start it with torchrun")
    chosen = choose_device(device)
    if chosen.type == "cuda":
        if ":" not in device:
            chosen = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        elif _number("LOCAL_WORLD_SIZE") > 1:  # NCCL refuses this, without a clear message
            raise UsageError(
                f"Several processes cannot share {device}", fix="Use --device cuda: each process takes its own"
            )
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    try:
        torch.distributed.init_process_group(backend, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UsageError(
            f"The {count} processes cannot reach each other at {where} ({error})",
            fix="Start them with torchrun, with an address and a free port that all can reach",
        ) from error
    try:
        yield Ranks(torch.distributed.get_rank(), count), chosen
    finally:
        torch.distributed.destroy_process_group()


def _number(name: str) -> int:
    text = os.environ.get(name, "1")
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{name} is {text!r} in the environment", fix=f"Unset {name}, or start with torchrun")
    return int(text)
