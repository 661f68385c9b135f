"""Repeating the measurements of a bench result, and comparing them within stated tolerances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from calibration.errors import DataError
from edgekd.bench.bench import BenchSettings
from edgekd.bench.machine import Machine
from edgekd.bench.result import BenchResult, BenchRow
from edgekd.plain import read_plain

__all__ = ["Comparison", "Tolerances", "compare", "settings_of"]

Outcome = Literal["same", "differs", "not compared"]


@dataclass(frozen=True)
class Tolerances:
    """How far figures may differ: latency and throughput as a share, accuracy as a share of AbsRel and in δ1 itself."""

    stable: float = 0.03  # where both have grade A
    noisy: float = 0.15  # where either has grade B; C is not compared
    accuracy: float = 0.002  # on the same kind of processor: arithmetic differs between kinds
    accuracy_elsewhere: float = 0.02


@dataclass(frozen=True)
class Comparison:
    """One figure, then and now. `allowed` is the tolerance, `why` says what was not compared or what differs."""

    artefact: str
    figure: str
    before: float | None
    after: float | None
    allowed: float | None
    outcome: Outcome
    why: str = ""


def settings_of(result: BenchResult) -> BenchSettings:
    """The settings of a bench, for measuring again. Raises DataError for invalid ones."""
    usual = asdict(BenchSettings())
    try:
        return read_plain(BenchSettings, {name: result.settings.get(name, value) for name, value in usual.items()})
    except (TypeError, ValueError) as error:
        raise DataError(
            f"The settings of a bench cannot be read ({error})", fix="Pass the file as bench wrote it"
        ) from error


def compare(before: BenchResult, after: BenchResult, tolerances: Tolerances) -> tuple[Comparison, ...]:
    """Every figure of every artefact that was measured before, in its order."""
    other = _other_machine(before.machine, after.machine)
    now = {row.name: row for row in after.rows}
    found: list[Comparison] = []
    for row in before.rows:
        if row.latency is None:
            continue
        again = now.get(row.name)
        if again is None or again.latency is None:
            why = "it was not built" if again is None else again.reason or "it was not measured"
            found.append(Comparison(row.name, "all", None, None, None, "differs", why))
            continue
        if again.model != row.model:
            why = f"different artefact: {row.model[:12]} then, {again.model[:12]} now"
            found.append(Comparison(row.name, "model", None, None, None, "differs", why))
            continue
        found += _speed(row, again, other, tolerances)
        found += _accuracy(row, again, tolerances.accuracy_elsewhere if other else tolerances.accuracy)
    return tuple(found)


def _other_machine(before: Machine, after: Machine) -> str | None:
    """How the machine differs, in words; None where latencies can be compared."""
    parts: dict[str, Callable[[Machine], object]] = {
        "device": lambda machine: machine.device,
        "CPU": lambda machine: machine.cpu,
        "usable cores": lambda machine: machine.usable_cores,
        "power mode": lambda machine: machine.power_mode,
    }
    changed = [
        f"{name} {get(before)} then, {get(after)} now" for name, get in parts.items() if get(before) != get(after)
    ]
    return "different machine: " + "; ".join(changed) if changed else None


def _speed(row: BenchRow, again: BenchRow, other: str | None, tolerances: Tolerances) -> Iterator[Comparison]:
    if row.latency is not None and again.latency is not None:
        graded = (row.latency.infer.grade.letter, again.latency.infer.grade.letter)
        yield _timed(row.name, "p50 ms", row.latency.p50, again.latency.p50, graded, other, tolerances)
    if row.throughput is not None and again.throughput is not None:
        rates = (row.throughput.pictures_per_second, again.throughput.pictures_per_second)
        graded = (row.throughput.measured.grade.letter, again.throughput.measured.grade.letter)
        yield _timed(row.name, "pictures/s", *rates, graded, other, tolerances)


def _timed(
    name: str,
    figure: str,
    before: float,
    after: float,
    graded: tuple[str, str],
    other: str | None,
    tolerances: Tolerances,
) -> Comparison:
    if other is not None:
        return Comparison(name, figure, before, after, None, "not compared", other)
    if "C" in graded:
        why = f"graded {graded[0]} then and {graded[1]} now: disturbed"
        return Comparison(name, figure, before, after, None, "not compared", why)
    allowed = tolerances.stable if graded == ("A", "A") else tolerances.noisy
    return _within(name, figure, before, after, allowed, abs(after / before - 1))


def _accuracy(row: BenchRow, again: BenchRow, allowed: float) -> Iterator[Comparison]:
    scored, rescored = row.evaluation, again.evaluation
    if scored is None:
        return
    if rescored is None:
        yield Comparison(row.name, "accuracy", None, None, None, "not compared", "it was not scored: pass --data")
        return
    if (scored.protocol, scored.digest) != (rescored.protocol, rescored.digest):
        yield Comparison(row.name, "accuracy", None, None, None, "differs", "different data or protocol")
        return
    before, after = scored.means["raw"]["absrel"], rescored.means["raw"]["absrel"]
    yield _within(row.name, "AbsRel", before, after, allowed, abs(after - before) / max(before, 1e-9))
    before, after = scored.means["raw"]["delta1"], rescored.means["raw"]["delta1"]
    yield _within(row.name, "δ1", before, after, allowed, abs(after - before))


def _within(name: str, figure: str, before: float, after: float, allowed: float, difference: float) -> Comparison:
    outcome: Outcome = "same" if difference <= allowed else "differs"
    why = "" if outcome == "same" else f"by {difference:.1%}"
    return Comparison(name, figure, before, after, allowed, outcome, why)
