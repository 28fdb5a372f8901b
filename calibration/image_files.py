"""The real images that calibrate a quantizer and check a graph: files, read one at a time, hashed for the store."""

from collections.abc import Iterator
from pathlib import Path

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen
from bundle.formats.image_hash import hash_images
from bundle.tasks.dataset import IMAGE_SUFFIXES, Image, find_image, read_ids, read_image


class ImageFiles(Frozen):
    """Image files in the order in which they are used."""

    paths: tuple[Path, ...]

    @property
    def sha256(self) -> str:
        """The fingerprint of the files, see ``bundle.formats.image_hash``."""
        return hash_images(self.paths)

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


def is_labelled(folder: Path) -> bool:
    """Say whether a folder is laid out as bundle/tasks/dataset.py describes; another one is a plain folder of images."""
    return (folder / "image").is_dir()


def folder_images(folder: Path, split: str) -> ImageFiles:
    """Return the images in ``folder``: those of a labelled folder's ``split`` in its order, or all of a plain folder by name.

    Raises:
        DatasetError: the folder is missing or holds no image, the split is missing or wrong, or an id of it has no image.
    """
    if is_labelled(folder):
        return ImageFiles(
            paths=tuple(find_image(folder, identifier) for identifier in read_ids(folder / f"{split}.txt"))
        )
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = tuple(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not paths:
        raise DatasetError(
            "there is no image here",
            expected=f"a labelled folder, or files ending in {', '.join(IMAGE_SUFFIXES)}",
            got=f"{len(found)} other files" if folder.is_dir() else "no such folder",
            where=str(folder),
            fix="give a folder with images like those the model will see, or a labelled folder",
        )
    return ImageFiles(paths=paths)
