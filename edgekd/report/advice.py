"""What the figures show, in words. A rule applies only where its figures exist, and states them.

To add a rule, write a function of a group of entries (one run on one machine under one setting) and add it to `_RULES`,
which leave out latencies of grade C, or to `_RULES_OF_ALL`.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeGuard

from calibration.wording import counted
from edgekd.bench.latency import Latency, Measured
from edgekd.report.gather import Entry, Story
from edgekd.report.pareto import front

__all__ = ["Advice", "advise"]

_INT8_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
_CPU_TARGETS = ("onnxruntime", "openvino")
_LITTLE = 0.02  # of the best AbsRel: an artefact shown to be worse by more is not chosen for its speed
_FASTER = 1.08  # ratios nearer to one are reported as no difference


@dataclass(frozen=True)
class Advice:
    """One remark. `kind` is what a reader does about it: choose by it, fix it, or know it."""

    kind: Literal["choice", "fix", "know"]
    text: str


def advise(story: Story) -> list[Advice]:
    """What to choose, then what to fix, then what to know; each remark once, with its run and setting where there are
    several."""
    cautions = (reported.run.caution for reported in story.runs)
    found = {caution: Advice("know", f"{caution}.") for caution in cautions if caution is not None}
    groups = _groups(story.entries)
    for group in groups:
        about = _about(group[0], [other[0] for other in groups])
        calm = [entry for entry in group if _latency(entry).infer.grade.letter != "C"]
        advices = [*(rule(calm) for rule in _RULES), *(rule(group) for rule in _RULES_OF_ALL)]
        for advice in itertools.chain.from_iterable(advices):
            found.setdefault(about + advice.text, replace(advice, text=about + advice.text))
    order = ("choice", "fix", "know")
    return sorted(found.values(), key=lambda advice: order.index(advice.kind))


def _groups(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries of one run on one machine under one setting: figures that may be compared."""
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        if entry.measured:
            groups.setdefault((entry.run, entry.device, entry.setting), []).append(entry)
    return list(groups.values())


def _about(entry: Entry, others: Sequence[Entry]) -> str:
    """The run, machine and setting of an entry, as far as they distinguish it from the others."""
    parts = [entry.run] if len({other.run for other in others}) > 1 else []
    if len({other.device for other in others}) > 1:
        parts.append(entry.device)
    if len({other.setting for other in others}) > 1:
        parts.append(entry.setting)
    return f"{', '.join(parts)}: " if parts else ""


def _latency(entry: Entry) -> Latency:
    assert entry.row.latency is not None  # `_groups` leaves out what was not measured
    return entry.row.latency


def _calm(measured: Measured | None) -> TypeGuard[Measured]:
    """Whether conclusions may be drawn from a measurement."""
    return measured is not None and measured.grade.letter != "C" and measured.timing.mean > 0


def _choice(group: Sequence[Entry]) -> Iterator[Advice]:
    """The fastest of those not shown, frame by frame, to be noticeably less accurate than the best."""
    scored = [(entry, entry.scores[0]) for entry in group if entry.scores]
    protocols = {(score.protocol, score.digest) for _, score in scored}
    if len(scored) < 2 or len(protocols) != 1:
        return
    best = min(scored, key=lambda pair: pair[1].means["raw"]["absrel"])
    least = best[1].means["raw"]["absrel"]
    good = [
        (entry, score, ends)
        for entry, score in scored
        if (ends := score.difference(best[1], "absrel")) is not None and ends[0] <= _LITTLE * least
    ]
    if not good:
        return  # one frame tells nothing
    fastest, score, (low, high) = min(good, key=lambda found: _latency(found[0]).p50)
    beaten = len(scored) - len(front([(_latency(e).p50, s.means["raw"]["absrel"]) for e, s in scored]))
    if fastest is best[0]:
        than = "and none is more accurate"
    else:
        apart = f"{low:+.3f} to {high:+.3f} (95 % interval)" if max(-low, high) >= 0.0005 else "less than 0.0005"
        than = f"{apart} from the most accurate, {best[0].row.name} with {least:.3f}"
    yield Advice(
        "choice",
        f"On {fastest.device} use {fastest.row.name}: {_latency(fastest).p50 / _latency(fastest).batch:.2f} ms per "
        f"picture at AbsRel {score.means['raw']['absrel']:.3f} over {score.images} images ({score.protocol}), {than}."
        + (f" For {beaten} of {len(scored)} artefacts another is at least as fast and as accurate." if beaten else ""),
    )


def _int8(group: Sequence[Entry]) -> Iterator[Advice]:
    for target in dict.fromkeys(entry.row.target for entry in group):
        by = {entry.row.precision: entry for entry in group if entry.row.target == target}
        wider = by.get("fp16") or by.get("fp32")
        if "int8" not in by or wider is None:
            continue
        int8 = by["int8"]
        ratio = _latency(wider).p50 / _latency(int8).p50
        if ratio >= _FASTER:
            yield Advice("know", f"{int8.row.name} is {ratio:.2f} times as fast as {wider.row.precision}.")
            continue
        word = "not faster" if ratio > 1 / _FASTER else f"slower ({1 / ratio:.2f} times)"
        reasons = "; ".join(_why_int8_is_slow(int8, group)) or "the measurements do not show why"
        yield Advice(
            "know",
            f"INT8 is {word} than {wider.row.precision} in {target} here ({_latency(int8).p50:.2f} and "
            f"{_latency(wider).p50:.2f} ms): {reasons}. It is {wider.row.size / int8.row.size:.1f} times smaller.",
        )


def _why_int8_is_slow(int8: Entry, group: Sequence[Entry]) -> Iterator[str]:
    others = [
        (entry.row.target, _latency(int8).p50 / _latency(entry).p50)
        for entry in group
        if entry.row.precision == "int8" and entry.row.target != int8.row.target and entry.row.target in _CPU_TARGETS
    ]
    on_cpu = int8.row.target in _CPU_TARGETS
    faster = [(target, ratio) for target, ratio in others if on_cpu and ratio >= 1.2]
    if on_cpu and not faster and not set(_INT8_FLAGS) & set(int8.machine.flags):
        yield "the processor has no 8-bit dot product (VNNI, dotprod, i8mm), so int8 is computed in wider types"
    kept = int8.row.built.get("float_layers") or int8.row.built.get("float layers")
    if kept and kept not in ("none", "0"):
        count = len([name for name in kept.replace(";", ",").split(",") if name.strip()])
        yield f"{counted(count, 'layer')} stayed in float to preserve the depth, and each boundary costs a conversion"
    for target, ratio in faster:
        yield (
            f"{target} runs the same network in int8 {ratio:.1f} times as fast on this machine, so the cause is "
            f"{int8.row.target}'s kernels, not the processor"
        )
    if int8.row.target.startswith("tensorrt"):
        yield "small networks leave the GPU waiting for memory and kernel launches, which int8 does not shorten"


def _tail(group: Sequence[Entry]) -> Iterator[Advice]:
    for entry in group:
        timing, conditions = _latency(entry).infer.timing, _latency(entry).infer.conditions
        ratio = timing.p99 / timing.p50
        if ratio < 2:
            continue
        if conditions.others is not None and conditions.others > 0.25:
            why = f"the machine was busy: other processes used {conditions.others:.1f} cores"
        elif conditions.stolen is not None and conditions.stolen > 0.05:
            why = f"the host took {conditions.stolen:.2f} cores away"
        elif conditions.throttled or conditions.held_back:
            why = "the clocks were throttled"
        elif timing.cores > entry.machine.usable_cores - 0.5:
            why = "inference needs all cores, so anything else running delays it; try fewer threads"
        else:
            why = "the cause was not observed"
        yield Advice("fix", f"p99 of {entry.row.name} is {ratio:.1f} times p50 on {entry.device}: {why}.")


def _bottleneck(group: Sequence[Entry]) -> Iterator[Advice]:
    for entry in group:
        latency = _latency(entry)
        infer = latency.infer.timing.p50
        if _calm(latency.resident) and infer > 0:
            copies = 1 - latency.resident.timing.p50 / infer
            if copies > 0.3:
                begin = "The student is no longer the bottleneck; copying is: " if copies > 0.5 else ""
                yield Advice(
                    "fix",
                    f"{begin}{copies:.0%} of {entry.row.name}'s {infer:.2f} ms go into copying the picture in and the "
                    "depth out.",
                )
        if _calm(latency.framed) and latency.batch == 1:
            framing = latency.framed.timing.p50 - infer
            if framing > 0.3 * infer:
                yield Advice(
                    "fix",
                    f"Framing a {latency.camera} picture costs {framing:.2f} ms, {framing / infer:.0%} of what "
                    f"{entry.row.name} takes: let the camera deliver smaller pictures.",
                )


def _first_picture(group: Sequence[Entry]) -> Iterator[Advice]:
    for entry in group:
        cold = entry.row.cold
        if cold is not None and cold.grade.letter != "C" and cold.load + cold.first > 2000:
            yield Advice(
                "know",
                f"{entry.row.name} takes {(cold.load + cold.first) / 1000:.1f} s from opening to its first depth: "
                "open it when the program starts.",
            )


def _streams(group: Sequence[Entry]) -> Iterator[Advice]:
    gains = []
    for entry in group:
        throughput, latency = entry.row.throughput, _latency(entry)
        if throughput is not None and throughput.streams > 1 and _calm(throughput.measured):
            single = 1000 * latency.batch / latency.infer.timing.mean
            gains.append((throughput.streams, throughput.pictures_per_second / single))
    if not gains:
        return
    streams, gain = gains[0][0], statistics.median(gain for _, gain in gains)
    cores = group[0].machine.usable_cores
    if gain < 1.2:
        yield Advice(
            "know",
            f"{streams} streams give {gain:.2f} times the throughput of one on {group[0].device} "
            f"({counted(cores, 'usable core')}): run one.",
        )
    else:
        yield Advice("know", f"{streams} streams give {gain:.2f} times the pictures per second of one.")


def _scale_error(group: Sequence[Entry]) -> Iterator[Advice]:
    for entry in group:
        ratio = entry.row.drift.get("scale_ratio")
        if ratio is not None and abs(ratio - 1) > 0.01:
            far = "farther" if ratio > 1 else "nearer"
            yield Advice(
                "fix",
                f"{entry.row.name} places everything {abs(ratio - 1):.1%} {far} than fp32: median alignment would hide "
                "it.",
            )


def _drift(group: Sequence[Entry]) -> Iterator[Advice]:
    for entry in group:
        within = entry.row.drift.get("within_5")
        if within is not None and within < 0.9:
            yield Advice(
                "fix",
                f"{within:.0%} of {entry.row.name}'s pixels are within 5 % of fp32: see `edgekd check`, or keep more "
                "layers in float.",
            )


def _flicker(group: Sequence[Entry]) -> Iterator[Advice]:
    for entry in group:
        flicker = entry.row.flicker
        if flicker is not None and flicker.added is not None and flicker.added > 0.01:
            yield Advice(
                "know", f"{entry.row.name} adds {flicker.added:.1%} of frame-to-frame flicker to that of fp32."
            )


def _energy(group: Sequence[Entry]) -> Iterator[Advice]:
    known = [(entry.row.millijoules, entry) for entry in group if entry.row.millijoules]
    if len(known) > 1:
        least, entry = min(known, key=lambda pair: pair[0])
        most, other = max(known, key=lambda pair: pair[0])
        if most > 1.2 * least:
            yield Advice(
                "know",
                f"{entry.row.name} takes {least:.1f} mJ per picture, {other.row.name} {most / least:.1f} times "
                f"that (whole machine, {_latency(entry).infer.conditions.energy_from}).",
            )


def _grades(group: Sequence[Entry]) -> Iterator[Advice]:
    bad = [entry for entry in group if _latency(entry).infer.grade.letter == "C"]
    if bad:
        names, were = ", ".join(entry.row.name for entry in bad), "was" if len(bad) == 1 else "were"
        evidence = _latency(bad[0]).infer.grade.evidence[0]
        yield Advice(
            "fix",
            f"Measure again when the machine is quiet: {names} on {bad[0].device} {were} graded C ({evidence}).",
        )
    if len({entry.row.student for entry in group}) > 1:
        yield Advice(
            "know", "These artefacts were built from different models: their figures are of different networks."
        )


_RULES: tuple[Callable[[Sequence[Entry]], Iterator[Advice]], ...] = (
    _choice,
    _int8,
    _bottleneck,
    _streams,
    _energy,
)
_RULES_OF_ALL: tuple[Callable[[Sequence[Entry]], Iterator[Advice]], ...] = (
    _tail,
    _first_picture,
    _scale_error,
    _drift,
    _flicker,
    _grades,
)
