"""A run: its folder, its manifest, and which of its steps are done."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from calibration.errors import FileError, RunError
from calibration.files import fault_of, inside, name_of, restore_replaced, sha256_file
from calibration.progress import Progress, Quiet
from edgekd.run.lock import locked
from edgekd.run.manifest import NAME, FileRecord, Manifest, StepRecord, TeacherRecord, differences, now, plain
from edgekd.run.versions import versions

__all__ = ["Run", "require_empty"]

_QUIET = Quiet()
_CHANGE = {True: "left out instead of given", False: "given instead of left out"}  # recorded, then asked


class Run:
    """A run folder. What changes it is called while `lock` is held."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def create(cls, folder: Path, teacher: TeacherRecord | None = None) -> Run:
        """Start a run in a folder that is new or empty. Raises RunError when it holds something, RunLockedError."""
        folder = Path(folder)
        with locked(folder):
            require_empty(folder)
            manifest = Manifest(created=now(), edgekd=versions()["edgekd"], teacher=teacher)
            manifest.write(folder)
        return cls(folder, manifest)

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open a run. Raises FileError or RunError when run.json is missing or does not fit."""
        folder = Path(folder)
        return cls(folder, Manifest.read(folder))

    @classmethod
    def open_or_create(cls, folder: Path, teacher: TeacherRecord | None = None) -> Run:
        """The run in `folder`, started if there is none."""
        return cls.open(folder) if cls.exists(folder) else cls.create(folder, teacher)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether a run was begun in the folder."""
        return (Path(folder) / NAME).is_file()

    @property
    def name(self) -> str:
        return name_of(self.folder)

    @property
    def caution(self) -> str | None:
        """What whoever reads the run's depth must know: where its metres are none."""
        return None if self.manifest.teacher is None else self.manifest.teacher.caution

    @contextlib.contextmanager
    def lock(self, progress: Progress = _QUIET) -> Iterator[Run]:
        """Hold the run for writing: one process at a time. Raises RunLockedError naming the other one.

        The manifest is read anew, and what a killed process left half written is removed.
        """
        with locked(self.folder, progress):
            self.manifest = Manifest.read(self.folder)
            for old in [path for path in self.folder.rglob("*.old") if path.name.startswith(".")]:
                restore_replaced(old)
            for stale in [path for path in self.folder.rglob("*.part") if path.name.startswith(".")]:
                shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)
            yield self

    def is_done(self, step: str, *, inputs: Mapping[str, str], asked: Mapping[str, Any]) -> bool:
        """Whether the step was finished with these inputs and settings and all it made is still whole."""
        record = self.manifest.steps.get(step)
        if record is None or record.finished is None:
            return False
        if dict(record.inputs) != dict(inputs) or dict(record.asked) != plain(asked):
            return False
        return self._whole(record)

    def differences(self, step: str, *, inputs: Mapping[str, str], asked: Mapping[str, Any]) -> list[str]:
        """How this step differs from the one begun before, a phrase each; empty where it is the same or new."""
        record = self.manifest.steps.get(step)
        if record is None:
            return []
        return differences(record.asked, plain(asked)) or [
            f"another {name}" if name in record.inputs and name in inputs else f"{name} {_CHANGE[name in inputs]}"
            for name in sorted(record.inputs.keys() | inputs.keys())
            if record.inputs.get(name) != inputs.get(name)
        ]

    def forget(self, *steps: str) -> tuple[str, ...]:
        """Take steps out of run.json, so that they are done again. Returns what they made, which stays."""
        made = tuple(
            path for name in steps if name in self.manifest.steps for path in self.manifest.steps[name].outputs
        )
        kept = {name: record for name, record in self.manifest.steps.items() if name not in steps}
        self.manifest = replace(self.manifest, steps=kept)
        self.manifest.write(self.folder)
        return made

    def remove_unmade(self, paths: Iterable[str]) -> None:
        """Remove those of these files that no step has made by now: what forgotten steps made, and none made again."""
        recorded = {path for record in self.manifest.steps.values() for path in record.outputs}
        for path in set(paths) - recorded:
            inside(self.folder, path).unlink(missing_ok=True)

    @contextlib.contextmanager
    def step(
        self,
        name: str,
        *,
        inputs: Mapping[str, str],
        asked: Mapping[str, Any],
        command: str,
        keeps_earlier: bool = False,
    ) -> Iterator[Made]:
        """Do a step inside: it is recorded as begun, and as finished with what was made once the block ends well.

        `command` makes the outputs anew; {run} in it stands for the run's folder. After an error or an interruption
        the step stays begun, so that the same command does it again; with `keeps_earlier` it is what it was before,
        where what was made then is still whole.
        """
        before = self.manifest.steps.get(name)
        begun = self.begin(name, inputs=inputs, asked=asked, command=command)
        started, made = time.monotonic(), Made()
        try:
            yield made
        except BaseException:
            # What an earlier one made is as good as it was, unless something of it was changed meanwhile.
            if before is not None and before.finished is not None and keeps_earlier and self._whole(before):
                self._write(name, before)
            raise
        outputs = {path.relative_to(self.folder).as_posix(): _record(path) for path in _files(made.paths)}
        seconds = round(time.monotonic() - started, 2)
        self._write(name, replace(begun, outputs=outputs, finished=now(), seconds=seconds))

    def begin(self, name: str, *, inputs: Mapping[str, str], asked: Mapping[str, Any], command: str) -> StepRecord:
        """Record a step as begun: what was asked for is known from then on, and what goes on with it."""
        begun = StepRecord(plain(asked), dict(inputs), command, now(), versions())
        self._write(name, begun)
        return begun

    def note_teacher(self, teacher: TeacherRecord) -> None:
        """Put the teacher into run.json."""
        if teacher == self.manifest.teacher:
            return
        self.manifest = replace(self.manifest, teacher=teacher)
        self.manifest.write(self.folder)

    def verify(self, *paths: Path) -> None:
        """Check recorded files, or with no path all of them, against their digests.

        Raises RunError naming the first that is missing or altered, and the command that makes it anew.
        """
        wanted = {Path(path).relative_to(self.folder).as_posix() for path in paths}
        for record in self.manifest.steps.values():
            for path, file in record.outputs.items():
                meant = any(path == entry or path.startswith(f"{entry}/") for entry in wanted)
                if (meant or not wanted) and (fault := self._fault(path, file)):
                    raise RunError(f"{self.folder / path} {fault}", fix=f"Make it anew: {self.command(record.command)}")
        recorded = [path for record in self.manifest.steps.values() for path in record.outputs]
        for entry in sorted(wanted):
            if not any(path == entry or path.startswith(f"{entry}/") for path in recorded):
                raise RunError(
                    f"{self.folder / entry} was not made by a finished step of this run", fix=self._next_command()
                )

    def faults(self) -> list[RunError]:
        """Everything that is not whole: recorded files that are missing or altered, and steps that did not finish."""
        found = [
            RunError(f"{self.folder / path} {fault}", fix=f"Make it anew: {self.command(record.command)}")
            for record in self.manifest.steps.values()
            for path, file in record.outputs.items()
            if (fault := self._fault(path, file))
        ]
        for name in self.unfinished():
            command = self.command(self.manifest.steps[name].command)
            found.append(RunError(f"{self.folder}: the step {name} is unfinished", fix=f"Go on: {command}"))
        return found

    def digest(self, path: Path) -> str:
        """The recorded SHA-256 of a file of the run, once `verify` has found it whole."""
        self.verify(path)
        name = Path(path).relative_to(self.folder).as_posix()
        found = [record.outputs[name] for record in self.manifest.steps.values() if name in record.outputs]
        return found[-1].sha256

    def unfinished(self) -> list[str]:
        """The steps that were begun and not finished."""
        return [name for name, record in self.manifest.steps.items() if record.finished is None]

    def _next_command(self) -> str:
        for name in self.unfinished():
            return f"The step {name} is unfinished. Go on: {self.command(self.manifest.steps[name].command)}"
        return f"Make it: edgekd distill --out {shlex.quote(str(self.folder))}"

    def command(self, recorded: str) -> str:
        """A command that a step recorded, for this run where it lies now."""
        return recorded.replace("{run}", shlex.quote(str(self.folder)))

    def _write(self, name: str, record: StepRecord) -> None:
        self.manifest = replace(self.manifest, steps={**self.manifest.steps, name: record})
        self.manifest.write(self.folder)

    def _whole(self, record: StepRecord) -> bool:
        return not any(self._fault(path, file) for path, file in record.outputs.items())

    def _fault(self, path: str, file: FileRecord) -> str | None:
        """What is wrong with a recorded file, None when it is whole."""
        return fault_of(inside(self.folder, path), file.sha256, file.size)


class Made:
    """Collects what a step makes: files, or folders of which every file counts."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    def add(self, *paths: Path) -> None:
        self.paths += paths


def _files(paths: Iterable[Path]) -> list[Path]:
    files: set[Path] = set()
    for path in paths:
        inside = [entry for entry in path.rglob("*") if entry.is_file()] if path.is_dir() else [path]
        files.update(entry for entry in inside if not entry.name.startswith("."))
    return sorted(files)


def _record(path: Path) -> FileRecord:
    if not path.is_file():
        raise FileError(f"{path} was to be made and is not there", fix="Run the same command again")
    return FileRecord(sha256_file(path), path.stat().st_size)


def require_empty(folder: Path) -> None:
    """Raise RunError when a folder holds anything but hidden files."""
    if any(not entry.name.startswith(".") for entry in folder.iterdir()):
        what = "a run already" if (folder / NAME).exists() else "other files and no run"
        raise RunError(f"{folder} holds {what}", fix="Choose another --out")
