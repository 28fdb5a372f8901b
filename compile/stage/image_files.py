"""The real images that calibrate a quantizer and check a graph: files, read one at a time, hashed for the store."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen
from bundle.formats.artifacts import hash_file
from bundle.tasks.dataset import IMAGE_SUFFIXES, Image, read_ids, read_image

IMAGE_FOLDER = "image"


class ImageFiles(Frozen):
    """Image files in the order in which they are used."""

    paths: tuple[Path, ...]

    @property
    def sha256(self) -> str:
        """The hash of every file's name and bytes, in order."""
        lines = "".join(f"{path.name}\0{hash_file(path)}\n" for path in self.paths)
        return hashlib.sha256(lines.encode()).hexdigest()

    def first(self, count: int) -> "ImageFiles":
        """Return the first ``count`` of them."""
        return ImageFiles(paths=self.paths[:count])

    def read(self) -> Iterator[tuple[str, Image]]:
        """Yield each file's path and its image, uint8 ``[H, W, 3]``.

        Raises:
            DatasetError: a file is unreadable, not 8-bit RGB, or holds NaN.
        """
        for path in self.paths:
            yield str(path), read_image(path)


def folder_images(folder: Path, split: str) -> ImageFiles:
    """Return the images in ``folder``: a labelled folder's ``split``, or every image of a plain folder, by name.

    Raises:
        DatasetError: the folder is missing or holds no image, or an id of the split has none.
    """
    if (folder / IMAGE_FOLDER).is_dir():
        return ImageFiles(paths=_split_images(folder, split))
    paths = _images(folder) if folder.is_dir() else []
    if not paths:
        raise DatasetError(
            "no calibration image here",
            expected=f"a labelled folder, or files ending in {', '.join(IMAGE_SUFFIXES)}",
            got="no such file in it" if folder.is_dir() else "no such folder",
            where=str(folder),
            fix="give a folder with the images that the model will see in use",
        )
    return ImageFiles(paths=tuple(paths))


def _split_images(folder: Path, split: str) -> tuple[Path, ...]:
    wanted = set(read_ids(folder / f"{split}.txt"))
    paths = tuple(path for path in _images(folder / IMAGE_FOLDER) if path.stem in wanted)
    missing = sorted(wanted - {path.stem for path in paths})
    if missing:
        raise DatasetError(
            f"{len(missing)} of the {len(wanted)} images of {split!r} are missing",
            expected=f"{missing[0]} with one of the endings {', '.join(IMAGE_SUFFIXES)}",
            got="no such file",
            where=str(folder / IMAGE_FOLDER),
            fix="add the files, or take the ids out of the split",
        )
    return paths


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
