"""Which networks of segmentation_models_pytorch and timm can be teachers, and how near are students cut out of them?

    pip install segmentation-models-pytorch
    python examples/teachers/library_networks.py                        # about half an hour on one core
    python examples/teachers/library_networks.py FPN-resnet18 Unet-tu-ghostnet_100

Each is a decoder over an encoder, with random weights and BatchNorm statistics of test pictures, at 96x128. Printed:
how far the depth of its ONNX file, as edgekd reads it, is from its own; the share of its parameters that a student with
half of the channels has; how many of the student's convolutions are solved for; and the student's mean error as it was
cut and solved for, as a share of the depth's mean deviation, on pictures that neither saw.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from calibration.errors import EdgekdError, MissingRuntimeError
from calibration.script import run_script
from edgekd.distill.counterparts import fit_norms
from edgekd.distill.reconstruction import reconstruct, solvable
from edgekd.models.added_norms import with_norms
from edgekd.models.batch_norm import batch_norm_layers
from edgekd.models.checks import check_teacher
from edgekd.models.freeze import freeze
from edgekd.models.pictures import NormalisePictures, probe_pictures
from edgekd.models.slim import slim
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from targets.input import Framing, InputSpec

INPUT = InputSpec(Framing(96, 128))
CUT, RIDGE, SOLVED_ON = 0.5, 0.1, 48

DECODERS = (
    "Unet", "UnetPlusPlus", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "Linknet", "MAnet", "UPerNet", "Segformer",
)  # fmt: skip
ENCODERS = (
    "resnext50_32x4d", "efficientnet-b0", "timm-mobilenetv3_small_100", "mobilenet_v2", "mobileone_s0", "vgg11_bn",
    "densenet121", "se_resnet50", "dpn68", "xception", "inceptionv4", "mit_b0", "timm-skresnet18", "timm-gernet_s",
    "tu-convnext_atto", "tu-regnety_002", "tu-ghostnet_100", "tu-hrnet_w18_small", "tu-res2net50_26w_4s",
    "tu-rexnet_100", "tu-mobilevit_xxs", "tu-repvgg_a0", "tu-fastvit_t8", "tu-mobilenetv4_conv_small",
    "tu-efficientvit_b0", "tu-cspresnet50", "tu-darknet53", "tu-ecaresnet26t", "tu-resnetv2_50", "tu-mnasnet_050",
    "tu-tinynet_a", "tu-lcnet_050", "tu-dla34", "tu-selecsls42", "tu-repghostnet_050", "tu-starnet_s1", "vgg11",
    "tu-resnetv2_50d_gn",
)  # fmt: skip
NETWORKS = (*(f"{decoder}-resnet18" for decoder in DECODERS), *(f"Unet-{encoder}" for encoder in ENCODERS))


class Metres(nn.Module):
    """A network whose one channel becomes a positive depth."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.softplus(self.network(x)) + 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS, metavar="NAME", help="DECODER-ENCODER")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # of torch's exporter, for each network
    print(f"torch {torch.__version__}, {_version()}, a cut of {CUT:.0%}, solved on {SOLVED_ON} pictures")
    print("\n| network | ONNX file apart | parameters left | solved for | error as cut | solved | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.networks:
        print(f"| {name} | {' | '.join(_row(name))} |", flush=True)


def _version() -> str:
    try:
        import segmentation_models_pytorch
        import timm
    except ImportError as error:
        raise MissingRuntimeError(str(error), fix="Run pip install segmentation-models-pytorch") from error
    return f"segmentation_models_pytorch {segmentation_models_pytorch.__version__}, timm {timm.__version__}"


def efficientnet() -> nn.Module:
    """A teacher for commands of edgekd: `--teacher library_networks:efficientnet`."""
    spec = InputSpec(Framing(192, 256))
    shown = NormalisePictures(spec)(torch.from_numpy(probe_pictures(192, 256, 48)))
    network = _trained(_made("Unet-efficientnet-b0"), shown)
    network.input = spec  # type: ignore[assignment] # where a factory states it
    return network


def _made(name: str) -> nn.Module:
    import segmentation_models_pytorch

    decoder, _, encoder = name.partition("-")
    torch.manual_seed(0)
    return Metres(getattr(segmentation_models_pytorch, decoder)(encoder, encoder_weights=None, classes=1))


def _row(name: str) -> list[str]:
    network = _made(name)
    shown = NormalisePictures(INPUT)(torch.from_numpy(probe_pictures(INPUT.height, INPUT.width, 112)))
    learnt, solved_on, held_out = shown.split([48, SOLVED_ON, 16])
    teacher = freeze(Teacher(name, _trained(network, learnt), INPUT, digest="0" * 64, source="random weights"))
    check_teacher(teacher)
    try:
        apart = f"{_onnx_apart(teacher, held_out):.0e}"
    except EdgekdError as error:
        apart = error.message
    except torch.onnx.errors.OnnxExporterError as error:
        apart = f"torch: {str(error).split('.')[0]}"
    try:
        return [apart, *_cut(teacher, solved_on, held_out)]
    except EdgekdError as error:
        return [apart, error.message, "", "", "", ""]


@torch.no_grad()
def _trained(network: nn.Module, pictures: Tensor) -> nn.Module:
    """The network, with BatchNorm layers that do something and have seen pictures."""
    for layer in batch_norm_layers(network).values():
        if layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0.0, 0.2)
    network.train()
    for some in pictures.split(8) * 2:
        network(some)
    return network.eval()


def _onnx_apart(teacher: Teacher, pictures: Tensor) -> float:
    """The greatest difference of the depth of the network's ONNX file, exported with its BatchNorm layers and read
    back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        with _silent():
            torch.onnx.export(
                teacher.module, (pictures[:1],), path, dynamo=False, training=torch.onnx.TrainingMode.PRESERVE
            )
        read = load_teacher(str(path)).module
    return float((read(pictures) - teacher.module(pictures)).abs().max())


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Discard what is written to stdout, also from C++: torch prints the whole graph where an export fails."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _cut(teacher: Teacher, solved_on: Tensor, held_out: Tensor) -> list[str]:
    begun = time.monotonic()
    teacher = with_norms(teacher)
    fit_norms(teacher.module, solved_on.split(16))
    student = slim(teacher, CUT, solved_on.split(16))
    left = sum(weights.numel() for weights in student.parameters()) / sum(
        weights.numel() for weights in teacher.module.parameters()
    )
    depth = teacher.module(held_out)

    @torch.no_grad()
    def error() -> str:
        return f"{float((student.eval()(held_out) - depth).abs().mean() / (depth - depth.mean()).abs().mean()):.2f}"

    before = error()
    solved, convolutions = solvable(student, teacher.module, (INPUT.height, INPUT.width))
    reconstruct(student, teacher.module, solved_on.split(16), RIDGE)
    return [f"{left:.2f}", f"{solved} of {convolutions}", before, error(), f"{time.monotonic() - begun:.0f}"]


if __name__ == "__main__":
    run_script(main)
