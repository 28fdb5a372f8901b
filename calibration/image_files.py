"""The real images that calibrate a quantizer and check a graph: files, read one at a time, hashed for the store."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen
from bundle.base.limits import Side
from bundle.formats.image_hash import hash_images
from bundle.tasks.dataset import IMAGE_SUFFIXES, SPEC_FILE, Image, find_image, load_spec, read_ids, read_image
from bundle.tasks.fit import fit_image
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.spec import SizePolicy


class Fit(Frozen):
    """How an image of any size becomes a model's input (bundle/tasks/fit.py)."""

    height: Side
    width: Side
    policy: SizePolicy


class ImageFiles(Frozen):
    """Image files in the order in which they are used; ``fit`` None leaves them as they are stored.

    ``as_shown``: none has labels, so each is turned as its Exif orientation asks a viewer to.
    """

    paths: tuple[Path, ...]
    fit: Fit | None = None
    as_shown: bool = False

    @property
    def sha256(self) -> str:
        """The fingerprint of the files, see ``bundle.formats.image_hash``, and of ``fit``."""
        files = hash_images(self.paths)
        fit = self.fit and self.fit.model_dump_json()
        return hashlib.sha256(f"{fit}\n{files}".encode()).hexdigest() if fit else files

    def first(self, count: int) -> "ImageFiles":
        """Return the first ``count`` of them."""
        return self.of(self.paths[:count])

    def of(self, paths: tuple[Path, ...]) -> "ImageFiles":
        """Return other files, read in the same way."""
        return ImageFiles(paths=paths, fit=self.fit, as_shown=self.as_shown)

    def fitted(self, preprocess: Preprocess, policy: SizePolicy | None) -> "ImageFiles":
        """Return the same files for a model; without a policy each has its size, or is refused where it is used."""
        fit = None if policy is None else Fit(height=preprocess.height, width=preprocess.width, policy=policy)
        return self.model_copy(update={"fit": fit})

    def read(self) -> Iterator[tuple[str, Image]]:
        """Yield each file's path and its image, uint8 ``[H, W, 3]``.

        Raises:
            DatasetError: a file is unreadable, cannot be 8-bit RGB, holds NaN, or is too large to be padded.
        """
        for path in self.paths:
            image = read_image(path, as_shown=self.as_shown)
            if self.fit is not None:
                size = (self.fit.height, self.fit.width)
                image = fit_image(image, size, self.fit.policy, where=str(path)).astype(np.uint8, copy=False)
            yield str(path), image


def is_labelled(folder: Path) -> bool:
    """Say whether a folder is laid out as bundle/tasks/dataset.py describes; another one is a plain folder of images."""
    return (folder / "image").is_dir()


def fitted_images(folder: Path, split: str, preprocess: Preprocess) -> ImageFiles:
    """Return the images of ``folder_images`` for a model, with the policy that the folder's own spec declares.

    Raises:
        DatasetError: see ``folder_images``; or the folder has a spec and it cannot be read.
    """
    return folder_images(folder, split).fitted(preprocess, declared_policy(folder))


def declared_policy(folder: Path) -> SizePolicy | None:
    """Return the size policy in the spec of a labelled folder; None where there is no spec.

    Raises:
        DatasetError: the spec cannot be read.
    """
    spec = folder / SPEC_FILE
    return load_spec(spec).size_policy if spec.is_file() else None


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
    return ImageFiles(paths=paths, as_shown=True)
