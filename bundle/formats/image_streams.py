"""A member of ``vectors.npz`` as a stream: written and read one image at a time.

Images of one size make an array ``[N, …]``. Of a ``ragged`` member each image has a size of its own: their numbers stand one
after the other in one row, and ``Reader.next`` takes each shape.
"""

import math
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from bundle.base.array_files import read_header
from bundle.base.errors import DatasetError
from bundle.base.limits import LIMITS
from bundle.formats.delta_coding import Encoding, decode, encode
from bundle.tasks.spec import Array


@dataclass(frozen=True, kw_only=True)
class Member:
    """How one array of pixels is stored: its dtype outside, the axis of an image's rows, the encoding."""

    name: str
    dtype: np.dtype[np.generic]
    row_axis: int = 0
    encoding: Encoding = "difference"
    ragged: bool = False

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape in which an image's array of ``shape`` is stored."""
        taken_apart = self.encoding == "difference" and self.dtype.itemsize > 1
        return (self.dtype.itemsize, *shape) if taken_apart else shape


class Spool:
    """A member being written: its images are one after the other in a file, until their number is known."""

    def __init__(self, member: Member, folder: Path) -> None:
        self.member = member
        self.path = folder / member.name
        self.count = 0
        self.layout: tuple[np.dtype[np.generic], tuple[int, ...]] | None = None
        self._stream = self.path.open("wb")

    def add(self, pixels: Array, identifier: str) -> None:
        """Append one image's array; every one has the first one's shape, unless the member is ragged."""
        if pixels.dtype != self.member.dtype:
            raise _unfit(self.member.name, identifier, str(self.member.dtype), str(pixels.dtype))
        stored = encode(pixels, self.member.encoding, self.member.row_axis)
        layout = (stored.dtype, () if self.member.ragged else stored.shape)
        if self.layout not in (None, layout):
            raise _unfit(self.member.name, identifier, str(self.layout), str(layout))
        self.layout = layout
        self.count += stored.size if self.member.ragged else 1
        self._stream.write(stored.tobytes())

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()

    def copy_to(self, stream: IO[bytes], dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
        """Write the member as an .npy file, a little at a time; ``dtype`` and ``shape`` are ``layout``."""
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (self.count, *shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        with self.path.open("rb") as source:
            shutil.copyfileobj(source, stream)


def _unfit(name: str, identifier: str, expected: str, got: str) -> DatasetError:
    return DatasetError(
        f"{name} of image {identifier!r} does not fit the others",
        expected=expected,
        got=got,
        where="vectors.npz",
        fix="evaluation images have one size; raw outputs are float32",
    )


class Reader:
    """A member being read, one image after the other."""

    def __init__(self, archive: zipfile.ZipFile, member: Member) -> None:
        self.member = member
        self._stream: IO[bytes] = archive.open(f"{member.name}.npy")
        header = read_header(self._stream)
        (self.count, *shape), self._dtype = header.shape, header.dtype
        self._shape = tuple(shape)
        if header.nbytes > self.count * LIMITS["array_bytes"].most:
            raise ValueError(f"an image of {member.name}.npy has more than {LIMITS['array_bytes'].most} bytes")

    def next(self, shape: tuple[int, ...] | None = None) -> Array:
        """Return the next image's array, in the dtype it has outside; of a ragged member it has ``shape``."""
        stored_shape = self._shape if shape is None else self.member.stored_shape(shape)
        size = math.prod(stored_shape) * self._dtype.itemsize
        if size > LIMITS["array_bytes"].most:
            raise ValueError(f"an image of {self.member.name}.npy has {size} bytes")
        buffer = self._stream.read(size)
        if len(buffer) != size:
            raise ValueError(f"{self.member.name}.npy ends early")
        stored = np.frombuffer(buffer, self._dtype).reshape(stored_shape)
        return decode(stored, self.member.dtype, self.member.encoding, self.member.row_axis)
