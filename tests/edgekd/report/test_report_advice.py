"""The advice in words: each rule speaks where its figures apply, with the measured reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgekd.bench.cold import Cold
from edgekd.bench.conditions import Conditions
from edgekd.bench.flicker import Flicker
from edgekd.bench.grade import Grade
from edgekd.bench.latency import Latency, Measured
from edgekd.bench.machine import describe_machine
from edgekd.bench.result import BenchRow
from edgekd.bench.streams import Throughput
from edgekd.bench.timing import Timing
from edgekd.evaluate.evaluate import Evaluation
from edgekd.evaluate.scoring import ImageScore
from edgekd.report import Entry, Story, advise

CALM = Conditions(
    5, 20, 0.1, 0.0, 0.0, (), 2000, 2000, 2000, None, None, 50, 1, "cpu", 0, (), False, {}, None, None
)  # fmt: skip
MACHINE = replace(
    describe_machine(), device="A board", flags=("avx2", "avx512_vnni"), usable_cores=4.0, power_mode=None
)


def measured(p50: float, *, p99: float | None = None, conditions: Conditions = CALM, letter: Any = "A") -> Measured:
    timing = Timing(
        500, p50, p50 * 1.05, p99 or p50 * 1.2, p50, None, p50 * 0.95, p50, p50, p50 * 0.5, tuple([p50] * 10)
    )  # fmt: skip
    return Measured(timing, conditions, Grade(letter, ("slowed down by 20 %",), ()))


def entry(name: str, p50: float, **parts: Any) -> Entry:
    target, _, precision = name.rpartition("-")
    infer = parts.pop("infer", None) or measured(p50)
    latency = Latency(
        1, {"threads": "1"}, 9.0, 40, True, infer, parts.pop("resident", None), parts.pop("framed", None), "640x480"
    )  # fmt: skip
    row = BenchRow(name, target, precision, 4_000_000, "m", "student", latency=latency, **parts)
    return Entry("run", MACHINE, {"threads": 1, "batch": 1}, "2026-01-01", row, ())


def said(*entries: Entry) -> str:
    return "\n".join(advice.text for advice in advise(Story((), entries)))


def test_a_calm_run_gives_no_reason_to_mend_anything() -> None:
    found = advise(Story((), (entry("openvino-fp32", 4), entry("openvino-int8", 2))))
    assert [one.kind for one in found] == ["know"]
    assert "openvino-int8 is 2.00 times as fast as fp32" in found[0].text


def test_int8_that_is_not_faster_and_the_reasons_that_were_measured() -> None:
    slow = entry("onnxruntime-int8", 4.0, built={"float_layers": "conv_1, conv_2"})
    other = entry("openvino-int8", 2.5)
    text = said(entry("onnxruntime-fp32", 4.0), slow, entry("openvino-fp32", 4.0), other)
    line = next(line for line in text.splitlines() if "not faster" in line)
    assert line.startswith("INT8 is not faster than fp32 in onnxruntime here (4.00 and 4.00 ms)")
    assert "2 layers stayed in float" in line and "openvino runs the same network in int8 1.6 times as fast" in line
    assert "no 8-bit dot product" not in line
    old = replace(slow, machine=replace(MACHINE, flags=("avx2",)))
    assert "no 8-bit dot product" in said(replace(entry("onnxruntime-fp32", 4.0), machine=old.machine), old)
    alone = said(entry("onnxruntime-fp32", 4.0), replace(slow, row=replace(slow.row, built={"float_layers": ""})))
    assert "the measurements do not show why" in alone


def test_int8_that_is_slow_on_a_gpu_and_how_much_smaller_it_is() -> None:
    wide, small = entry("tensorrt-fp32", 2.0), entry("tensorrt-int8", 2.0)
    text = said(wide, replace(small, row=replace(small.row, size=1_000_000)))
    assert "small networks leave the GPU waiting" in text and text.endswith("It is 4.0 times smaller.")
    assert "8-bit dot product" not in said(*(replace(one, machine=replace(MACHINE, flags=())) for one in (wide, small)))


def test_int8_is_compared_with_fp16_where_there_is_one() -> None:
    text = said(entry("tensorrt-fp32", 4), entry("tensorrt-fp16", 2), entry("tensorrt-int8", 2.5))
    assert "INT8 is slower (1.25 times) than fp16 in tensorrt here" in text


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        (replace(CALM, others=1.4), "the machine was busy: other processes used 1.4 cores"),
        (replace(CALM, stolen=0.3), "the host took 0.30 cores away"),
        (replace(CALM, held_back=("gpu-throttle-alert",)), "the clocks were throttled"),
        (CALM, "the cause was not observed"),
    ],
)
def test_a_long_tail_and_why(conditions: Conditions, why: str) -> None:
    text = said(entry("openvino-fp32", 3, infer=measured(3, p99=12, conditions=conditions)))
    assert f"p99 of openvino-fp32 is 4.0 times p50 on A board: {why}." in text


def test_a_long_tail_where_inference_needs_all_cores() -> None:
    busy = entry("openvino-fp32", 3, infer=measured(3, p99=12))  # keeps one core busy
    assert "try fewer threads" in said(replace(busy, machine=replace(MACHINE, usable_cores=1.0)))
    assert "try fewer threads" not in said(busy)


def test_the_copy_and_the_framing_as_bottlenecks() -> None:
    text = said(entry("tensorrt-int8", 2.0, resident=measured(0.8), framed=measured(3.5)))
    assert "The student is no longer the bottleneck; copying is: 60% of tensorrt-int8's 2.00 ms" in text
    assert "Framing a 640x480 picture costs 1.50 ms, 75% of what tensorrt-int8 takes" in text
    assert "bottleneck" not in said(entry("tensorrt-int8", 2.0, resident=measured(1.9), framed=measured(2.2)))


def test_a_copy_that_is_not_most_of_the_time_is_no_bottleneck_and_a_disturbed_one_says_nothing() -> None:
    text = said(entry("tensorrt-int8", 2.0, resident=measured(1.3)))
    assert "35% of tensorrt-int8's 2.00 ms go into copying" in text and "bottleneck" not in text
    disturbed = entry("tensorrt-int8", 2.0, resident=measured(0.5, letter="C"), framed=measured(9.0, letter="C"))
    assert said(disturbed) == ""


def scored(errors: list[float], pixels: int = 100) -> Evaluation:
    """An evaluation of frames with these AbsRel values."""
    names = [f"frame {number}" for number in range(len(errors))]
    rows = tuple(
        ImageScore(name, "room", pixels // len(errors), 1.0, 0, {"raw": {"absrel": error}})
        for name, error in zip(names, errors, strict=True)
    )
    mean = sum(errors) / len(errors)
    return Evaluation(
        "plain", "about", "rooms", "", "d", len(errors), (), pixels, 0, 1.0, {"raw": {"absrel": mean}},
        {"raw": {"absrel": mean}}, {"raw": {"absrel": (mean - 0.1, mean + 0.1)}}, "images", rows,
    )  # fmt: skip


def test_the_choice_is_made_frame_by_frame() -> None:
    """Hard frames are hard for both: each mean is uncertain by 0.1, but their difference is certain."""
    hard = [0.05, 0.35] * 30
    best, quick = entry("openvino-fp32", 8), entry("openvino-int8", 4)
    best = replace(best, scores=(scored(hard),))
    worse = replace(quick, scores=(scored([error + 0.02 for error in hard]),))
    assert "use openvino-fp32: 8.00 ms per picture at AbsRel 0.200 over 60 images" in said(best, worse)
    assert "and none is more accurate." in said(best, worse)
    assert "another is at least as fast" not in said(best, worse)
    better = replace(quick, scores=(scored([error - 0.02 for error in hard]),))
    assert "use openvino-int8" in said(best, better) and "For 1 of 2 artefacts another" in said(best, better)
    uncertain = [error + (0.03 if number % 4 else -0.06) for number, error in enumerate(hard)]
    alike = replace(quick, scores=(scored(uncertain),))
    text = said(best, alike)
    assert "use openvino-int8: 4.00 ms per picture at AbsRel 0.208" in text
    assert "(95 % interval) from the most accurate, openvino-fp32 with 0.200" in text
    one = [replace(e, scores=(scored([0.2]),)) for e in (best, quick)]
    assert "take" not in said(*one)


def test_nothing_is_chosen_by_figures_of_two_protocols_or_data_sets() -> None:
    mine, theirs = scored([0.3, 0.2]), scored([0.3, 0.2])
    best, quick = entry("openvino-fp32", 8), entry("openvino-int8", 4)
    assert "use openvino-int8" in said(replace(best, scores=(mine,)), replace(quick, scores=(theirs,)))
    for other in (replace(theirs, protocol="scannet"), replace(theirs, digest="other")):
        assert " use " not in said(replace(best, scores=(mine,)), replace(quick, scores=(other,)))


def test_what_to_choose_comes_first_and_what_to_know_last() -> None:
    best = replace(entry("openvino-fp32", 8), scores=(scored([0.3, 0.2]),))
    tail = replace(entry("openvino-int8", 4, infer=measured(4, p99=20)), scores=best.scores)
    assert [one.kind for one in advise(Story((), (best, tail)))] == ["choice", "fix", "know"]


def test_the_choice_of_batches_is_told_for_a_picture() -> None:
    batch = entry("openvino-int8", 20)
    batch = replace(of_batch(8, batch), scores=(scored([0.1, 0.2]),))
    other = replace(batch, row=replace(batch.row, name="openvino-fp32", precision="fp32"))
    assert "2.50 ms per picture" in said(batch, other)


def test_two_devices_of_a_runtime_are_two_settings() -> None:
    on_cpu = [entry("openvino-fp32", 8), entry("openvino-int8", 4)]
    on_gpu = [
        replace(one, settings={**one.settings, "device": "GPU"})
        for one in (entry("openvino-fp32", 2), entry("openvino-int8", 1.9))
    ]
    lines = said(*on_cpu, *on_gpu).splitlines()
    assert lines[0] == "1 thread, batch 1: openvino-int8 is 2.00 times as fast as fp32."
    assert lines[1].startswith("1 thread, batch 1, GPU: INT8 is not faster than fp32 in openvino here")


def of_batch(count: int, one: Entry) -> Entry:
    assert one.row.latency is not None
    return replace(one, row=replace(one.row, latency=replace(one.row.latency, batch=count)))


def test_in_batches_streams_are_compared_by_pictures_and_framing_by_nothing() -> None:
    streams = Throughput(4, 2100.0, measured(15))
    assert "4 streams give 1.05 times" in said(of_batch(8, entry("openvino-fp32", 4, throughput=streams)))
    assert "4 streams give 2.10 times the pictures per second of one." in said(
        of_batch(8, entry("openvino-fp32", 8, throughput=streams))
    )
    assert said(of_batch(8, entry("openvino-fp32", 4, framed=measured(9)))) == ""  # framing is timed for one picture


def test_depth_that_is_too_near_and_artefacts_of_two_students() -> None:
    near = entry("openvino-int8", 4, drift={"scale_ratio": 0.97})
    other = replace(near, row=replace(near.row, name="openvino-fp16", precision="fp16", student="another"))
    assert said(near) == "openvino-int8 places everything 3.0% nearer than fp32: median alignment would hide it."
    assert "built from different models" in said(near, other)


def test_streams_cold_starts_scale_drift_flicker_energy_and_grades() -> None:
    one_stream = Throughput(4, 260.0, measured(15))  # one stream gives 250 a second
    cold = Cold(3, 1900.0, 900.0, 40.0, 200.0, Grade("A", ("e",), ()))
    drift = {"scale_ratio": 1.03, "within_5": 0.7, "within_1": 0.2}
    powered = replace(CALM, joules=10.0, energy_from="VDD_IN")
    text = said(
        entry("openvino-fp32", 4, throughput=one_stream, cold=cold, infer=measured(4, conditions=powered)),
        entry(
            "openvino-int8",
            2,
            drift=drift,
            flicker=Flicker(48, 0.02, 0.015),
            infer=measured(2, conditions=replace(powered, joules=4.0)),
        ),
    )
    assert "4 streams give 1.04 times the throughput of one on A board (4 usable cores): run one." in text
    assert "openvino-fp32 takes 2.8 s from opening to its first depth" in text
    assert "openvino-int8 places everything 3.0% farther than fp32: median alignment would hide it." in text
    assert "70% of openvino-int8's pixels are within 5 %" in text
    assert "openvino-int8 adds 1.5% of frame-to-frame flicker" in text
    assert "openvino-int8 takes 8.0 mJ per picture, openvino-fp32 2.5 times that (whole machine, VDD_IN)" in text


def test_nothing_is_concluded_from_a_disturbed_latency() -> None:
    disturbed = entry("openvino-int8", 9, infer=measured(9, letter="C"), framed=measured(20))
    (only,) = advise(Story((), (entry("openvino-fp32", 4), disturbed)))
    assert only.text.endswith("openvino-int8 on A board was graded C (slowed down by 20 %).")


def test_two_machines_are_not_compared_with_each_other() -> None:
    elsewhere = replace(entry("openvino-int8", 9), machine=replace(MACHINE, device="Another board"))
    assert "INT8" not in said(entry("openvino-fp32", 4), elsewhere)


def test_advice_names_its_machine_where_there_are_several() -> None:
    here = [entry("openvino-fp32", 4), entry("openvino-int8", 2)]
    there = [replace(one, machine=replace(MACHINE, device="Another board")) for one in here]
    assert "A board: openvino-int8 is 2.00 times as fast" in said(*here, *there)
    assert "Another board: openvino-int8 is 2.00 times as fast" in said(*here, *there)


def test_a_slow_processor_is_no_reason_where_another_runtime_is_fast_on_it() -> None:
    old = replace(MACHINE, flags=("avx2",))
    slow = [replace(entry(name, p50), machine=old) for name, p50 in (("onnxruntime-fp32", 4), ("onnxruntime-int8", 4))]
    assert "no 8-bit dot product" in said(*slow)
    fast = [replace(entry("openvino-int8", 2), machine=old)]
    assert "kernels, not the processor" in said(*slow, *fast) and "no 8-bit dot product" not in said(*slow, *fast)


def test_advice_names_its_run_and_setting_where_there_are_several() -> None:
    calm = [entry("openvino-fp32", 4), entry("openvino-int8", 2)]
    quick = [replace(one, run="other") for one in (entry("openvino-fp32", 4), entry("openvino-int8", 1))]
    assert said(*calm, *quick).splitlines() == [
        "run: openvino-int8 is 2.00 times as fast as fp32.",
        "other: openvino-int8 is 4.00 times as fast as fp32.",
    ]
    wide = [replace(one, settings={"threads": 2, "batch": 1}) for one in calm]
    assert said(*calm, *wide).splitlines()[1].startswith("2 threads, batch 1: openvino-int8")


def test_what_was_not_measured_says_nothing() -> None:
    row = BenchRow(
        "tensorrt-int8", "tensorrt", "int8", 1, "m", "s", drift={"within_5": 0.1}, reason="no device", fix="x"
    )
    assert advise(Story((), (Entry("run", MACHINE, {}, "", row, ()),))) == []
