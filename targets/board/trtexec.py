"""The line for TensorRT's own command that builds the same engine, for those who would rather not use Python."""

from __future__ import annotations

from targets.board.options import EngineOptions

__all__ = ["trtexec_line"]

# All sources to switch off when some are chosen: trtexec adds to and removes from TensorRT's defaults, which differ
# between versions. 11 knows only the first two.
_TACTICS = ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS", "CUBLAS", "CUBLAS_LT", "CUDNN")


def trtexec_line(
    program: str,
    version: tuple[int, int] | None,
    onnx: str,
    engine: str,
    size: tuple[int, int],
    precision: str,
    options: EngineOptions,
) -> str:
    """The command for a TensorRT of `version`; None stands for 10, whose options most releases know."""
    major = (version or (10, 0))[0]
    most = options.most
    words = [program, "--onnx=" + onnx, "--saveEngine=" + engine]
    for bound, count in (("min", 1), ("opt", 1), ("max", most)):
        words.append("--{}Shapes=image:{}x{}x{}x3".format(bound, count, *size))
    if major == 10 and options.dla is None:
        words.append("--stronglyTyped")  # 11 has no other mode
    elif major < 11:
        words += {"fp16": ["--fp16"], "int8": ["--fp16", "--int8"]}.get(precision, [])
    if options.workspace is not None:
        words.append(f"--memPoolSize=workspace:{options.workspace}")
    if options.effort is not None:
        words.append(f"--builderOptimizationLevel={options.effort}")
    if options.tactics:
        wanted = options.tactics.split("+")
        others = [name for name in _TACTICS[: 2 if major >= 11 else None] if name not in wanted]
        words.append("--tacticSources=" + ",".join([f"+{name}" for name in wanted] + [f"-{name}" for name in others]))
    if options.version_compatible:
        words.append("--versionCompatible")
    if options.hardware_compatible:
        words.append("--hardwareCompatibilityLevel=ampere+")
    if options.dla is not None:
        words += [f"--useDLACore={options.dla}", "--allowGPUFallback"]
    return " ".join(words)
