"""Image files: stored pixels as they are; what asks a viewer to turn it, or is too large, is refused by name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bundle.dataset import read_image
from bundle.errors import DatasetError
from bundle.image_files import ORIENTATION, decode, image_size
from bundle.limits import LIMITS

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


def png(width: int, height: int) -> bytes:
    """A PNG whose header tells of a size; its pixels are a bomb of zeros."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(10**9, 10**9), (100_000, 100_000), (10_000, 9_000), (16_385, 1), (1, 16_385)])
@pytest.mark.parametrize("read", [read_image, image_size])
def test_a_size_beyond_the_table_is_refused_before_a_pixel_is_decoded(
    tmp_path: Path, size: tuple[int, int], read: object
) -> None:
    (tmp_path / "x.png").write_bytes(png(*size))
    with pytest.raises(DatasetError, match="too large") as caught:
        read(tmp_path / "x.png")  # type: ignore[operator]
    assert str(LIMITS["image_side"].most) in caught.value.expected


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
