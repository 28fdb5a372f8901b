"""The files of published data sets: label maps, floats and MATLAB structs, each refused by name if it is something else.

Nothing is unpickled: an .npy of objects is refused, and scipy reads MATLAB's own format only.
"""

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import DatasetError, not_installed
from bundle.base.frozen import faults
from bundle.base.limits import LIMITS
from bundle.tasks.image_files import decode, decode_npy
from bundle.tasks.spec import IGNORE, Array

if TYPE_CHECKING:
    from collections.abc import Mapping

UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    RuntimeError,
    zlib.error,
    MemoryError,
)  # RuntimeError: MATLAB 7.3


def read_classes(path: Path, table: NDArray[np.int64]) -> Array:
    """Return a label map with each value replaced by ``table``'s, uint8 ``[H, W]``; −1 in the table is no value at all.

    Raises:
        DatasetError: the file is unreadable, no grey or palette image, or holds a value that the table does not have.
    """
    stored = decode(path, ("L", "P"))
    classes = table[stored]
    if wrong := np.unique(stored[classes < 0]).tolist():
        raise wrong_content(path, f"values among {np.flatnonzero(table >= 0).tolist()}", str(wrong))
    return np.asarray(classes, dtype=np.uint8)


def classes_table(known: "Mapping[int, int]", void: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the table for ``read_classes``: the known values' classes, 255 for ``void``, −1 for the rest."""
    table = np.full(256, -1, np.int64)
    table[list(known)] = list(known.values())
    table[list(void)] = IGNORE
    return table


def read_binary(path: Path) -> Array:
    """Return what is brighter than half of white in a grey PNG as 255, else 0."""
    return np.where(decode(path, ("L",)).astype(np.int64) > IGNORE // 2, np.uint8(IGNORE), np.uint8(0))


def read_unit_vectors(path: Path) -> NDArray[np.float64]:
    """Return directions ``[H, W, 3]``: 2·p/255 − 1 of an RGB PNG, or the floats of an .npy file.

    Raises:
        DatasetError: the file is unreadable, of another shape, or no number of it can be a part of a direction.
    """
    if path.suffix == ".png":
        return np.asarray(2.0 * decode(path, ("RGB",)).astype(np.float64) / 255.0 - 1.0)
    vectors = read_floats(path)
    if vectors.ndim != 3 or vectors.shape[2] != 3 or np.abs(vectors).max(initial=0.0) > 1.01:
        got = f"{list(vectors.shape)}, {vectors.min(initial=0.0):g} to {vectors.max(initial=0.0):g}"
        raise wrong_content(path, "[height, width, 3] of −1 to 1", got)
    return vectors


def read_floats(path: Path) -> NDArray[np.float64]:
    """Return the numbers of an .npy file without axes of length 1 behind them.

    Raises:
        DatasetError: the file is unreadable, or holds something else than finite numbers.
    """
    array = decode_npy(path)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise wrong_content(path, "finite numbers", f"{array.dtype} {list(array.shape)}")
    floats = array.astype(np.float64)
    return floats[..., 0] if floats.ndim == 3 and floats.shape[2] == 1 else floats


def read_mat(path: Path, name: str) -> NDArray[np.generic]:
    """Return a variable of a MATLAB file; structs are records and cells are arrays of objects.

    Raises:
        DatasetError: the file is missing, damaged, too large or of MATLAB 7.3, or has no such variable.
        TargetUnavailable: scipy is not installed.
    """
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise not_installed("a .mat file", "scipy", extra="host", where=str(path), error=error) from error
    try:
        if path.stat().st_size > LIMITS["array_bytes"].most:
            raise ValueError(f"{path.stat().st_size} bytes")
        variable: NDArray[np.generic] = loadmat(str(path), appendmat=False, variable_names=[name])[name]
    except (*UNREADABLE, MatReadError) as error:
        raise DatasetError(
            f"{path.name} {'is missing' if isinstance(error, FileNotFoundError) else 'cannot be read'}",
            expected=f"a MATLAB file of version 7 or before with {name!r} in it",
            got=faults(error),
            where=str(path),
            fix="unpack the data set again",
        ) from error
    return variable


def one_of(folder: Path, identifier: str, suffixes: tuple[str, ...]) -> Path:
    """Return the file of ``folder`` that is called like the id, with the first of ``suffixes`` that there is.

    Raises:
        DatasetError: there is none.
    """
    names = [identifier + suffix for suffix in suffixes]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DatasetError(
        f"{folder.name} of {identifier!r} is missing",
        expected=" or ".join(names),
        got="no such file",
        where=str(folder),
        fix="unpack the data set again, or take the id out of the split's file",
    )


def wrong_content(path: Path, expected: str, got: str) -> DatasetError:
    """Return the error for a file that can be read and holds something else than its layout has there."""
    return DatasetError(
        f"{path.name} is not what this layout has there",
        expected=expected,
        got=got,
        where=str(path),
        fix="name the layout that the data set has, or unpack it again",
    )
