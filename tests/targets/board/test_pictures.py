"""PNG and framing without an imaging library, held against Pillow."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd.pictures import read_picture as read_as_edgekd_does
from targets.board.errors import InputError
from targets.board.framing import Framing, seen_box
from targets.board.pictures import list_pictures, name_results, read_picture, skipped_folders, write_depth
from targets.board.png import decode_png, encode_png
from targets.input import Framing as Reference

RNG = np.random.default_rng(3)
SMOOTH = np.cumsum(np.cumsum(RNG.normal(size=(97, 131, 3)), axis=0), axis=1)
PICTURE = (255 * (SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH)).astype(np.uint8)
PICTURE[20:40, 30:60] = (250, 20, 130)


def saved(picture: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("wanted", [(224, 224), (240, 320), (378, 378), (480, 640), (352, 704)])
def test_what_a_network_sees_lies_within_the_picture_whatever_its_size(wanted: tuple[int, int]) -> None:
    """Rounding once made the box slightly larger than the picture for 2.5 to 8 % of the sizes."""
    for side in range(1, 4001):
        for size in ((side, 10 * side), (10 * side, side), (side, side * 3 // 2), (side * 3 // 4 + 1, side)):
            left, top, right, bottom = seen_box(size, wanted, None, None)
            assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]


@pytest.mark.parametrize(
    ("wanted", "size"), [((224, 224), (450, 800)), ((240, 320), (1000, 1500)), ((378, 378), (478, 640))]
)
def test_pictures_of_sizes_that_round_are_framed(wanted: tuple[int, int], size: tuple[int, int]) -> None:
    assert Reference(*wanted).image(np.full((*size, 3), 7, np.uint8)).mean() == 7


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_png_is_read_as_pillow_reads_it(mode: str) -> None:
    picture = Image.fromarray(PICTURE).convert(mode)
    data = saved(picture, optimize=True)  # uses every filter where it helps
    assert np.array_equal(decode_png(data, "x"), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("kind", ["RGBA", "LA", "RGB with a colour that is transparent", "L with a grey that is"])
def test_transparent_pixels_lie_over_grey_as_in_edgekd(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode = kind.split()[0]
    picture, path = Image.fromarray(PICTURE).convert(mode), tmp_path / "see-through.png"
    if mode.endswith("A"):
        picture.putalpha(Image.fromarray(PICTURE[..., 1]))
        picture.save(path)
    else:
        picture.save(path, transparency=picture.getpixel((40, 30)))
    expected = read_as_edgekd_does(path)
    assert np.abs(expected.astype(int) - np.asarray(picture.convert("RGB"))).max() > 20
    assert np.array_equal(read_picture(path), expected)
    for name in ("PIL", "PIL.Image", "cv2"):
        monkeypatch.setitem(sys.modules, name, None)
    assert np.abs(read_picture(path).astype(int) - expected).max() <= 1


def test_a_photograph_whose_orientation_is_damaged_is_read_and_what_is_no_picture_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a description", 6
    Image.fromarray(PICTURE).save(tmp_path / "side.jpg", exif=exif, quality=95)
    data = (tmp_path / "side.jpg").read_bytes()
    (tmp_path / "side.jpg").write_bytes(data.replace(b"\x01\x0e\0\2", b"\x01\x01\0\2"))  # now a height in words
    assert np.array_equal(read_picture(tmp_path / "side.jpg"), read_as_edgekd_does(tmp_path / "side.jpg"))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.png is not a readable picture\. Save"):
        read_picture(tmp_path / "text.png")


@pytest.mark.parametrize("filtering", range(5))
def test_every_filter_of_png_is_undone(filtering: int) -> None:
    import struct
    import zlib

    height, width = PICTURE.shape[:2]
    rows = PICTURE.reshape(height, -1).astype(int)
    left = np.pad(rows, ((0, 0), (3, 0)))[:, :-3]
    above = np.pad(rows, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(rows, ((1, 0), (3, 0)))[:-1, :-3]
    guess = left + above - corner
    distances = np.stack([abs(guess - left), abs(guess - above), abs(guess - corner)])
    paeth = np.choose(np.argmin(distances, axis=0), [left, above, corner])
    taken = [0, left, above, (left + above) // 2, paeth][filtering]
    lines = np.concatenate([np.full((height, 1), filtering), (rows - taken) % 256], axis=1).astype(np.uint8)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes()))
    data += chunk(b"IEND", b"")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), PICTURE)  # the test's own file is right
    assert np.array_equal(decode_png(data, "x"), PICTURE)


def test_png_is_written_as_pillow_reads_it() -> None:
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(PICTURE)))), PICTURE)
    depth = RNG.integers(0, 65535, (31, 17)).astype(np.uint16)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(depth)))), depth)


@pytest.mark.parametrize("damage", [lambda d: d[:200], lambda d: d[:100] + b"\0" + d[101:], lambda d: d[:8]])
def test_a_damaged_png_is_named(damage) -> None:
    with pytest.raises(InputError, match=r"room\.png is truncated or damaged"):
        decode_png(damage(saved(Image.fromarray(PICTURE))), "room.png")


def test_what_is_unusual_is_not_guessed_at() -> None:
    with pytest.raises(InputError, match="unsupported kind"):
        decode_png(saved(Image.fromarray(PICTURE).convert("P")), "x")


@pytest.mark.parametrize("size", [(480, 640), (56, 60), (240, 320), (97, 131), (720, 1280), (1080, 810)])
@pytest.mark.parametrize("crop", [{}, {"resize_height": 250, "crop": (228, 304)}])
def test_framing_sees_what_pillow_frames(size: tuple[int, int], crop: dict[str, object]) -> None:
    picture = np.asarray(Image.fromarray(PICTURE).resize(size[::-1]))
    ours = Framing({"height": 56, "width": 60, **crop}).image(picture)
    theirs = Reference(56, 60, **crop).image(picture)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_depth_is_written_in_millimetres_and_colour(tmp_path: Path) -> None:
    depth = np.linspace(0.5, 8, 12 * 16, dtype=np.float32).reshape(12, 16)
    paths = write_depth(tmp_path / "a.b", depth)
    assert [path.name for path in paths] == ["a.b.depth.png", "a.b.colour.png"]
    assert np.abs(np.asarray(Image.open(paths[0])) / 1000 - depth).max() <= 0.0006
    assert np.asarray(Image.open(paths[1])).shape == (12, 16, 3)


def test_pictures_are_found_and_missing_ones_named(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).write_bytes(saved(Image.fromarray(PICTURE)))
    assert [path.name for path in list_pictures([str(tmp_path)])] == ["a.JPG", "b.png"]
    assert np.array_equal(read_picture(tmp_path / "b.png"), PICTURE)
    with pytest.raises(InputError, match="not found"):
        list_pictures([str(tmp_path / "none.png")])
    with pytest.raises(InputError, match=r"Cannot read n+ \(File name too long\)"):
        list_pictures(["n" * 300])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed" / "inside").mkdir(parents=True)
    (tmp_path / "closed").chmod(0)
    try:
        for path in (tmp_path / "closed", tmp_path / "closed" / "inside"):
            with pytest.raises(InputError, match=f"Cannot read {path} "):
                list_pictures([str(path)])
    finally:
        (tmp_path / "closed").chmod(0o755)


def unusual(kind: str) -> Image.Image:
    if kind == "palette":
        return Image.fromarray(PICTURE).quantize(64)
    return Image.fromarray((PICTURE[..., 0].astype(np.uint16) << 8) | 0x7F)


@pytest.mark.parametrize("kind", ["palette", "16 bits"])
def test_an_unusual_png_is_read_by_a_library_where_one_is(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "unusual.png"
    unusual(kind).save(path)
    grey = np.repeat(PICTURE[..., :1], 3, axis=2)
    expected = np.asarray(unusual(kind).convert("RGB")) if kind == "palette" else grey
    assert np.array_equal(read_picture(path), expected)
    for name in ("PIL", "PIL.Image", "cv2"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"unsupported kind.*pip install pillow"):
        read_picture(path)


def test_a_photograph_is_upright_as_everywhere_else(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.fromarray(PICTURE).save(tmp_path / "side.jpg", exif=exif, quality=95)
    assert read_picture(tmp_path / "side.jpg").shape == (131, 97, 3)
    assert np.array_equal(read_picture(tmp_path / "side.jpg"), read_as_edgekd_does(tmp_path / "side.jpg"))


def test_a_picture_of_too_many_pixels_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "huge.ppm").write_bytes(b"P6 20000 20000 255 ")
    with pytest.raises(InputError, match=r"huge\.ppm is not a readable picture"):
        read_picture(tmp_path / "huge.ppm")


def test_results_never_take_each_others_name() -> None:
    given = [Path(name) for name in ("a/1.png", "b/1.png", "2.jpg", "2.png", "3.png")]
    assert name_results([Path(name) for name in ("a.jpg", "a.png", "b/a.png", "a.png.2")]) == [
        *("a.jpg", "a.png", "a.png.2", "a.png.3"),
    ]
    assert name_results(given) == ["1.png", "1.png.2", "2.jpg", "2.png", "3"]


def test_a_png_that_is_to_be_turned_is_left_to_a_library() -> None:
    for orientation in (1, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = saved(Image.fromarray(PICTURE), exif=exif)
        if orientation == 1:
            assert np.array_equal(decode_png(data, "x"), PICTURE)
        else:
            with pytest.raises(InputError, match="EXIF rotation"):
                decode_png(data, "x")


def test_a_png_gives_no_more_than_it_says() -> None:
    import struct
    import zlib

    def png(width: int, height: int, content: bytes) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(content)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )

    for data in (png(8, 8, bytes(50_000_000)), png(0, 4, b""), png(4, 0, b""), png(100_000, 100_000, b"")):
        with pytest.raises(InputError, match="truncated or damaged"):
            decode_png(data, "x")


def test_floating_point_pictures_are_refused_and_empty_files_named(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "f.tif")
    (tmp_path / "e.png").write_bytes(b"")
    with pytest.raises(InputError, match="floating-point"):
        read_picture(tmp_path / "f.tif")
    with pytest.raises(InputError, match=r"e\.png is empty"):
        read_picture(tmp_path / "e.png")


def test_depth_that_millimetres_cannot_hold_is_no_depth(tmp_path: Path) -> None:
    depth = np.array([[1.0, 65.535, 80.0, np.inf], [0.0, -1.0, np.nan, 0.25]], np.float32)
    written = write_depth(tmp_path / "a", depth)[0]
    assert np.asarray(Image.open(written)).tolist() == [[1000, 65535, 0, 0], [0, 0, 0, 250]]


def test_what_is_left_out_of_a_folder_is_told(tmp_path: Path) -> None:
    """As edgekd predict does: subfolders; hidden files, which macOS leaves beside every picture, go without a word."""
    for name in ("a.png", "._a.png", "first/b.png", "second/c.png", "notes/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(saved(Image.fromarray(PICTURE)))
    assert [path.name for path in list_pictures([str(tmp_path)])] == ["a.png"]
    told = skipped_folders([str(tmp_path), str(tmp_path / "a.png"), str(tmp_path / "first")])
    assert told == [f"Pictures in subfolders of {tmp_path}, such as first, are skipped"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match="subfolders are not searched"):
        list_pictures([str(tmp_path)])


def test_a_full_disk_and_a_limit_on_file_sizes_have_different_fixes(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from targets.board.files import write_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_bytes(sys.argv[1], bytes(5000))\n"
        "except Exception as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.bin")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout and "ulimit -f" in done.stdout
