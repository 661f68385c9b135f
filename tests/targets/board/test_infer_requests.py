"""OpenVINO's requests, shared by threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from small_network import HEIGHT, WIDTH, pictures, reference_depth, save, small_network

from targets.board.infer_requests import InferRequests
from targets.board.silence import import_openvino


def test_threads_get_the_depth_of_their_own_pictures(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO runs the model")
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    path = save(small_network(), tmp_path / "small.onnx")
    requests = InferRequests(import_openvino().Core(), path, (HEIGHT, WIDTH), "CPU", settings)
    images = pictures(4, seed=3)
    expected = reference_depth(small_network(), images)

    def worst(number: int) -> float:
        one = slice(number, number + 1)
        return max(float(np.abs(requests.infer(images[one]) - expected[one]).max()) for _ in range(200))

    with ThreadPoolExecutor(4) as threads:
        assert max(threads.map(worst, range(4))) < 1e-3
    requests.close()
