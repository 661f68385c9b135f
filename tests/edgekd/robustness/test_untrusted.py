"""Files made to do harm: pickles, archives that climb, bombs, names that are markup or commands to a terminal."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.arrays import read_array
from calibration.errors import DataError, EdgekdError, FileError, RunError
from calibration.files import read_json
from edgekd.bench.gallery import Gallery
from edgekd.cli.app import run
from edgekd.evaluate.datasets.depth import read_depth
from edgekd.pictures.reading import read_picture
from edgekd.run import Run
from edgekd.simulate.readers import open_source
from edgekd.simulate.shards import index_shard
from edgekd.steps.check import read_references
from edgekd.steps.report import report_runs


class Attack:
    """Leaves a file behind when unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch attacked",))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def npy(array: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)  # type: ignore[arg-type]
    return buffer.getvalue()


PICKLED = npy(np.array([Attack()], dtype=object))


@pytest.mark.parametrize("content", [PICKLED, pickle.dumps(Attack())])
def test_no_reader_of_arrays_runs_a_pickle(content: bytes, tmp_path: Path, finished_run: Path) -> None:
    path = tmp_path / "depth.npy"
    path.write_bytes(content)
    with pytest.raises(FileError):
        read_array(path, fix="No")
    with pytest.raises(DataError):
        read_depth(path, 1.0)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        for name in ("about.npy", "held_out pictures.npy"):
            archive.writestr(name, content)
    with pytest.raises(FileError):
        Gallery.read(tmp_path / "b.npz")

    import shutil

    shutil.copytree(finished_run, tmp_path / "run")
    (tmp_path / "run" / "check" / "model.npy").write_bytes(content)
    opened = Run.open(tmp_path / "run")
    with opened.step("check", inputs={}, asked={}, command="x") as made:
        made.add(tmp_path / "run" / "check")
    with pytest.raises(FileError):
        read_references(opened)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors", ".onnx"])
@pytest.mark.parametrize("zipped", [True, False])
def test_no_reader_of_models_runs_a_pickle(suffix: str, zipped: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="teachers are loaded with torch")
    path = tmp_path / f"net{suffix}"
    torch.save({"state_dict": Attack()}, path, _use_new_zipfile_serialization=zipped)
    assert run(["distill", "--teacher", str(path), "--architecture", "mobile-s", "--out", "r"]) in (1, 2)
    assert not (tmp_path / "attacked").exists() and not (tmp_path / "r").exists()
    torch.load(io.BytesIO(path.read_bytes()), weights_only=False)  # the attack itself works
    assert (tmp_path / "attacked").exists()


def test_no_checkpoint_runs_a_pickle(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="checkpoints are torch's")
    from edgekd.distill.checkpoint import Checkpoint

    (tmp_path / "checkpoint").mkdir()
    torch.save({"key": Attack(), "step": 1, "state": {}}, tmp_path / "checkpoint" / "state.pt")
    with pytest.raises(RunError, match="cannot be read"):
        Checkpoint(tmp_path / "checkpoint", {}).load()
    assert not (tmp_path / "attacked").exists()


def test_declared_sizes_of_arrays_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "depth.npy"
    head = npy(np.zeros((11, 11), np.float32)).replace(b"(11, 11), }    ", b"(999999, 999999)")
    path.write_bytes(head)
    with pytest.raises(DataError, match="truncated"):
        read_depth(path, 1.0)


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("about.npy", "w", force_zip64=True) as stream,
    ):
        for _ in range(513):
            stream.write(bytes(1 << 20))
    assert (tmp_path / "b.npz").stat().st_size < 4 << 20
    with pytest.raises(FileError, match="more than 512 MB"):
        Gallery.read(tmp_path / "b.npz")


def png(width: int, height: int) -> bytes:
    """A PNG that declares a size but holds next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


def test_picture_bombs_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(60_000, 60_000))
    with pytest.raises(DataError, match="more than 89,478,485 pixels"):
        read_picture(path)
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "bomb.png")
    path.rename(tmp_path / "masks" / "bomb.png")
    with pytest.raises(DataError, match=r"masks/bomb\.png"):
        open_source(tmp_path)


def test_an_8k_picture_is_none(tmp_path: Path) -> None:
    Image.new("RGB", (7680, 4320), (1, 2, 3)).save(tmp_path / "8k.png", compress_level=1)
    picture = read_picture(tmp_path / "8k.png")
    assert picture.shape == (4320, 7680, 3) and picture[-1, -1].tolist() == [1, 2, 3]


def test_other_formats_than_pictures_are_not_opened(tmp_path: Path) -> None:
    # Pillow would hand PostScript to another program.
    (tmp_path / "page.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(touch attacked) run\n"
    )
    with pytest.raises(DataError, match="not a readable picture"):
        read_picture(tmp_path / "page.png")


@pytest.mark.parametrize("length", [b"-0001000\0", b"77777777777", b"zz"])
def test_a_shard_whose_members_lie_about_their_size(length: bytes, tmp_path: Path) -> None:
    header = b"000000.jpg".ljust(124, b"\0") + length.ljust(12, b"\0")
    with pytest.raises(FileError, match="not a shard"):
        index_shard(header.ljust(2048, b"\0"), tmp_path / "00000.tar")


def test_a_set_that_declares_a_trillion_pictures(tmp_path: Path) -> None:
    request = {"count": 10**12, "settings": {"views_per_room": 8}}
    (tmp_path / "manifest.json").write_text(json.dumps({"request": request, "shards": {}}))
    with pytest.raises(FileError, match="does not describe a set"):
        open_source(tmp_path)


@pytest.mark.parametrize("path", [b"/etc", b"../../etc", b"0/../../../etc"])
def test_frames_outside_their_folder_are_not_read(path: bytes, tmp_path: Path) -> None:
    way = b"\x1a\x02\x08\x19" + bytes([0x22, len(path)]) + path
    (tmp_path / "scenenet_rgbd_val.pb").write_bytes(bytes([0x0A, len(way)]) + way)
    with pytest.raises(FileError, match="outside its folder"):
        open_source(tmp_path)


def test_a_run_names_no_file_outside_itself(tmp_path: Path) -> None:
    made = Run.create(tmp_path / "r")
    value = read_json(made.folder / "run.json")
    step = {"asked": {}, "inputs": {}, "command": "c", "started": "s", "versions": {}, "finished": "f"}
    for name in ("../../etc/passwd", "/etc/passwd"):
        value["steps"] = {"x": {**step, "outputs": {name: {"sha256": "0", "size": 1}}}}
        (made.folder / "run.json").write_text(json.dumps(value))
        with pytest.raises(RunError, match="outside the run"):
            Run.open(made.folder)


@pytest.mark.parametrize("text", ['{"x": 1e999}', '{"x": NaN}', '{"x": -Infinity}'])
def test_numbers_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FileError, match="not a JSON number"):
        read_json(tmp_path / "a.json")


def test_weights_that_a_node_keeps_outside_the_folder(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="teachers are loaded with torch")
    import onnx
    from onnx import TensorProto, helper
    from small_network import small_network

    from edgekd.models.onnx_import import import_onnx

    model = small_network()
    hidden = TensorProto(name="h", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    entry = hidden.external_data.add()
    entry.key, entry.value = "location", "../secret"
    model.graph.node.insert(0, helper.make_node("Constant", [], ["hidden"], value=hidden))
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    (tmp_path / "in" / "net.onnx").write_bytes(model.SerializeToString())
    assert isinstance(model, onnx.ModelProto)
    with pytest.raises(EdgekdError, match="outside its own folder"):
        import_onnx(tmp_path / "in" / "net.onnx")


def test_a_swapped_weights_file_is_another_teacher(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="teachers are loaded with torch")
    import onnx
    from small_network import small_network

    from edgekd.models.onnx_import.file import digest_onnx

    path = tmp_path / "net.onnx"
    onnx.save_model(small_network(), path, save_as_external_data=True, location="net.bin", size_threshold=0)
    before = digest_onnx(path)
    content = bytearray((tmp_path / "net.bin").read_bytes())
    content[0] ^= 1
    (tmp_path / "net.bin").write_bytes(content)
    assert digest_onnx(path) != before


EVIL = "<script>alert(1)<\\script>&\"'><img src=x onerror=alert(2)>|`=cmd()[x](javascript:1)"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    return parser.found


def test_a_report_is_text_whatever_the_run_was_called(finished_run: Path, tmp_path: Path) -> None:
    import shutil

    from calibration.progress import Quiet

    pages = {}
    for name in ("plain", EVIL.replace("/", "")):
        folder = tmp_path / name
        shutil.copytree(finished_run, folder)
        value = read_json(folder / "run.json")
        value["teacher"].update(name=name, source=name, spec=name)
        (folder / "run.json").write_text(json.dumps(value))
        _, written = report_runs([Run.open(folder)], None, Quiet())
        pages[name] = {path.suffix: path.read_text() for path in written}
    plain, evil = pages.values()
    assert [tag for tag, _ in tags(evil[".html"])] == [tag for tag, _ in tags(plain[".html"])]
    for tag, attributes in tags(evil[".html"]):
        assert not any(name.startswith("on") for name in attributes), tag
        assert not any(str(value).startswith("javascript:") for value in attributes.values())
    assert "<script" not in evil[".md"].replace("\\<script", "")
    assert not any(cell.startswith("=") for line in evil[".csv"].splitlines() for cell in line.split(","))


def test_names_do_not_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b[31m\x1b]0;owned\x07\rb.png"
    assert run(["predict", name]) != 0
    assert run(["verify", name]) != 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "\x07" not in out + err
