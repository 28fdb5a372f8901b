"""The labelled folder format: what a data set is, and how its images and labels are read.

    <root>/dataset.json            the spec: class names, palettes, units, attribution
    <root>/<split>.txt             one id a line
    <root>/image/<id>.jpg|.png|.npy    RGB, 8 bit, height × width × 3
    <root>/<task>/<id>.png         one label map per task; its encoding follows the task's kind (bundle/tasks/label_files.py)

A label is stored *encoded* (what the PNG holds, see ``check_encoded``) and used *decoded* (``decode_label``).
Files are read in bundle/tasks/image_files.py.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen, faults, fix_of
from bundle.base.limits import read_limited
from bundle.tasks.fit import fit_image, fit_label, judged
from bundle.tasks.image_files import decode_npy, decode_rgb, image_size
from bundle.tasks.label_files import find_label, read_label
from bundle.tasks.spec import Array, DatasetSpec
from bundle.tasks.table import Task, task

Image: TypeAlias = NDArray[np.uint8]

SPEC_FILE = "dataset.json"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".npy")
_SUFFIXES = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def output_channels(row: Task, spec: DatasetSpec) -> int:
    """Return the output channels of a task on this data: the kind's own, else one per class.

    Raises:
        DatasetError: the task needs class names and this spec has none for it.
    """
    if row.channels is not None:
        return row.channels
    if row.name not in spec.classes:
        raise DatasetError(
            f"the data set {spec.name!r} has no classes for task {row.name!r}",
            expected=f"classes.{row.name}",
            got=f"classes of {sorted(spec.classes)}",
            where=SPEC_FILE,
            fix="add them, or leave the task out",
        )
    return len(spec.classes[row.name])


def load_spec(path: Path) -> DatasetSpec:
    """Read a spec from a JSON file.

    Raises:
        DatasetError: there is no such file, or a key or value of it is wrong.
    """
    try:
        return DatasetSpec.model_validate_json(read_limited(path, "json_bytes"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetError(
            "the data set has no spec",
            expected=f"a {SPEC_FILE} with class names and palettes",
            got="no such file",
            where=str(path),
            fix=f"write one (data/scenes/{SPEC_FILE} is an example), or name another spec",
        ) from error
    except ValidationError as error:
        raise DatasetError(
            "the data set's spec cannot be read",
            expected="the keys of DatasetSpec, schema_version 1 to 3",
            got=faults(error),
            where=str(path),
            fix=fix_of(error),
        ) from error


class FolderDataset(Frozen):
    """A labelled folder and the spec of its numbers; every read checks what it returns.

    ``size`` is what the model takes, rows and columns. Images and labels get it where the spec has a policy for that; they
    are as they are stored where it has none, or no size is given.
    """

    root: Path
    spec: DatasetSpec
    size: tuple[int, int] | None = None

    def at(self, size: tuple[int, int]) -> "FolderDataset":
        """Return the same data for a model that takes images of this size."""
        return self.model_copy(update={"size": size})

    def require_channels(self, tasks: Mapping[str, int]) -> None:
        """Check that a model's output channels are those of the data set's classes.

        Raises:
            ConfigError: a task is unknown.
            DatasetError: a task has another number of channels than the data has classes, or its classes are not named.
        """
        for name, channels in tasks.items():
            expected = output_channels(task(name), self.spec)
            if channels != expected:
                raise DatasetError(
                    f"the model and the data set disagree on {name}",
                    expected=f"{expected} channels (the data set's spec)",
                    got=f"{channels} (the model's config.toml)",
                    where=str(self.root),
                    fix="correct the model's tasks, or give the data's own spec: spec in a training file, --dataset of tdss pipeline",
                )

    def ids(self, split: str) -> tuple[str, ...]:
        """Return the ids of ``<root>/<split>.txt``, in the file's order.

        Raises:
            DatasetError: the file is missing or empty, an id is no plain name, or occurs twice.
        """
        return read_ids(self.root / f"{split}.txt")

    def image_path(self, identifier: str) -> Path:
        """Return the one file that holds an image.

        Raises:
            DatasetError: there is none, or more than one.
        """
        return find_image(self.root, identifier)

    def image(self, identifier: str) -> Image:
        """Return an image as uint8 ``[height, width, 3]``, RGB.

        Raises:
            DatasetError: see ``image_path``, ``read_image`` and ``fit_image``.
        """
        path = self.image_path(identifier)
        image = read_image(path)
        if self.size is None or self.spec.size_policy is None:
            return image
        return fit_image(image, self.size, self.spec.size_policy, where=str(path)).astype(np.uint8, copy=False)

    def encoded_label(self, task_name: str, identifier: str) -> Array:
        """Return a label as it is stored, at the size of ``image``; see ``check_encoded`` for its dtype and shape.

        Raises:
            DatasetError: the file is missing or unreadable, its mode, values or size are wrong.
        """
        encoded, where = self.stored_label(task_name, identifier), str(self.label_path(task_name, identifier))
        check_encoded(task_name, encoded, self.spec, where=where)
        self.check_label_size(task_name, identifier, encoded)
        if self.size is None or self.spec.size_policy is None:
            return encoded
        return fit_label(task(task_name), encoded, self.spec, self.size, self.spec.size_policy, where=where)

    def own_labels(self, tasks: Iterable[str], identifier: str) -> dict[str, Array]:
        """Return the encoded labels at the image's own size; none where metrics are at the model's."""
        own = self.model_copy(update={"size": None})
        at_image = self.spec.metrics_at == "image"
        return {name: own.encoded_label(name, identifier) for name in tasks} if at_image else {}

    def judged(self, task_name: str, identifier: str, prediction: Array) -> tuple[Array, Array]:
        """Return a prediction and the label as a metric compares them, at the size that the spec says."""
        encoded = self.own_labels((task_name,), identifier).get(task_name)
        encoded = self.encoded_label(task_name, identifier) if encoded is None else encoded
        return judged(task(task_name), prediction, encoded, self.spec)

    def label_path(self, task_name: str, identifier: str) -> Path:
        """Return where a label is stored, if there is one.

        Raises:
            DatasetError: more than one file could be it.
        """
        return find_label(self.root, task(task_name), identifier, self.spec)

    def stored_label(self, task_name: str, identifier: str) -> Array:
        """Return a label as ``read_label`` does; ``check_encoded`` was not asked."""
        return read_label(self.label_path(task_name, identifier), task(task_name), self.spec)

    def check_label_size(self, task_name: str, identifier: str, encoded: Array) -> None:
        """Refuse a label of another size than its image.

        Raises:
            DatasetError: it has another size, or there is no such image.
        """
        size = image_size(self.image_path(identifier))
        if encoded.shape[:2] != size:
            raise DatasetError(
                f"the {task_name} label of {identifier!r} and its image differ in size",
                expected=f"{size} (rows, columns)",
                got=str(encoded.shape[:2]),
                where=str(self.label_path(task_name, identifier)),
                fix="render the label at the image's size",
            )

    def label(self, task_name: str, identifier: str) -> Array:
        """Return a decoded label, see ``decode_label``."""
        return decode_label(task_name, self.encoded_label(task_name, identifier), self.spec)


def find_image(root: Path, identifier: str) -> Path:
    """Return the one file ``<root>/image/<identifier>.*`` that holds an image.

    Raises:
        DatasetError: there is none, or more than one.
    """
    stem = root / "image" / identifier
    files = [path for suffix in _SUFFIXES if (path := stem.with_name(identifier + suffix)).is_file()]
    if len(files) != 1:
        raise DatasetError(
            f"image {identifier!r} has {'no file' if not files else 'more than one file'}",
            expected=f"one of {', '.join(identifier + suffix for suffix in IMAGE_SUFFIXES)}",
            got=", ".join(path.name for path in files) or "none of them",
            where=str(stem.parent),
            fix="add the file, or take the id out of the split" if not files else "delete all but one of them",
        )
    return files[0]


def read_ids(path: Path) -> tuple[str, ...]:
    """Read a split file: one id a line, blank lines skipped.

    Raises:
        DatasetError: the file is missing or empty, an id is no plain name, or occurs twice.
    """
    ids = read_lines(path)
    check_ids(ids, where=str(path))
    return ids


def read_lines(path: Path) -> tuple[str, ...]:
    """Read the lines of a split file that are not blank; whether they are ids is not checked.

    Raises:
        DatasetError: the file is missing or empty.
    """
    lists = any(path.parent.glob("*.txt"))  # a published data set has none of our folders
    if not path.is_file() and not lists and not (path.parent / "image").is_dir():
        raise DatasetError(
            "this is no labelled folder, and what judges a model needs one",
            expected=f"{path.name} with one id a line, and the folder image",
            got="no such folder" if not path.parent.is_dir() else "a folder without image",
            where=str(path.parent),
            fix="move the images into image, and list the ids of two splits: calibration.txt, and val.txt for those that judge",
        )
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.txt"))) or "none"
        raise DatasetError(
            f"the data set has no split {path.stem!r}",
            expected=path.name,
            got=f"splits here: {known}",
            where=str(path),
            fix="name one of the splits, or write the file with one id a line",
        )
    try:
        text = read_limited(path, "ids_bytes").decode()
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"the split {path.stem!r} is no text",
            expected="UTF-8",
            got=str(error),
            where=str(path),
            fix="write one id a line",
        ) from error
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not lines:
        raise DatasetError(
            f"the split {path.stem!r} is empty",
            expected="one id a line",
            got="no id",
            where=str(path),
            fix="list the ids that belong to the split",
        )
    return lines


def check_ids(ids: tuple[str, ...], *, where: str) -> None:
    """Refuse ids that are no plain file names or that occur twice.

    Raises:
        DatasetError: naming the first such id.
    """
    for error in id_faults(ids, where=where):
        raise error


def id_faults(ids: tuple[str, ...], *, where: str) -> Iterator[DatasetError]:
    """Yield an error for each id that is no plain file name or that occurred before."""
    seen: set[str] = set()
    for identifier in ids:
        duplicate = identifier in seen
        if duplicate or not is_id(identifier):
            yield DatasetError(
                f"id {identifier!r} occurs twice" if duplicate else f"{identifier!r} is not an id",
                expected="each id once, of letters, digits, dot, dash and underscore",
                got=repr(identifier),
                where=where,
                fix="delete the second line" if duplicate else "rename the image and its labels",
            )
        seen.add(identifier)


def is_id(text: str) -> bool:
    """Say whether a text can be an id: a plain file name without its suffix."""
    return _ID.fullmatch(text) is not None


def read_image(path: Path, *, as_shown: bool = False) -> Image:
    """Read one image file as uint8 ``[height, width, 3]``, RGB.

    ``as_shown``: it has no labels, so it is turned as its Exif orientation asks a viewer to; else such a file is refused.

    Raises:
        DatasetError: the file is unreadable or too large, cannot be 8-bit RGB in one way only, or holds NaN (a ``.npy`` of
            floats).
        TargetUnavailable: Pillow is not installed.
    """
    pixels = decode_npy(path) if path.suffix.lower() == ".npy" else decode_rgb(path, as_shown=as_shown)
    return check_image(pixels, where=str(path))


def check_image(image: Array, *, where: str) -> Image:
    """Return ``image`` if it is uint8 ``[height, width, 3]``.

    Raises:
        DatasetError: another dtype or shape, or NaN; ``where`` names the image.
    """
    expected = "uint8 [height, width, 3], RGB"
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        raise DatasetError(
            "the image holds NaN or infinity",
            expected=expected,
            got=f"{int((~np.isfinite(image)).sum())} such values",
            where=where,
            fix="render or record the image again, as 8-bit RGB",
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DatasetError(
            "the image has the wrong dtype or shape",
            expected=expected,
            got=f"{image.dtype} {list(image.shape)}",
            where=where,
            fix="save it as 8-bit RGB",
        )
    return image.astype(np.uint8, copy=False)


def check_encoded(task_name: str, encoded: Array, spec: DatasetSpec, *, where: str) -> None:
    """Refuse an encoded label whose dtype, shape or values are not those of its task's kind (bundle/tasks/kinds/).

    Raises:
        DatasetError: naming ``where``, what was expected and what came.
    """
    row = task(task_name)
    kind, dtype = row.kind, np.dtype(row.kind.label_dtype)
    if encoded.dtype != dtype or encoded.ndim < 2 or encoded.shape[2:] != kind.label_axes:
        shape = ", ".join(("height", "width", *map(str, kind.label_axes)))
        raise DatasetError(
            f"the {task_name} label has the wrong dtype or shape",
            expected=f"{dtype} [{shape}]",
            got=f"{encoded.dtype} {list(encoded.shape)}",
            where=where,
            fix="save it as the folder format describes",
        )
    allowed = kind.label_values(output_channels(row, spec), spec)
    if allowed is None:
        return
    wrong = np.setdiff1d(np.flatnonzero(np.bincount(encoded.reshape(-1), minlength=256)), allowed)
    if wrong.size:
        raise DatasetError(
            f"the {task_name} label holds values that mean nothing",
            expected=f"values among {allowed.tolist()}",
            got=f"{wrong.tolist()}",
            where=where,
            fix=f"correct the label, or the classes in {SPEC_FILE}",
        )


def decode_label(task_name: str, encoded: Array, spec: DatasetSpec) -> Array:
    """Turn a checked encoded label into what a metric compares, as the task's kind says."""
    return task(task_name).kind.decode(encoded, spec)
