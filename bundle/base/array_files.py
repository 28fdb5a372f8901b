"""NumPy arrays in files from outside: the header is checked against the bytes that are there before memory is asked for."""

import math
import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import IO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.limits import LIMITS

Array: TypeAlias = NDArray[np.generic]
_LARGEST_HEADER = 1 << 14  # bytes; NumPy writes 128
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Header(NamedTuple):
    """What the header of an .npy file holds: shape, whether columns lie together, dtype."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: "np.dtype[np.generic]"

    @property
    def nbytes(self) -> int:
        """Bytes of the array's values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes]) -> Header:
    """Read the header of an .npy file from a stream that begins with it.

    Raises:
        ValueError: it is none, or names Python objects or a size that is negative or no integer.
    """
    version = np.lib.format.read_magic(stream)
    if version not in _READERS:
        raise ValueError(f"an .npy file of format {version}")
    try:
        header = Header(*_READERS[version](stream, max_header_size=_LARGEST_HEADER))
    except (TypeError, SyntaxError, RecursionError, MemoryError, TokenError) as error:  # of NumPy's parser
        raise ValueError(f"the header of an .npy file cannot be read: {error}") from error
    if header.dtype.hasobject or any(type(size) is not int or size < 0 for size in header.shape):
        raise ValueError(f"an .npy file of {header.dtype} {list(header.shape)}")
    return header


def read_array(stream: IO[bytes], size: int) -> Array:
    """Read the .npy file that fills a stream of ``size`` bytes.

    Raises:
        ValueError: it is none, or its header declares more or fewer bytes than there are.
    """
    header = read_header(stream)
    if header.nbytes > LIMITS["array_bytes"].most:
        raise ValueError(f"an array of {header.nbytes} bytes, more than {LIMITS['array_bytes'].most}")
    held = size - stream.tell()
    if header.nbytes != held:
        raise ValueError(f"the header declares {header.nbytes} bytes, and there are {held}")
    content = stream.read(header.nbytes)
    if len(content) != header.nbytes:
        raise ValueError("the array ends early")
    values = np.frombuffer(bytearray(content), header.dtype) if content else np.empty(0, header.dtype)
    return values.reshape(header.shape, order="F" if header.fortran else "C")


def read_npy(path: Path) -> Array:
    """Read an .npy file.

    Raises:
        OSError: there is none.
        ValueError: it is damaged, or no .npy file.
    """
    with path.open("rb") as stream:
        return read_array(stream, path.stat().st_size)


def read_member(archive: zipfile.ZipFile, name: str) -> Array:
    """Read the array ``name`` of an .npz file.

    Raises:
        KeyError: there is none.
        ValueError, zipfile.BadZipFile, zlib.error: it is damaged, or larger than any array here is.
    """
    entry = archive.getinfo(f"{name}.npy")
    with archive.open(entry) as stream:
        return read_array(stream, entry.file_size)


def read_names(archive: zipfile.ZipFile, name: str) -> tuple[str, ...]:
    """Read the list of names ``name`` of an .npz file.

    Raises:
        KeyError: there is none.
        ValueError, zipfile.BadZipFile, zlib.error: it is damaged, or no list of text.
    """
    array = read_member(archive, name)
    if array.ndim != 1 or array.dtype.kind != "U":
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, no list of names")
    return tuple(str(text) for text in array)


def read_rows(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Read the float64 array ``name`` of an .npz file, which must have this shape.

    Raises:
        KeyError: there is none.
        ValueError, zipfile.BadZipFile, zlib.error: it is damaged, or of another shape or dtype.
    """
    array = read_member(archive, name)
    if array.shape != shape or array.dtype != np.float64:
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, not float64 {list(shape)}")
    return array.astype(np.float64, copy=False)
