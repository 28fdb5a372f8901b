"""Image files: stored pixels as they are; what asks a viewer to turn it, or is too large, is refused by name."""

import struct
import subprocess
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bundle.base.errors import DatasetError
from bundle.base.limits import LIMITS
from bundle.tasks.dataset import read_image
from bundle.tasks.image_files import ORIENTATION, decode, decode_npy, image_size

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def write(path: Path, orientation: int | None) -> Path:
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    Image.fromarray(PICTURE).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_image_is_refused_by_name(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = write(tmp_path / f"x.{suffix}", orientation)
    with pytest.raises(DatasetError, match="turned or mirrored") as caught:
        read_image(path)
    assert f"orientation {orientation}" in caught.value.got and caught.value.where == str(path)
    assert "labels" in caught.value.fix


def test_a_turned_label_is_refused_by_name(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    Image.fromarray(PICTURE[..., 0]).save(tmp_path / "label.png", exif=exif)
    with pytest.raises(DatasetError, match="turned or mirrored"):
        decode(tmp_path / "label.png", ("L",))


@pytest.mark.parametrize("orientation", [None, 0, 1])
def test_an_upright_image_is_read(tmp_path: Path, orientation: int | None) -> None:
    np.testing.assert_array_equal(read_image(write(tmp_path / "x.png", orientation)), PICTURE)


def png(width: int, height: int, bits: int = 8, colour: int = 2, pixels: bytes = bytes(1000)) -> bytes:
    """A PNG whose header tells of a size; without ``pixels`` they are a bomb of zeros, or all there if it is small."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10**9, 10**9), (100_000, 100_000), (10_000, 9_000), (16_385, 1), (1, 16_385)])
@pytest.mark.parametrize("read", [read_image, image_size])
def test_a_size_beyond_the_table_is_refused_before_a_pixel_is_decoded(
    tmp_path: Path, size: tuple[int, int], read: object
) -> None:
    (tmp_path / "x.png").write_bytes(png(*size))
    with pytest.raises(DatasetError, match="too large") as caught:
        read(tmp_path / "x.png")  # type: ignore[operator]
    assert str(LIMITS["image_side"].most) in caught.value.expected


@pytest.mark.parametrize(("bits", "colour"), [(16, 2), (2, 0), (4, 0)])
def test_values_that_pillow_would_scale_or_cut_are_refused(tmp_path: Path, bits: int, colour: int) -> None:
    """Grey of 2 bits, 0 to 3, is read as 0, 85, 170, 255, which is another class; RGB of 16 bits loses its low byte."""
    (tmp_path / "x.png").write_bytes(png(4, 4, bits, colour))
    with pytest.raises(DatasetError, match="exactly as it is stored") as caught:
        decode(tmp_path / "x.png", ("RGB", "L"))
    assert f";{bits}" in caught.value.got


@pytest.mark.parametrize("colours", [2, 4, 16])
def test_a_palette_of_few_bits_is_read_as_its_indices(tmp_path: Path, colours: int) -> None:
    indices = np.arange(16, dtype=np.uint8).reshape(4, 4) % colours
    picture = Image.fromarray(indices, "L").convert("L")
    picture.putpalette([value for index in range(colours) for value in (index, index, index)])
    picture.save(tmp_path / "x.png", bits={2: 1, 4: 2, 16: 4}[colours])
    np.testing.assert_array_equal(decode(tmp_path / "x.png", ("P",)), indices)


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(PICTURE, index, 0)) for index in range(3)]
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DatasetError, match="exactly as it is stored") as caught:
        read_image(tmp_path / "x.png")
    assert caught.value.got == "3 pictures"


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 6\n%%EndComments\n", "BMP", "TIFF"]
)
@pytest.mark.parametrize("read", [read_image, image_size])
def test_what_is_no_jpeg_or_png_is_refused_whatever_its_name(
    tmp_path: Path, content: bytes | str, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow gives EPS to Ghostscript, which interprets what a stranger wrote."""
    monkeypatch.setattr(subprocess, "check_call", lambda *words, **_: pytest.fail(f"started {words}"))
    if isinstance(content, bytes):
        (tmp_path / "x.png").write_bytes(content)
    else:
        Image.fromarray(PICTURE).save(tmp_path / "x.png", content)
    with pytest.raises(DatasetError) as caught:
        read(tmp_path / "x.png")
    assert caught.value.expected == "a JPEG or PNG file"


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.npy"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_image_is_read_or_refused(tmp_path: Path, name: str, place: float, byte: int, cut: bool) -> None:
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, PICTURE)
    else:
        write(path, 1)
    content = bytearray(path.read_bytes())
    index = int(place * (len(content) - 1))
    content[index] = byte
    path.write_bytes(content[:index] if cut else content)
    for read in (read_image, image_size):
        try:
            read(path)
        except DatasetError as error:
            assert error.where == str(path)


@pytest.mark.parametrize("name", ["none.png", "none.npy"])
def test_a_file_that_is_not_there_is_called_missing(tmp_path: Path, name: str) -> None:
    read = decode_npy if name.endswith(".npy") else partial(decode, modes=("RGB",))
    with pytest.raises(DatasetError, match=f"{name} is missing") as caught:
        read(tmp_path / name)
    assert caught.value.got == "no such file or folder" and "path" in caught.value.fix


UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: stored[::-1].transpose(1, 0, 2),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: stored[:, ::-1].transpose(1, 0, 2),
}
"""What a viewer shows by the Exif standard: where the stored row 0 and column 0 are."""


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_without_labels_is_read_as_a_viewer_shows_it(tmp_path: Path, orientation: int) -> None:
    shown = read_image(write(tmp_path / "x.png", orientation), as_shown=True)
    np.testing.assert_array_equal(shown, UPRIGHT[orientation](PICTURE))


GREY = PICTURE[..., 0]
OPAQUE = np.full_like(GREY, 255)


def palette(colours: list[int]) -> Image.Image:
    picture = Image.fromarray(GREY % 2, "L").convert("L")
    picture.putpalette(colours)
    return picture


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.fromarray(GREY), np.stack([GREY] * 3, 2)),
        (Image.fromarray(GREY > 99), np.stack([np.where(GREY > 99, 255, 0)] * 3, 2)),
        (palette([1, 2, 3, 250, 0, 9]), np.array([[1, 2, 3], [250, 0, 9]])[GREY % 2]),
        (Image.fromarray(np.dstack([PICTURE, OPAQUE])), PICTURE),
        (Image.fromarray(np.dstack([GREY, OPAQUE]), "LA"), np.stack([GREY] * 3, 2)),
    ],
    ids=["grey", "one bit", "palette", "opaque RGBA", "opaque LA"],
)
def test_what_can_be_rgb_in_one_way_only_is(tmp_path: Path, picture: Image.Image, expected: np.ndarray) -> None:
    picture.save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), expected)


@pytest.mark.parametrize("bits", [2, 4])
def test_an_image_in_grey_of_few_bits_is_scaled_as_the_png_standard_says(tmp_path: Path, bits: int) -> None:
    """A sample becomes floor(sample · 255 / (2^bits − 1) + 0.5)."""
    samples = np.arange(2**bits, dtype=np.uint8)
    packed = [int("".join(f"{one:0{bits}b}" for one in row), 2) for row in samples.reshape(-1, 8 // bits)]
    (tmp_path / "x.png").write_bytes(png(2**bits, 1, bits, 0, bytes([0, *packed])))
    expected = np.floor(samples * 255.0 / (2**bits - 1) + 0.5)
    assert read_image(tmp_path / "x.png")[0, :, 1].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("picture", "name", "got"),
    [
        (Image.fromarray(np.dstack([PICTURE, OPAQUE - 1])), "x.png", "mode RGBA with transparent pixels"),
        (Image.fromarray(np.dstack([PICTURE, OPAQUE]), "CMYK"), "x.jpg", "mode CMYK"),
        (Image.fromarray(GREY.astype(np.uint16) * 200), "x.png", "mode I;16"),
    ],
    ids=["transparent", "CMYK", "16 bits"],
)
def test_what_can_be_rgb_in_several_ways_is_refused(tmp_path: Path, picture: Image.Image, name: str, got: str) -> None:
    picture.save(tmp_path / name)
    with pytest.raises(DatasetError, match="wrong mode") as caught:
        read_image(tmp_path / name)
    assert caught.value.got == got


def test_a_palette_with_a_transparent_colour_is_refused(tmp_path: Path) -> None:
    palette([1, 2, 3, 4, 5, 6]).save(tmp_path / "x.png", transparency=0)
    with pytest.raises(DatasetError, match="wrong mode"):
        read_image(tmp_path / "x.png")
