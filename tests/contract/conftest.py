from __future__ import annotations

from pathlib import Path

import pytest
from small_network import pictures, save, small_network

from calibration.images import CalibrationSet


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(small_network(), tmp_path_factory.mktemp("student") / "student.onnx")


@pytest.fixture(scope="session")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    folder = tmp_path_factory.mktemp("calibration") / "calibration"
    return CalibrationSet.write(folder, pictures(40), origin="test pictures", made_from={"seed": "0"})
