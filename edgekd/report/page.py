"""The HTML report: one file, nothing from the network, no scripts; good on a phone and on paper."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources

from calibration.wording import counted
from edgekd.evaluate.evaluate import Evaluation
from edgekd.report.advice import Advice, advise
from edgekd.report.charts import Point, line_chart, scatter_chart
from edgekd.report.coverage import coverage_parts
from edgekd.report.gather import Entry, ReportedRun, Story, same_pixels
from edgekd.report.markup import Child, Element, page, quiet, tag
from edgekd.report.panels import depth_panels, previews, worst_frames
from edgekd.report.pareto import front
from edgekd.report.tables import accuracy_tables, conditions_table, drift_table, speed_tables, table

__all__ = ["html_report"]

_SIZE = "size, MB"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The browser's policy: even if something slipped through, it could load nothing and run nothing."""


def html_report(story: Story) -> str:
    """The whole document."""
    title = "edgekd report: " + ", ".join(reported.name for reported in story.runs)
    style = resources.files("edgekd.report").joinpath("style.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", style),
    )
    sections = [
        ("Runs and machines", _about(story)),
        ("In short", _advice(advise(story))),
        ("Speed, size and memory", list(speed_tables(story))),
        ("Accuracy", list(accuracy_tables(story)) or [quiet("Nothing was scored: edgekd bench --data PATH.")]),
        ("Accuracy against latency, size and energy", list(_charts(story))),
        ("Depth", _by_run(story, depth_panels)),
        ("The worst frames", _by_run(story, lambda reported: worst_frames(story, reported))),
        ("Drift from fp32", [*_drift(story), *_flicker(story)]),
        ("Training", _by_run(story, _curves)),
        ("Calibration coverage", _by_run(story, coverage_parts)),
        ("Simulated and transformed pictures", _by_run(story, previews)),
        ("Conditions and grades", _conditions(story)),
        ("How to reproduce", _by_run(story, _reproduce)),
    ]
    anchors = {heading: f"s{number}" for number, (heading, _) in enumerate(sections, start=1)}
    contents = tag("nav", [tag("a", heading, href=f"#{anchor}") for heading, anchor in anchors.items()])
    body = [tag("section", tag("h2", heading), parts, id=anchors[heading]) for heading, parts in sections]
    header = tag("header", tag("h1", title), quiet(_subtitle(story)))
    return page(tag("html", head, tag("body", header, contents, tag("main", body)), lang="en"))


def _subtitle(story: Story) -> str:
    devices = dict.fromkeys(entry.device for entry in story.entries)
    measured = max((entry.created for entry in story.entries), default="")
    artefacts = counted(len(story.entries), "artefact")
    return f"{artefacts} on {', '.join(devices) or 'no machine'}. Last measured {measured or 'never'}."


def _about(story: Story) -> list[Element]:
    rows: list[Sequence[Child]] = []
    for reported in story.runs:
        manifest = reported.run.manifest
        teacher = manifest.teacher
        asked = next((manifest.steps[name].asked for name in ("distill", "calibrate") if name in manifest.steps), {})
        settings = asked.get("settings", {}) if isinstance(asked.get("settings"), dict) else {}
        rows.append(
            [
                reported.name,
                "-" if teacher is None else f"{teacher.name} ({teacher.digest[:12]}): {teacher.source}",
                str(asked.get("student", "the teacher itself")),
                "-"
                if "steps" not in settings
                else f"{settings['steps']} of {settings.get('batch')}, seed {settings.get('seed')}",
                reported.calibration or "-",
                manifest.created[:10],
            ]
        )
    parts = [table(["run", "teacher", "student", "steps", "calibration set", "begun"], rows)]
    machines = {entry.device: entry for entry in story.entries}
    rows = []
    for device, entry in machines.items():
        machine = entry.machine
        versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
        cores = f"{machine.usable_cores:g} of {machine.cores}"
        memory = "-" if machine.memory_gib is None else f"{machine.memory_gib:.1f} GiB"
        if machine.memory_limit_gib is not None:
            memory += f", limited to {machine.memory_limit_gib:.1f}"
        also = [
            *machine.gpus,
            *([f"driver {machine.driver}"] if machine.driver else []),
            *([machine.board_release] if machine.board_release else []),
            *([f"mode {machine.power_mode}"] if machine.power_mode else []),
            *(
                ["clocks locked" if machine.clocks_locked else "clocks not locked"]
                if machine.clocks_locked is not None
                else []
            ),
            *([f"turbo {'on' if machine.turbo else 'off'}"] if machine.turbo is not None else []),
        ]
        flags = " ".join(machine.flags)
        rows.append(
            [device, f"{machine.cpu} ({flags})", cores, memory, ", ".join(also) or "-", machine.system, versions]
        )
    if rows:
        parts.append(table(["machine", "processor", "cores", "memory", "also", "system", "versions"], rows))
    pictures = dict.fromkeys(benched.result.pictures for reported in story.runs for benched in reported.benches)
    parts += [quiet(f"Latency was measured on {about}; one pass per picture, as for accuracy.") for about in pictures]
    parts += [quiet(f"Missing: {line}") for reported in story.runs for line in reported.missing]
    return parts


def _advice(found: Sequence[Advice]) -> list[Element]:
    if not found:
        return [quiet("Nothing conclusive was measured yet.")]
    words = {"choice": "Choose", "fix": "Fix", "know": "Note"}
    items = [tag("li", tag("b", f"{words[one.kind]}: "), one.text, class_=one.kind) for one in found]
    return [tag("ul", items, class_="advice")]


def _charts(story: Story) -> Iterator[Element]:
    drawn = False
    for protocol in story.protocols:
        scored = [(entry, score) for entry, score in story.scored(protocol) if entry.measured]
        if len(scored) < 2:
            continue
        drawn = True
        places = list(dict.fromkeys((entry.device, entry.setting) for entry, _ in scored))
        runs = list(dict.fromkeys(entry.run for entry, _ in scored))
        alike = same_pixels(scored)
        charts = []
        axes: dict[str, Callable[[Entry], float | None]] = {
            "p50 latency, ms": lambda entry: None if entry.row.latency is None else entry.row.latency.p50,
            _SIZE: lambda entry: entry.row.size / 1e6,
            "energy per picture, mJ": lambda entry: entry.row.millijoules,
        }
        for label, value in axes.items():
            points = [
                Point(
                    x,
                    score.means["raw"]["absrel"],
                    *_ends(score),
                    label=_short(entry, len(runs) > 1, places),
                    kind=entry.row.precision,
                    mark=places.index((entry.device, entry.setting)) + len(places) * runs.index(entry.run),
                    ranking=_ranking(entry, timed=label != _SIZE) if alike else None,
                )
                for entry, score in scored
                if (x := value(entry))
            ]
            if len(points) > 1:
                y = f"AbsRel ({protocol.protocol}), lower is better"
                charts.append(tag("figure", scatter_chart(points, label, y, f"AbsRel against {label}")))
        yield tag("h3", f"{protocol.protocol} on {protocol.dataset}")
        yield tag("div", charts, class_="charts")
        rankings: dict[str, list[tuple[Entry, Evaluation]]] = {}
        for entry, score in scored:
            if alike and (ranking := _ranking(entry, timed=True)) is not None:
                rankings.setdefault(ranking, []).append((entry, score))
        fronts = [
            ", ".join(_short(ranked[place][0], len(runs) > 1, places) for place in _front_by_latency(ranked))
            for ranked in rankings.values()
        ]
        yield quiet(
            "Line: the Pareto front, which no other artefact on the same machine and setting beats on both; latencies "
            f"of grade C are excluded. By latency: {'; '.join(fronts) or 'none'}. "
            f"Bars: 95 % interval over {counted(protocol.images, 'image')}."
        )
    if not drawn:
        yield quiet("A chart needs two measured and scored artefacts: edgekd bench --data PATH.")


def _ends(score: Evaluation) -> tuple[float, float]:
    mean = score.means["raw"]["absrel"]
    return score.interval("absrel") or (mean, mean)


def _ranking(entry: Entry, *, timed: bool) -> str | None:
    """The ranking that an entry belongs to: its machine and setting. Disturbed timings are not ranked."""
    if timed and (entry.row.latency is None or entry.row.latency.infer.grade.letter == "C"):
        return None
    return f"{entry.device}, {entry.setting}"


def _front_by_latency(ranked: Sequence[tuple[Entry, Evaluation]]) -> list[int]:
    return front(
        [(entry.row.latency.p50, score.means["raw"]["absrel"]) for entry, score in ranked if entry.row.latency]
    )


def _short(entry: Entry, run: bool, places: Sequence[tuple[str, str]]) -> str:
    """The artefact, with whatever of run, machine and setting distinguishes it from the others."""
    words = [entry.row.name, *([entry.run] if run else [])]
    words += [entry.device] if len({device for device, _ in places}) > 1 else []
    words += [entry.setting] if len({setting for _, setting in places}) > 1 else []
    return " ".join(word if len(word) <= 26 else f"{word[:24]}…" for word in words)


def _drift(story: Story) -> Iterator[Element]:
    drift = drift_table(story)
    yield quiet("No artefact has a recorded drift.") if drift is None else drift


def _flicker(story: Story) -> Iterator[Element]:
    rows: list[Sequence[Child]] = []
    for entry in story.entries:
        flicker = entry.row.flicker
        if flicker is not None:
            added = "-" if flicker.added is None else f"{flicker.added:.2%}"
            rows.append(
                [f"{entry.row.name} ({entry.run}, {entry.device})", f"{flicker.jitter:.2%}", added, str(flicker.frames)]
            )
    if not rows:
        return
    yield tag("h3", "Flicker over a clip")
    yield table(["artefact", "jitter", "added to fp32's", "frames"], rows)
    clips = dict.fromkeys(b.result.clip for reported in story.runs for b in reported.benches if b.result.clip)
    yield quiet(
        f"On {'; '.join(clips)}. Jitter: how much depth changes and changes back from frame to frame, including uneven "
        "motion in the picture. Added: how much the difference from fp32 on the same frames changes; motion cancels. "
        "Both as a share of depth."
    )


def _curves(reported: ReportedRun) -> Iterator[Element]:
    if not reported.curves:
        yield quiet("This run has no training log.")
        return
    charts = []
    for name, points in reported.curves.items():
        caption = tag("figcaption", f"{name}: {points[-1][1]:.4g} at step {points[-1][0]}")
        charts.append(tag("figure", line_chart(points, name), caption))
    yield tag("div", charts, class_="curves")


def _conditions(story: Story) -> list[Element]:
    found = conditions_table(story)
    said = (
        "A: stable. B: noisy. C: throttled or disturbed. The rules are in edgekd/bench/README.md. What could not be "
        "monitored is listed, since it weakens an A. Readings were taken between inferences."
    )
    idle = {
        entry.device: benched.result.idle_watts
        for reported in story.runs
        for benched in reversed(reported.benches)  # the newest comes last, and wins
        for entry in story.entries
        if benched.result.idle_watts and entry.machine == benched.result.machine
    }
    lines = [
        quiet(
            f"{device} before the first artefact: " + ", ".join(f"{name} {watts:.1f} W" for name, watts in by.items())
        )
        for device, by in idle.items()
    ]
    settings = {
        f"{entry.row.name}: " + ", ".join(f"{name} {value}" for name, value in entry.row.latency.settings.items())
        for entry in story.entries
        if entry.row.latency is not None
    }
    runtimes = tag("details", tag("summary", "Runtime settings"), [quiet(line) for line in sorted(settings)])
    return [quiet(said), *([found] if found is not None else []), *lines, runtimes]


def _reproduce(reported: ReportedRun) -> Iterator[Element]:
    folder = shlex.quote(str(reported.run.folder))
    steps = reported.run.manifest.steps
    commands = dict.fromkeys(reported.run.command(record.command) for record in steps.values())
    again = [f"edgekd bench {folder} --reproduce {shlex.quote(str(benched.path))}" for benched in reported.benches]
    yield tag("pre", "\n".join([*commands, *again]))
    rows: list[Sequence[Child]] = []
    for name, record in steps.items():
        made = ", ".join(f"{path} {file.sha256[:12]}" for path, file in list(record.outputs.items())[:4])
        more = f" and {len(record.outputs) - 4} more" if len(record.outputs) > 4 else ""
        inputs = ", ".join(f"{what} {digest[:12]}" for what, digest in record.inputs.items())
        took = "-" if record.seconds is None else f"{record.seconds:.0f} s"
        rows.append([name, inputs or "-", made + more or "-", took, (record.finished or "unfinished")[:19]])
    yield table(["step", "made from", "made", "took", "finished"], rows)
    versions = list(steps.values())[-1].versions if steps else {}
    yield quiet("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()))


def _by_run(story: Story, part: Callable[[ReportedRun], Iterable[Element]]) -> list[Element]:
    """The part for each run, under its name where there are several."""
    found: list[Element] = []
    for reported in story.runs:
        if len(story.runs) > 1:
            found.append(tag("h3", reported.name))
        found += part(reported)
    return found
