"""What a container may use of the machine, from the files of cgroup 2 and 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgekd.bench.sysfs import number, text

__all__ = ["core_quota", "memory_limit", "times_throttled"]

_TWO = Path("sys/fs/cgroup")
_ONE = _TWO / "cpu"


def core_quota(root: Path) -> float | None:
    """The CPU time that it may use, in cores; None without a limit."""
    quotas = (quota for _, quota in _quotas(root))
    return next(quotas, None)


def times_throttled(root: Path) -> Iterator[float | None]:
    """How often it used up its quota. Nothing is given without a quota: the count then stays 0, and must not look as
    if throttling had been watched."""
    for folder, _ in _quotas(root):
        for line in (text(folder / "cpu.stat") or "").splitlines():
            name, _, value = line.partition(" ")
            if name == "nr_throttled":
                yield float(value) if value.strip().isdigit() else None


def memory_limit(root: Path) -> float | None:
    """In GiB; None without a limit, for which cgroup 1 writes a huge number."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = number(root / _TWO / name)
        if limit is not None and limit < 2**60:
            return limit / 2**30
    return None


def _quotas(root: Path) -> Iterator[tuple[Path, float]]:
    """The folder of each cgroup that sets a limit, and the cores that it allows."""
    quota, _, period = (text(root / _TWO / "cpu.max") or "max").strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        yield root / _TWO, int(quota) / int(period)
    old_quota, old_period = (number(root / _ONE / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if old_quota and old_period and old_quota > 0:
        yield root / _ONE, old_quota / old_period
