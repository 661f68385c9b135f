"""Differences between versions of TensorRT. The modules here contain what the documentation of each version lists;
TensorRT for RTX is the real one."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType, SimpleNamespace

import pytest

from targets import tensorrt_api
from targets.board.errors import InputError
from targets.board.options import EngineOptions
from targets.board.trtexec import trtexec_line
from targets.board.versions import Versions
from targets.tensorrt_rtx import installed_module

PLAIN = EngineOptions()


def tensorrt(version: str, kinds: dict[str, int], flags: tuple[str, ...], **more: object) -> ModuleType:
    module = ModuleType("tensorrt")
    module.__version__ = version
    module.NetworkDefinitionCreationFlag = SimpleNamespace(**kinds)
    module.BuilderFlag = SimpleNamespace(**{flag: flag for flag in flags})
    module.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    module.DeviceType = SimpleNamespace(DLA="dla")
    for name, value in more.items():
        setattr(module, name, value)
    return module


LEVELS = SimpleNamespace(AMPERE_PLUS="ampere+")
V85 = tensorrt("8.5.2.2", {"EXPLICIT_BATCH": 0}, ("FP16", "INT8", "GPU_FALLBACK"))
V86 = tensorrt(
    "8.6.1",
    {"EXPLICIT_BATCH": 0},
    ("FP16", "INT8", "GPU_FALLBACK", "VERSION_COMPATIBLE"),
    HardwareCompatibilityLevel=LEVELS,
)
V10 = tensorrt(
    "10.3.0",
    {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1},
    ("FP16", "INT8", "GPU_FALLBACK", "VERSION_COMPATIBLE"),
    HardwareCompatibilityLevel=LEVELS,
)
V11 = tensorrt(
    "11.4.1", {"STRONGLY_TYPED": 1}, ("GPU_FALLBACK", "VERSION_COMPATIBLE"), HardwareCompatibilityLevel=LEVELS
)


class Config:
    """Records what is set; `builder_optimization_level` came with 8.6."""

    def __init__(self, module: ModuleType) -> None:
        self.flags: list[str] = []
        self.pools: dict[str, int] = {}
        if module is not V85:
            self.builder_optimization_level = 3

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size


def configured(module: ModuleType, precision: str, options: EngineOptions, cores: int = 0) -> Config:
    config = Config(module)
    Versions(module).configure(config, SimpleNamespace(num_DLA_cores=cores), precision, options)
    return config


@pytest.mark.parametrize(("module", "flags"), [(V85, 1), (V86, 1), (V10, 3), (V11, 2)])
def test_networks_are_strongly_typed_where_that_exists(module: ModuleType, flags: int) -> None:
    assert Versions(module).network_flags(PLAIN) == flags
    assert Versions(module).strongly_typed == (module in (V10, V11))


@pytest.mark.parametrize(("precision", "flags"), [("fp32", []), ("fp16", ["FP16"]), ("int8", ["FP16", "INT8"])])
def test_flags_permit_what_types_do_not_say(precision: str, flags: list[str]) -> None:
    assert configured(V85, precision, PLAIN).flags == configured(V86, precision, PLAIN).flags == flags
    assert configured(V10, precision, PLAIN).flags == configured(V11, precision, PLAIN).flags == []


def test_options_of_newer_versions_are_refused_by_older_ones() -> None:
    everything = EngineOptions(256, 5, True, True)
    config = configured(V86, "fp16", everything)
    assert config.pools == {"workspace": 256 << 20} and config.builder_optimization_level == 5
    assert config.flags == ["FP16", "VERSION_COMPATIBLE"] and config.hardware_compatibility_level == "ampere+"
    for option in (
        EngineOptions(effort=5),
        EngineOptions(version_compatible=True),
        EngineOptions(hardware_compatible=True),
    ):
        with pytest.raises(InputError, match=r"TensorRT 8\.5\.2\.2 has no option .* 8\.6 or newer"):
            configured(V85, "fp32", option)


def test_dla_takes_its_precision_from_flags_before_11_and_from_types_after() -> None:
    core = EngineOptions(dla=1)
    old, new = configured(V10, "fp16", core, cores=2), configured(V11, "fp16", core, cores=2)
    assert old.flags == ["FP16", "GPU_FALLBACK"] and new.flags == ["GPU_FALLBACK"]
    assert (old.default_device_type, old.DLA_core) == ("dla", 1)
    assert Versions(V10).network_flags(core) == 1 and Versions(V11).network_flags(core) == 2
    with pytest.raises(InputError, match=r"DLA with TensorRT 10\.3\.0 has no int8"):
        configured(V10, "int8", core, cores=2)
    with pytest.raises(InputError, match=r"No DLA core 1 on this device: .* sees none"):
        configured(V11, "int8", core, cores=0)


def test_trtexec_is_asked_for_the_same() -> None:
    line = trtexec_line("trtexec", (11, 4), "m", "e", (2, 3), "fp16", EngineOptions(256, 4, True, True, 0))
    assert line == (
        "trtexec --onnx=m --saveEngine=e --minShapes=image:1x2x3x3 --optShapes=image:1x2x3x3 "
        "--maxShapes=image:1x2x3x3 --memPoolSize=workspace:256 --builderOptimizationLevel=4 --versionCompatible "
        "--hardwareCompatibilityLevel=ampere+ --useDLACore=0 --allowGPUFallback"
    )


def test_trtexec_leaves_out_the_tactics_that_were_not_asked_for() -> None:
    """--tacticSources only changes TensorRT's default set, so other tactics have to be removed by name."""
    asked = EngineOptions(tactics="JIT_CONVOLUTIONS+CUDNN")
    assert "--tacticSources=+JIT_CONVOLUTIONS,+CUDNN,-EDGE_MASK_CONVOLUTIONS,-CUBLAS,-CUBLAS_LT" in (
        trtexec_line("trtexec", (10, 3), "m", "e", (2, 3), "fp16", asked).split()
    )
    asked = EngineOptions(tactics="JIT_CONVOLUTIONS")
    assert trtexec_line("trtexec", (11, 4), "m", "e", (2, 3), "fp16", asked).endswith(
        "--tacticSources=+JIT_CONVOLUTIONS,-EDGE_MASK_CONVOLUTIONS"
    )


INTERFACES = {
    "Builder": "Builder", "Config": "IBuilderConfig", "Context": "IExecutionContext", "Engine": "ICudaEngine",
    "Parser": "OnnxParser", "Profile": "IOptimizationProfile", "Runtime": "Runtime",
}  # fmt: skip


@pytest.mark.parametrize("name", [*INTERFACES, "TensorRTModule"])
def test_rtx_has_all_that_edgekd_calls(name: str) -> None:
    module = installed_module()
    if module is None:
        pytest.skip("TensorRT for RTX is not installed")
    trt = importlib.import_module(module)
    protocol = getattr(tensorrt_api, name)
    members = {n for n, _ in inspect.getmembers(protocol) if not n.startswith("_")}
    members |= {n for n in protocol.__annotations__ if not n.startswith("__")}
    assert members
    owner = trt if name == "TensorRTModule" else getattr(trt, INTERFACES[name])
    assert [member for member in sorted(members) if not hasattr(owner, member)] == []


def test_rtx_is_what_versions_takes_it_for() -> None:
    module = installed_module()
    if module is None:
        pytest.skip("TensorRT for RTX is not installed")
    trt = importlib.import_module(module)
    versions = Versions(trt)
    assert versions.rtx and versions.strongly_typed and not versions.keeps_timings
    assert hasattr(trt.DynamicShapesKernelSpecializationStrategy, "EAGER")
