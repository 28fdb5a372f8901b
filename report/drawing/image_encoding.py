"""Arrays as pictures in a file or a page: the only module of this package that imports Pillow."""

import base64
import io
import struct
import zlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from bundle.base.errors import not_installed
from bundle.formats.outputs import marked, overwriting
from bundle.tasks.kinds.colours import Rgb

if TYPE_CHECKING:
    from PIL.Image import Image

PALETTE_SIZE = 256
HEADER = 8 + 25  # bytes of a PNG's signature and its first chunk
FEW_COLOURS = 64  # a map of classes has fewer, one of probabilities, depths or normals more
TEXT_SIZE = 15
SOFTWARE = "tdss report"
PICTURES = marked(f"tEXtSoftware\0{SOFTWARE}".encode())  # what a PNG may be written over


def _pillow() -> ModuleType:
    """Import Pillow's Image module, or say which extra has it."""
    try:
        import PIL.Image
    except ImportError as error:
        raise not_installed(
            "a picture", "pillow", extra="host", where="report.drawing.image_encoding", error=error
        ) from error
    return PIL.Image


def _image(picture: Rgb) -> "Image":
    image: Image = _pillow().fromarray(np.ascontiguousarray(picture))
    return image


def png(picture: Rgb) -> bytes:
    """Return uint8 RGB ``[H, W, 3]`` as PNG, without loss; at most 256 colours are stored as a palette."""
    image = _image(picture)
    red, green, blue = np.moveaxis(picture.astype(np.int32), -1, 0)
    colours, indices = np.unique((red << 16) | (green << 8) | blue, return_inverse=True)
    if len(colours) <= PALETTE_SIZE:
        image = _image(indices.reshape(picture.shape[:2]).astype(np.uint8))
        image.putpalette(
            np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8).tobytes()
        )
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def write_png(picture: Rgb, out: Path) -> None:
    """Write uint8 RGB ``[H, W, 3]`` as a PNG file that names its maker.

    Raises:
        InputError: something else than such a picture is at ``out``, or the system refuses to write.
    """
    content = png(picture)
    text = f"tEXtSoftware\0{SOFTWARE}".encode()
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    with overwriting(out, PICTURES) as temporary:
        temporary.write_bytes(content[:HEADER] + chunk + content[HEADER:])


def jpeg(picture: Rgb) -> bytes:
    """Return a photograph or a smooth map, uint8 RGB ``[H, W, 3]``, as JPEG of quality 85, its colours at every pixel.

    Not optimized: then Pillow's encoder has a buffer of a byte for each pixel, and fails where noise needs more.
    """
    stream = io.BytesIO()
    _image(picture).save(stream, "JPEG", quality=85, subsampling=0)
    return stream.getvalue()


def png_address(picture: Rgb) -> str:
    """Return a ``data:image/png`` address of a picture, without loss."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()


def jpeg_address(picture: Rgb) -> str:
    """Return a ``data:image/jpeg`` address of a picture."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(picture)).decode()


def address(picture: Rgb) -> str:
    """Return the address of a map: without loss where it has few colours, as JPEG where it is smooth, a quarter of the size."""
    red, green, blue = np.moveaxis(picture.astype(np.uint32), -1, 0)
    colours = np.unique(red << 16 | green << 8 | blue)  # of rows it would take ten times as long
    return png_address(picture) if len(colours) <= FEW_COLOURS else jpeg_address(picture)


def resized(picture: Rgb, width: int) -> Rgb:
    """Return uint8 RGB ``[H, W, 3]`` at another width, its proportions kept, by area averaging and Lanczos."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(_image(picture).resize((width, height), _pillow().Resampling.LANCZOS))


def written(text: str, width: int, height: int) -> Rgb:
    """Return black text in the middle of a white tile, uint8 RGB ``[height, width, 3]``."""
    image = _pillow().new("RGB", (width, height), "white")
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(image)
    pen.text((width / 2, height / 2), text, fill="black", anchor="mm", font=ImageFont.load_default(TEXT_SIZE))
    return np.asarray(image)
