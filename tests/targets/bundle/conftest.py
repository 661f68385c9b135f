"""A bundle for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_bundle import encodings, write
from small_network import save, small_network

from targets.bundle.write import Encoding, WrittenBundle


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Encoding]]:
    pytest.importorskip("onnxruntime", reason="the encodings are made with onnxruntime")
    folder = tmp_path_factory.mktemp("parts")
    student = save(small_network(), folder / "student.onnx")
    return student, encodings(folder, student)


@pytest.fixture
def bundle(parts: tuple[Path, list[Encoding]], tmp_path: Path) -> WrittenBundle:
    return write(parts, tmp_path / "small")
