"""Does this processor sum int8 products exactly? One without VNNI saturates the sum of each pair at 16 bits.

Without VNNI, ONNX Runtime and OpenVINO both use the instruction that does so (vpmaddubsw). After a ReLU, large codes
rarely coincide; an activation that may be negative lies around code 128 everywhere, so there they do.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from targets.reference import open_session

__all__ = ["saturates_products"]

_COUNT = 64


@cache
def saturates_products() -> bool:
    """Whether sums of the largest codes come out too small, tried with ONNX Runtime."""
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.full((_COUNT, _COUNT), 127, np.int8), "weights")
    codes = helper.make_tensor_value_info("codes", TensorProto.UINT8, [_COUNT, _COUNT])
    sums = helper.make_tensor_value_info("sums", TensorProto.INT32, [_COUNT, _COUNT])
    node = helper.make_node("MatMulInteger", ["codes", "weights"], ["sums"])
    graph = helper.make_graph([node], "products", [codes], [sums], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (found,) = open_session(model).run(["sums"], {"codes": np.full((_COUNT, _COUNT), 255, np.uint8)})
    return bool((found != 255 * 127 * _COUNT).any())
