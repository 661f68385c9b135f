"""A run: its folder, its manifest, and which of its steps are done."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from calibration.errors import FileError, RunError
from calibration.files import clear_remains, fault_of, inside, name_of, sha256_file
from calibration.progress import Progress, Quiet
from edgekd.run.lock import LOCK, locked, writer_of
from edgekd.run.manifest import NAME, FileRecord, Manifest, StepRecord, TeacherRecord, differences, now, plain
from edgekd.run.versions import versions

__all__ = ["Run", "require_empty"]

_QUIET = Quiet()
_CHANGE = {True: "omitted instead of given", False: "given instead of omitted"}  # by whether it is given now


class Run:
    """A run folder. Methods that change it must be called while `lock` is held."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def create(cls, folder: Path, teacher: TeacherRecord | None = None) -> Run:
        """Start a run in a new or empty folder. Raises RunError when it holds something, RunLockedError."""
        folder = Path(folder)
        with locked(folder):
            require_empty(folder)
            manifest = Manifest(created=now(), edgekd=versions()["edgekd"], teacher=teacher)
            manifest.write(folder)
        return cls(folder, manifest)

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open a run. Raises FileError or RunError when run.json is missing or not valid."""
        folder = Path(folder)
        return cls(folder, Manifest.read(folder))

    @classmethod
    def open_or_create(cls, folder: Path, teacher: TeacherRecord | None = None) -> Run:
        """The run in `folder`, started if there is none."""
        return cls.open(folder) if cls.exists(folder) else cls.create(folder, teacher)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether the folder holds a run."""
        return (Path(folder) / NAME).is_file()

    @property
    def name(self) -> str:
        return name_of(self.folder)

    @property
    def caution(self) -> str | None:
        """A caution for readers of the run's depth if its unit is not metres, else None."""
        return None if self.manifest.teacher is None else self.manifest.teacher.caution

    @contextlib.contextmanager
    def lock(self, progress: Progress = _QUIET) -> Iterator[Run]:
        """Lock the run for writing by one process. Raises RunLockedError naming the process that holds it.

        Reads the manifest again and cleans up what a killed process left half-written, but not in a run inside this
        one, which has a lock of its own and may be being written.
        """
        with locked(self.folder, progress):
            self.manifest = Manifest.read(self.folder)
            clear_remains(self._remains(".old"), self._remains(".part"))
            yield self

    def is_done(self, step: str, *, inputs: Mapping[str, str], asked: Mapping[str, Any]) -> bool:
        """Whether the step finished with these inputs and settings, and all its outputs are still intact."""
        record = self.manifest.steps.get(step)
        if record is None or record.finished is None:
            return False
        if dict(record.inputs) != dict(inputs) or dict(record.asked) != plain(asked):
            return False
        return self._whole(record)

    def differences(self, step: str, *, inputs: Mapping[str, str], asked: Mapping[str, Any]) -> list[str]:
        """Phrases that say how this step differs from its record; empty if it is the same or has no record."""
        record = self.manifest.steps.get(step)
        if record is None:
            return []
        return differences(record.asked, plain(asked)) or [
            f"another {name}" if name in record.inputs and name in inputs else f"{name} {_CHANGE[name in inputs]}"
            for name in sorted(record.inputs.keys() | inputs.keys())
            if record.inputs.get(name) != inputs.get(name)
        ]

    def forget(self, *steps: str) -> tuple[str, ...]:
        """Remove steps from run.json, so that they are done again. Returns their files, which are kept."""
        made = tuple(
            path for name in steps if name in self.manifest.steps for path in self.manifest.steps[name].outputs
        )
        kept = {name: record for name, record in self.manifest.steps.items() if name not in steps}
        self.manifest = replace(self.manifest, steps=kept)
        self.manifest.write(self.folder)
        return made

    def remove_unmade(self, paths: Iterable[str]) -> None:
        """Remove those of these files that no recorded step made: leftovers of steps that were forgotten."""
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
    ) -> Iterator[StepOutputs]:
        """Do a step inside the block: record it as begun, and as finished with its outputs when the block succeeds.

        `command` rebuilds the outputs; {run} in it stands for the run's folder. After an error or an interruption
        the step stays begun, so that the same command does it again. With `keeps_earlier`, the earlier record is
        restored instead if it was finished and its outputs are still intact.
        """
        before = self.manifest.steps.get(name)
        begun = self.begin(name, inputs=inputs, asked=asked, command=command)
        started, made = time.monotonic(), StepOutputs()
        try:
            yield made
        except BaseException:
            # The earlier outputs are still valid, unless one of them was changed in the meantime.
            if before is not None and before.finished is not None and keeps_earlier and self._whole(before):
                self._write(name, before)
            raise
        outputs = {path.relative_to(self.folder).as_posix(): _record(path) for path in _files(made.paths)}
        seconds = round(time.monotonic() - started, 2)
        self._write(name, replace(begun, outputs=outputs, finished=now(), seconds=seconds))

    def begin(self, name: str, *, inputs: Mapping[str, str], asked: Mapping[str, Any], command: str) -> StepRecord:
        """Record a step as begun, so that what was asked for and the command to resume it are known from then on."""
        begun = StepRecord(plain(asked), dict(inputs), command, now(), versions())
        self._write(name, begun)
        return begun

    def note_teacher(self, teacher: TeacherRecord) -> None:
        """Record the teacher in run.json."""
        if teacher == self.manifest.teacher:
            return
        self.manifest = replace(self.manifest, teacher=teacher)
        self.manifest.write(self.folder)

    def verify(self, *paths: Path) -> None:
        """Check recorded files, or with no path all of them, against their digests.

        Raises RunError naming the first file that is missing or altered, and the command that rebuilds it.
        """
        wanted = {Path(path).relative_to(self.folder).as_posix() for path in paths}
        for record in self.manifest.steps.values():
            for path, file in record.outputs.items():
                meant = any(path == entry or path.startswith(f"{entry}/") for entry in wanted)
                if (meant or not wanted) and (fault := self._fault(path, file)):
                    raise RunError(f"{self.folder / path} {fault}", fix=f"Rebuild it: {self.command(record.command)}")
        recorded = [path for record in self.manifest.steps.values() for path in record.outputs]
        for entry in sorted(wanted):
            if not any(path == entry or path.startswith(f"{entry}/") for path in recorded):
                raise RunError(
                    f"{self.folder / entry} was not made by a finished step of this run", fix=self._next_command()
                )

    def faults(self) -> list[RunError]:
        """All faults: recorded files that are missing or altered, and steps that did not finish."""
        found = [
            RunError(f"{self.folder / path} {fault}", fix=f"Rebuild it: {self.command(record.command)}")
            for record in self.manifest.steps.values()
            for path, file in record.outputs.items()
            if (fault := self._fault(path, file))
        ]
        writer = writer_of(self.folder)
        for name in self.unfinished():
            what = f"{self.folder}: the step {name} is unfinished"
            if writer is None:
                command = self.command(self.manifest.steps[name].command)
                found.append(RunError(what, fix=f"Resume: {command}"))
            else:
                found.append(RunError(f"{what}, and the run is being written by {writer}", fix="Wait until it is done"))
        return found

    def lost(self, step: str) -> str | None:
        """Which file of a finished step is missing or altered, in words; None if it did not finish or is intact."""
        record = self.manifest.steps.get(step)
        if record is None or record.finished is None:
            return None
        found = ((path, self._fault(path, file)) for path, file in record.outputs.items())
        return next((f"{self.folder / path} {fault}" for path, fault in found if fault), None)

    def digest(self, path: Path) -> str:
        """The recorded SHA-256 of a file of the run, after verifying that the file is intact."""
        self.verify(path)
        name = Path(path).relative_to(self.folder).as_posix()
        found = [record.outputs[name] for record in self.manifest.steps.values() if name in record.outputs]
        return found[-1].sha256

    def unfinished(self) -> list[str]:
        """The steps that were begun but not finished."""
        return [name for name, record in self.manifest.steps.items() if record.finished is None]

    def _next_command(self) -> str:
        for name in self.unfinished():
            return f"The step {name} is unfinished. Resume: {self.command(self.manifest.steps[name].command)}"
        for record in self.manifest.steps.values():  # a calibrated run is made by another verb than a distilled one
            return f"Make it: {self.command(record.command)}"
        return f"Make it: edgekd distill --out {shlex.quote(str(self.folder))}"

    def command(self, recorded: str) -> str:
        """A recorded command, with the run's present folder in place of {run}."""
        return recorded.replace("{run}", shlex.quote(str(self.folder)))

    def _remains(self, suffix: str) -> Iterator[Path]:
        """What killed writers of this run left under temporary names that end in `suffix`."""
        hidden = list(self.folder.rglob(".*"))
        inner = [path.parent for path in hidden if path.name == LOCK and path.parent != self.folder]
        for path in hidden:
            if path.name.endswith(suffix) and not any(path.is_relative_to(folder) for folder in inner):
                yield path

    def _write(self, name: str, record: StepRecord) -> None:
        self.manifest = replace(self.manifest, steps={**self.manifest.steps, name: record})
        self.manifest.write(self.folder)

    def _whole(self, record: StepRecord) -> bool:
        return not any(self._fault(path, file) for path, file in record.outputs.items())

    def _fault(self, path: str, file: FileRecord) -> str | None:
        """What is wrong with a recorded file; None if it is intact."""
        return fault_of(inside(self.folder, path), file.sha256, file.size)


class StepOutputs:
    """Collects what a step makes: files, or folders with all their files."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    def add(self, *paths: Path) -> None:
        self.paths += paths


def _files(paths: Iterable[Path]) -> list[Path]:
    files: set[Path] = set()
    for path in paths:
        entries = [entry for entry in path.rglob("*") if entry.is_file()] if path.is_dir() else [path]
        files.update(entry for entry in entries if not entry.name.startswith("."))
    return sorted(files)


def _record(path: Path) -> FileRecord:
    if not path.is_file():
        raise FileError(f"{path} should have been written and is missing", fix="Run the same command again")
    return FileRecord(sha256_file(path), path.stat().st_size)


def require_empty(folder: Path) -> None:
    """Raise RunError if the folder holds anything but hidden files."""
    if any(not entry.name.startswith(".") for entry in folder.iterdir()):
        what = "a run already" if (folder / NAME).exists() else "other files, not a run"
        raise RunError(f"{folder} holds {what}", fix="Choose another --out")
