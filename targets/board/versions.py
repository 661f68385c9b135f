"""Where TensorRT 8.5, 8.6, 10, 11 and TensorRT for RTX differ: each difference once, with a name.

Everything else that edgekd calls (named tensors, execute_async_v3, build_serialized_network, memory pools) is the same
in all of them. A difference is read from the module itself where it shows, otherwise from its version.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from targets.board.errors import InputError
from targets.board.options import EngineOptions

if TYPE_CHECKING:
    from targets.tensorrt_api import TensorRTModule

__all__ = ["Versions"]


class Versions:
    """The differences of one TensorRT module."""

    def __init__(self, trt: TensorRTModule) -> None:
        self.trt = trt
        self.text = str(trt.__version__)
        digits = [int(part) for part in re.findall(r"\d+", self.text)]
        self.number = digits[0], digits[1]
        self.rtx = "rtx" in trt.__name__

    @property
    def strongly_typed(self) -> bool:
        """Whether the model's types decide the precision; before TensorRT 10, flags permit lower precision."""
        return hasattr(self.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    def network_flags(self, options: EngineOptions) -> int:
        """8: EXPLICIT_BATCH alone. 10: both, the first without effect. 11 and RTX: STRONGLY_TYPED alone."""
        kinds = self.trt.NetworkDefinitionCreationFlag
        wanted = ["EXPLICIT_BATCH"] + (["STRONGLY_TYPED"] if not self._weakly_typed_for_dla(options) else [])
        return sum(1 << int(getattr(kinds, name)) for name in wanted if hasattr(kinds, name))

    def precision_flags(self, precision: str, options: EngineOptions) -> list[str]:
        """The builder flags that permit half precision and int8, where types alone do not decide."""
        if self.strongly_typed and not self._weakly_typed_for_dla(options):
            return []
        return {"fp16": ["FP16"], "int8": ["FP16", "INT8"]}.get(precision, [])

    def configure(self, config: Any, builder: Any, precision: str, options: EngineOptions) -> None:
        """Set the options on a builder configuration. Raises InputError for one that this version does not have."""
        trt, flags = self.trt, self.precision_flags(precision, options)
        if options.workspace is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace << 20)
        if options.effort is not None:
            self._require(hasattr(config, "builder_optimization_level"), "effort", "8.6")
            config.builder_optimization_level = options.effort
        if options.tactics:
            config.set_tactic_sources(self._tactics(options.tactics))
        if options.version_compatible:
            self._require(hasattr(trt.BuilderFlag, "VERSION_COMPATIBLE") and not self.rtx, "version-compatible", "8.6")
            flags.append("VERSION_COMPATIBLE")
        if options.hardware_compatible:
            self._require(hasattr(trt, "HardwareCompatibilityLevel") and not self.rtx, "hardware-compatible", "8.6")
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        if options.dla is not None:
            self._use_dla(config, builder, precision, options)
            flags.append("GPU_FALLBACK")
        for flag in flags:
            config.set_flag(getattr(trt.BuilderFlag, flag))

    @property
    def keeps_timings(self) -> bool:
        """RTX chooses its kernels where the engine runs; its timing cache has no effect and needs a device."""
        return not self.rtx

    def context(self, engine: Any) -> Any:
        """An execution context. RTX compiles its kernels when it opens, not in the background while it runs."""
        if not self.rtx:
            return engine.create_execution_context()
        config = engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = self.trt.DynamicShapesKernelSpecializationStrategy.EAGER
        return engine.create_execution_context(config)

    def _weakly_typed_for_dla(self, options: EngineOptions) -> bool:
        # Up to 10.7, flags set the precision of DLA; it returned in 11.4, typed like the GPU.
        return options.dla is not None and self.number < (11, 0)

    def _tactics(self, names: str) -> int:
        """The bits of tactic sources, whose names differ between versions."""
        known = [name for name in dir(self.trt.TacticSource) if name.isupper()]
        for name in names.split("+"):
            if name not in known:
                raise InputError(f"TensorRT {self.text} has no tactics {name}", f"It has {', '.join(known)}")
        return sum(1 << int(getattr(self.trt.TacticSource, name)) for name in names.split("+"))

    def _use_dla(self, config: Any, builder: Any, precision: str, options: EngineOptions) -> None:
        if precision == "fp32" or (precision == "int8" and self._weakly_typed_for_dla(options)):
            fix = "Use fp16; DLA reads int8 Q/DQ from TensorRT 11.4 on and has no fp32"
            raise InputError(f"DLA with TensorRT {self.text} has no {precision}", fix)
        cores = int(getattr(builder, "num_DLA_cores", 0))
        if (options.dla or 0) >= cores:
            have = "none" if not cores else f"{cores}"
            fix = "Omit dla; DLA exists on Orin and Xavier, with TensorRT up to 10.7 and from 11.4"
            raise InputError(f"No DLA core {options.dla} on this device: TensorRT {self.text} sees {have}", fix)
        config.default_device_type = self.trt.DeviceType.DLA
        config.DLA_core = options.dla

    def _require(self, has: bool, option: str, since: str) -> None:
        if not has:
            name = "TensorRT for RTX" if self.rtx else "TensorRT"
            fix = "Omit it" if self.rtx else f"Omit it, or use TensorRT {since} or newer"
            raise InputError(f"{name} {self.text} has no option {option}", fix)
