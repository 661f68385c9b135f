"""Teach one student in every way, several seeds each, and print the table.

    python examples/paper/table.py --teacher rooms --work WORK
    python examples/paper/table.py --teacher fastdepth --work WORK --pairs PAIRS/index.csv --unlabelled DIR

All rows have the same number of images, steps and seeds. Without --pairs the world is the stand-in one. Runs that are
finished are kept in WORK/runs.jsonl and not made again; --only names rows, several processes may share the work.
"""

from __future__ import annotations

import argparse
import functools
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from controls import CONTROLS, Control, settings_of
from figures import SHOWN, TEACHER, gap_closed, mean, with_spread
from finished import Finished
from folding import folded
from numpy.typing import NDArray
from torch import nn
from worlds import World, real_world, stand_in_world

from calibration.files import sha256_bytes, sha256_file
from calibration.progress import Quiet
from calibration.script import run_script
from edgekd.distill.allocator import keep_freed_memory
from edgekd.distill.device import choose_device, describe
from edgekd.distill.loop import distill
from edgekd.distill.settings import PRECISIONS, DistillSettings
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.evaluate.metrics import score
from edgekd.models.students import STUDENTS, build_student, student_named
from edgekd.pictures import list_pictures

BY_PLACE = "agreement by place"
_EVERY_PLACE = "every place alike"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="rooms")
    parser.add_argument("--folded", action="store_true", help="fold the teacher's BatchNorm, as ONNX exporters do")
    parser.add_argument("--student", default="slim-l", choices=list(STUDENTS), metavar="NAME")
    parser.add_argument("--work", type=Path, required=True, help="folder for rendered sets and finished runs")
    parser.add_argument("--pairs", type=Path, help="index.csv of real RGB-D pairs to measure on")
    parser.add_argument("--unlabelled", type=Path, help="pictures of the place of the pairs, for the upper bound")
    parser.add_argument("--only", nargs="+", default=list(CONTROLS), choices=list(CONTROLS), metavar="ROW")
    parser.add_argument("--seeds", type=_positive, default=3)
    parser.add_argument("--images", type=_positive, default=600, help="learnt from; six times as many are rendered")
    parser.add_argument("--held-out", type=_positive, default=200)
    parser.add_argument("--steps", type=_positive, default=600)
    parser.add_argument("--batch", type=_positive, default=16)
    parser.add_argument("--learning-rate", type=float, help="of the student, in place of its own")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)
    parser.add_argument("--prepare", action="store_true", help="only render what the rows need")
    parser.add_argument("--print", dest="only_print", action="store_true", help="only print what is finished")
    parser.add_argument("--gap-from", default="plain", choices=("plain", "plain-cut"), help="where the gap begins")
    parser.add_argument("--threads", type=_positive, help="of PyTorch")
    arguments = parser.parse_args()
    same = [name for name in arguments.only if name.startswith("same")]
    if arguments.pairs is not None and arguments.unlabelled is None and same:
        parser.error(f"--pairs needs --unlabelled DIR for {', '.join(same)}; or name the other rows with --only")
    if arguments.only_print and not (arguments.work / "runs.jsonl").exists():  # before rendering held-out rooms
        parser.error(f"{arguments.work} holds no runs.jsonl: nothing is finished there")
    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.pairs is not None:
        world = real_world(arguments.teacher, arguments.work, arguments.images, arguments.pairs, arguments.unlabelled)
    else:
        world = stand_in_world(arguments.teacher, arguments.work, arguments.images, arguments.held_out)
    if arguments.folded:
        world = replace(world, teacher=folded(world.teacher))
    device = choose_device(arguments.device)
    seeds = range(arguments.seeds)
    if arguments.prepare:
        for seed in seeds:
            for images in {CONTROLS[name].images for name in arguments.only}:
                images(world, seed)
        return
    truth = depth_of(world.teacher.module, world, device)
    done = Finished(arguments.work / "runs.jsonl")
    asked = _asked(world, arguments)
    teacher = _scores(truth, world.truth, agreement_with(truth, truth))
    if not arguments.only_print:
        _keep_teacher(world, teacher, done)
    for seed in () if arguments.only_print else seeds:
        for name in arguments.only:
            common = DistillSettings(
                steps=arguments.steps,
                batch=arguments.batch,
                learning_rate=asked["rate"],
                seed=seed,
                precision=arguments.precision,
                set_aside=8,
                preview_every=arguments.steps,
            )
            key = {**asked, **_of_row(name, arguments), "row": name, "seed": seed}
            with done.claim(key) as ours:
                if ours:
                    done.add({**key, **_run(world, CONTROLS[name], arguments.student, common, device, truth)})
    rows = done.rows()
    shown = [row for row in rows if _is_of_table(row, asked, seeds, arguments)]
    anywhere = [row for row in rows if _is_of_table({**row, "held_out": asked["held_out"]}, asked, seeds, arguments)]
    if len(anywhere) > len(shown):
        print(f"{len(anywhere) - len(shown)} runs on other held-out pictures are left out", file=sys.stderr)
    _print(world, shown, teacher, arguments, device)


def _keep_teacher(world: World, teacher: dict[str, float], done: Finished) -> None:
    """What the teacher itself reaches on the held-out pictures, for summary.py."""
    key = {"world": world.name, "teacher": world.teacher.digest, "held_out": _held_out(world), "row": TEACHER}
    with done.claim(key) as ours:
        if ours:
            done.add({**key, **teacher})


def _held_out(world: World) -> str:
    return sha256_bytes(world.pictures.tobytes())[:16]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _asked(world: World, arguments: argparse.Namespace) -> dict[str, Any]:
    """What the runs of one table share, and what distinguishes them from those of another."""
    return {
        "world": world.name,
        "teacher": world.teacher.digest,
        "student": arguments.student,
        "rate": arguments.learning_rate or student_named(arguments.student).learning_rate,
        "steps": arguments.steps,
        "batch": arguments.batch,
        "precision": arguments.precision,
        "images": arguments.images,
        "held_out": _held_out(world),
    }


def _is_of_table(run: dict[str, Any], asked: dict[str, Any], seeds: range, arguments: argparse.Namespace) -> bool:
    """Whether a finished run belongs to this table; earlier runs may be of rows that are no more."""
    if run["row"] not in CONTROLS or run.get("seed") not in seeds:
        return False
    return (asked | _of_row(run["row"], arguments)).items() <= run.items()


def _of_row(row: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What distinguishes a row's runs from earlier ones: pictures other than the stand-in world's, a setting."""
    found = settings_of(row)
    if arguments.unlabelled is not None and row.startswith("same"):
        found["unlabelled"] = _digest(arguments.unlabelled)
    return found


@functools.cache
def _digest(folder: Path) -> str:
    """A hash of the pictures in a folder."""
    return sha256_bytes("".join(map(sha256_file, list_pictures(folder))).encode())[:16]


def _run(
    world: World,
    control: Control,
    student: str,
    common: DistillSettings,
    device: torch.device,
    taught: NDArray[np.float32],
) -> dict[str, Any]:
    begun = time.monotonic()
    network = build_student(student, world.teacher, common.seed)
    images = control.images(world, common.seed)
    with tempfile.TemporaryDirectory() as folder:
        made = distill(
            control.labels(world.teacher), network, images, control.settings(common), Path(folder), Quiet(),
            device=device, student_name=student,
        )  # fmt: skip
    predicted = depth_of(made.student, world, device)
    agreement = agreement_with(predicted, taught)
    return {
        **_scores(predicted, world.truth, agreement),
        BY_PLACE: _by_place(agreement, world.places),
        "pictures": images.digest,
        "seconds": time.monotonic() - begun,
    }


@torch.no_grad()
def depth_of(module: nn.Module, world: World, device: torch.device) -> NDArray[np.float32]:
    """Depth [N, H, W] of the held-out pictures, in float32."""
    module, normalise = module.to(device).eval(), Normalise(world.teacher.input).to(device)
    chunks = np.array_split(world.pictures, max(1, len(world.pictures) // 16))
    return np.concatenate([module(normalise(to_tensor(chunk, device)))[:, 0].cpu().numpy() for chunk in chunks])


def agreement_with(predicted: NDArray[np.float32], taught: NDArray[np.float32]) -> NDArray[np.float64]:
    """delta1 against the teacher's depth, of each picture."""
    return np.array([score(p, t)["delta1"] for p, t in zip(predicted, taught, strict=True)])


def _scores(
    predicted: NDArray[np.float32], truth: NDArray[np.float32], agreement: NDArray[np.float64]
) -> dict[str, float]:
    against = [score(p, t) for p, t in zip(predicted, truth, strict=True)]
    return {
        "agreement": float(agreement.mean()),
        "delta1": float(np.mean([row["delta1"] for row in against])),
        "absrel": float(np.mean([row["absrel"] for row in against])),
    }


def _by_place(agreement: NDArray[np.float64], places: tuple[str, ...]) -> dict[str, float]:
    return {place: float(agreement[[at == place for at in places]].mean()) for place in sorted(set(places))}


def _print(
    world: World, rows: list[dict[str, Any]], teacher: dict[str, float], arguments: Any, device: torch.device
) -> None:
    print(
        f"{world.name} world, {world.teacher.name} ({world.teacher.digest[:12]}) -> {arguments.student}: "
        f"{arguments.images} images, {arguments.steps} steps of {arguments.batch}, {len(world.pictures)} held out, "
        f"{describe(device, arguments.precision)}, torch {torch.__version__}, Python {platform.python_version()}\n"
    )
    print("| learnt from | agreement | delta1 | AbsRel | gap closed, agreement | gap closed, delta1 | seeds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print(f"| the teacher itself | | {teacher['delta1']:.3f} | {teacher['absrel']:.3f} | | | |")
    by_row = {name: [row for row in rows if row["row"] == name] for name in CONTROLS}
    by_seed = {
        name: {row["seed"]: {key: row[key] for key in SHOWN} for row in found}
        for name, found in by_row.items()
        if found
    }
    for name, found in by_row.items():
        if not found:
            continue
        cells = [with_spread([row[key] for row in found]) for key in SHOWN]
        gaps = [gap_closed(by_seed, name, key, arguments.gap_from) for key in ("agreement", "delta1")]
        print(f"| {CONTROLS[name].summary} | {' | '.join([*cells, *gaps])} | {len(found)} |")
    if len(set(world.places)) > 1:
        _print_places(world.places, by_row, arguments.gap_from)


def _print_places(places: tuple[str, ...], by_row: dict[str, list[dict[str, Any]]], gap_from: str) -> None:
    """Agreement by the place where the pictures were taken, of the runs that kept it, and its mean in which all places
    have equal weight."""
    names = sorted(set(places))
    heads = [f"{name} ({places.count(name)})" for name in names]
    print(f"\n| agreement | {' | '.join(heads)} | mean of places | gap closed in it | seeds |")
    print(f"| --- |{' --- |' * (len(names) + 3)}")
    kept = {
        row: {run["seed"]: run[BY_PLACE] | {_EVERY_PLACE: mean(run[BY_PLACE].values())} for run in runs}
        for row, found in by_row.items()
        if (runs := [run for run in found if BY_PLACE in run])
    }
    for row, runs in kept.items():
        cells = [f"{mean(run[name] for run in runs.values()):.3f}" for name in (*names, _EVERY_PLACE)]
        gap = gap_closed(kept, row, _EVERY_PLACE, gap_from)
        print(f"| {CONTROLS[row].summary} | {' | '.join(cells)} | {gap} | {len(runs)} |")


if __name__ == "__main__":
    run_script(main, interrupted="Interrupted: finished rows are kept, and the same command makes the others")
