"""The file of a label: a PNG that holds it encoded, or floats in the unit of its kind that become steps of the data's own.

A kind that has such a unit takes ``.npy`` and ``.tif`` files of float32, or of other floats. 0 and NaN are invalid. What is
negative, infinite or beyond the last step is refused: it may be of another unit, or be a mark that the format does not have.
"""

from pathlib import Path

import numpy as np

from bundle.base.errors import DatasetError
from bundle.tasks.image_files import decode, decode_npy
from bundle.tasks.spec import IGNORE, Array, DatasetSpec
from bundle.tasks.table import Task

ENCODED, FLOATS = (".png", ".PNG"), (".npy", ".NPY", ".tif", ".TIF", ".tiff", ".TIFF")


def find_label(root: Path, row: Task, identifier: str, spec: DatasetSpec) -> Path:
    """Return the file of a label; where there is none, the PNG that it would be.

    Raises:
        DatasetError: there is more than one.
    """
    suffixes = ENCODED if row.kind.float_unit(spec) is None else (*ENCODED, *FLOATS)
    names = [root / row.name / f"{identifier}{suffix}" for suffix in suffixes]
    files = [path for path in names if path.is_file()]
    if len(files) > 1:
        raise DatasetError(
            f"the {row.name} label of {identifier!r} has more than one file",
            expected="one file",
            got=", ".join(path.name for path in files),
            where=str(root / row.name),
            fix="delete all but one of them",
        )
    return (files or names)[0]


def read_label(path: Path, row: Task, spec: DatasetSpec) -> Array:
    """Return a label as it is encoded; of a PNG nothing but the mode is checked.

    Raises:
        DatasetError: the file is missing or unreadable, its mode is wrong, or its floats are no map in the kind's unit.
        TargetUnavailable: Pillow is not installed.
    """
    if not path.is_file():
        raise missing_label(path, row)
    if path.suffix in ENCODED:
        encoded = decode(path, row.kind.label_modes)
        return np.where(encoded, np.uint8(IGNORE), np.uint8(0)) if encoded.dtype == np.bool_ else encoded
    numbers = decode_npy(path) if path.suffix.lower() == ".npy" else decode(path, ("F",), formats=("TIFF",))
    return _steps(numbers, row, spec, path)


def missing_label(path: Path, row: Task) -> DatasetError:
    """Return the error for a label without a file; it names the files of the same id that are not read."""
    others = sorted(other.name for other in path.parent.glob(f"{path.stem}.*")) if path.parent.is_dir() else []
    return DatasetError(
        f"the {row.name} label is missing",
        expected=path.name,
        got=", ".join(others) or "no such file",
        where=str(path),
        fix="add the label, or leave the task or the id out",
    )


def _steps(numbers: Array, row: Task, spec: DatasetSpec, path: Path) -> Array:
    """Return a map of floats as steps of the data's unit, at least one step where it is valid."""
    unit, most = row.kind.float_unit(spec) or 1.0, np.iinfo(np.dtype(row.kind.label_dtype).name).max
    if numbers.dtype.kind != "f" or numbers.ndim != 2:
        raise _wrong(row, path, "floats [height, width]", f"{numbers.dtype} {list(numbers.shape)}")
    values = np.nan_to_num(numbers.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)
    steps = np.rint(values / unit)
    if values.size and (values.min() < 0 or steps.max() > most):
        expected = f"0 to {unit * most:g}, with 0 or NaN where there is no value"
        raise _wrong(row, path, expected, f"{values.min():g} to {values.max():g}")
    return np.where(values > 0, np.maximum(steps, 1), 0).astype(row.kind.label_dtype)


def _wrong(row: Task, path: Path, expected: str, got: str) -> DatasetError:
    return DatasetError(
        f"the {row.name} label is no map of floats in its unit",
        expected=expected,
        got=got,
        where=str(path),
        fix="convert it, mark what is unknown with 0, or declare larger steps in dataset.json",
    )
