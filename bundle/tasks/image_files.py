"""Image files as pixels: labels exactly as they are stored, images in RGB where that can mean one thing only.

Pillow is needed to read them, so it is imported here only, and a device that decodes stored arrays does without it.
A file whose Exif orientation asks a viewer to turn or mirror it is refused where it has labels. They may have been drawn on the
pixels or on what the viewer shows, and nothing in the file decides which. So is one that Pillow would cut, scale or read in
part: 16 bits a channel, an animation, a label in grey of 2 or 4 bits. An image of so few bits has black and white as every
other, so it is scaled to 8 (docs/decisions/0123, 0322, 0334).
"""

import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.array_files import read_header, read_npy
from bundle.base.errors import DatasetError, not_installed
from bundle.base.frozen import faults
from bundle.base.limits import LIMITS

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile as Opened

Array: TypeAlias = NDArray[np.generic]
ORIENTATION = 0x0112  # the Exif tag; 1 is upright, 2 to 8 are turned or mirrored
TURNED = range(2, 9)
RGB_MODES = ("RGB", "L", "1", "P", "RGBA", "LA")  # what can be RGB in one way only
_CUT, _CUT_OR_SCALED = r";16", r";(16|[124](?!\d))"  # of Pillow's raw modes
FORMATS = ("JPEG", "PNG")  # whatever the suffix is: Pillow runs Ghostscript on some of its other formats


def decode(path: Path, modes: tuple[str, ...], *, formats: tuple[str, ...] = FORMATS) -> Array:
    """Return the stored pixels of an image file whose Pillow mode is one of ``modes``.

    Raises:
        DatasetError: it is unreadable, of another mode, too large, an animation, its orientation is not upright, or its values
            are stored with more or fewer bits than the mode has.
        TargetUnavailable: Pillow is not installed.
    """
    with _opened(path, formats) as image:
        _refuse_converted(path, image, _CUT_OR_SCALED)
        _refuse_turned(path, image)
        mode, array = image.mode, np.asarray(image)
    if mode not in modes:
        raise _wrong_mode(path, f"Pillow mode {' or '.join(modes)}", f"mode {mode}")
    return array


def decode_rgb(path: Path, *, as_shown: bool) -> Array:
    """Return the pixels of an image file in RGB: grey three times, a palette's colours, colours without an opaque alpha.

    ``as_shown`` turns and mirrors it as its Exif orientation asks a viewer to; without it such a file is refused.

    Raises:
        DatasetError: it is unreadable, too large, an animation, has 16 bits a channel, or transparent pixels, or its colours
            depend on a profile (CMYK).
        TargetUnavailable: Pillow is not installed.
    """
    with _opened(path) as image:
        _refuse_converted(path, image, _CUT)
        if not as_shown:
            _refuse_turned(path, image)
        image.load()
        if image.mode not in RGB_MODES or ("transparency" in image.info and image.mode == "P"):
            raise _wrong_mode(path, f"Pillow mode {' or '.join(RGB_MODES)}, opaque", f"mode {image.mode}")
        if "A" in image.getbands() and image.getchannel("A").getextrema() != (255, 255):
            raise _wrong_mode(path, "an opaque picture", f"mode {image.mode} with transparent pixels")
        return np.asarray(_upright(image).convert("RGB"))


def as_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return uint8 ``[H, W, 3]`` with the luma of an RGB image in each channel.

    It is Pillow's mode L: ITU-R BT.601's 0.299 R + 0.587 G + 0.114 B, rounded.

    Raises:
        TargetUnavailable: Pillow is not installed.
    """
    pillow = _pillow("a grey image")
    grey: NDArray[np.uint8] = np.asarray(pillow.fromarray(image).convert("L").convert("RGB"))
    return grey


def _upright(image: "Opened") -> "Picture":
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) in TURNED else image


def _refuse_turned(path: Path, image: "Opened") -> None:
    orientation = image.getexif().get(ORIENTATION, 1)
    if orientation in TURNED:
        raise DatasetError(
            f"{path.name} is stored turned or mirrored",
            expected="Exif orientation 1, upright",
            got=f"orientation {orientation}",
            where=str(path),
            fix="if labels were drawn on the upright picture, turn the pixels (exiftran -ai FILE, mogrify -auto-orient FILE);"
            " if on the stored pixels, delete the tag (exiftool -Orientation= FILE)",
        )


def _wrong_mode(path: Path, expected: str, got: str) -> DatasetError:
    return DatasetError(
        f"{path.name} is stored in the wrong mode",
        expected=expected,
        got=got,
        where=str(path),
        fix="save it as the folder format describes",
    )


def _refuse_converted(path: Path, image: "Opened", changed: str) -> None:
    """Refuse what Pillow would not give as it is stored: it scales grey of 1 to 4 bits, and cuts colour of 16 bits to 8.

    It knows before it decodes, and ``getexif`` may decode.
    """
    stored = {str(args[0] if isinstance(args, tuple) else args) for _, _, _, args in image.tile}
    bits = sorted(raw for raw in stored if image.mode in ("L", "RGB") and re.search(changed, raw))
    pictures = getattr(image, "n_frames", 1) if image.format != "JPEG" else 1  # JPEG: a preview may follow the picture
    if bits or pictures > 1:
        raise DatasetError(
            f"{path.name} cannot be read exactly as it is stored",
            expected="one picture of 8 bits a channel",
            got=f"{pictures} pictures" if pictures > 1 else f"pixels stored as {bits[0]}",
            where=str(path),
            fix="save it as the folder format describes",
        )


def decode_npy(path: Path) -> Array:
    """Return the array of an ``.npy`` file.

    Raises:
        DatasetError: it is unreadable.
    """
    try:
        return read_npy(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image file from its header.

    Raises:
        DatasetError: the header cannot be read, or the image is too large.
    """
    if path.suffix.lower() != ".npy":
        with _opened(path) as image:
            return image.height, image.width
    try:
        with path.open("rb") as stream:
            height, width = read_header(stream).shape[:2]
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return height, width


@contextmanager
def _opened(path: Path, formats: tuple[str, ...] = FORMATS) -> "Iterator[Opened]":
    """Open an image file; its pixels are decoded in the block, if at all."""
    pillow = _pillow(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            warnings.filterwarnings("error", module=r"PIL\.TiffImagePlugin")  # damaged Exif: its orientation is unknown
            with pillow.open(path, formats=formats) as image:
                _check_size(path, image.width, image.height)
                yield image
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise _too_large(path, str(error)) from error
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error, UserWarning) as error:
        raise _unreadable(
            path, error, f"a {' or '.join(formats)} file"
        ) from error  # all of these come from Pillow's decoders


def _check_size(path: Path, width: int, height: int) -> None:
    if max(width, height) > LIMITS["image_side"].most or width * height > LIMITS["image_pixels"].most:
        raise _too_large(path, f"{width} × {height}")


def _too_large(path: Path, got: str) -> DatasetError:
    return DatasetError(
        f"{path.name} is too large",
        expected=f"sides of at most {LIMITS['image_side'].most} pixels, and {LIMITS['image_pixels'].most} pixels in all",
        got=got,
        where=str(path),
        fix="cut or resize it to the model's size",
    )


def _pillow(where: Path | str) -> ModuleType:
    try:
        from PIL import Image as pillow
    except ImportError as error:
        raise not_installed("an image file", "pillow", extra="host", where=str(where), error=error) from error
    return pillow


def _unreadable(path: Path, error: Exception, expected: str = "an .npy file") -> DatasetError:
    missing = isinstance(error, FileNotFoundError)
    return DatasetError(
        f"{path.name} {'is missing' if missing else 'cannot be read'}",
        expected=expected,
        got=faults(error),
        where=str(path),
        fix="correct the path, or copy the file there" if missing else "copy or render the file again",
    )
