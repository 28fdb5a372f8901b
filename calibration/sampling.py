"""Which images a quantizer sees: a seeded draw from a labelled folder's split or from a bare folder of images.

Every image is read and checked when the set is drawn, so a bad one is refused before a quantizer starts. The set
keeps paths, not pixels: ``tensors`` reads each image again when it is asked for.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen
from bundle.tasks.dataset import IMAGE_SUFFIXES, Image, find_image, read_ids, read_image
from bundle.tasks.preprocess import Preprocess


class CalibrationSet(Frozen):
    """Checked images in the order of use.

    ``sha256`` identifies their pixels: shape and bytes of each, in order. ``findings`` are sentences about images that
    are no error and yet weaken a calibration: constant, duplicate, left out, fewer than asked for.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    preprocess: Preprocess
    sha256: str
    findings: tuple[str, ...]

    def images(self) -> Iterator[Image]:
        """Yield each image as uint8 ``[height, width, 3]``."""
        for path in self.paths:
            yield read_image(path)

    def tensors(self) -> Iterator[NDArray[np.float32]]:
        """Yield each image as a model's input, float32 ``[1, 3, height, width]``."""
        for path, image in zip(self.paths, self.images(), strict=True):
            yield self.preprocess.apply(image, name=str(path))


def choose(ids: tuple[str, ...], count: int, *, seed: int) -> tuple[str, ...]:
    """Draw ``count`` ids without replacement, in their given order; all of them if there are no more.

    Raises:
        DatasetError: ``count`` is not positive.
    """
    if count < 1:
        raise DatasetError(
            "no image was asked for",
            expected="a count of at least 1",
            got=str(count),
            where="the calibration's count",
            fix="ask for one image or more",
        )
    if count >= len(ids):
        return ids
    picks = np.sort(np.random.default_rng(seed).choice(len(ids), size=count, replace=False))
    return tuple(ids[index] for index in picks)


def from_split(root: Path, split: str, count: int, *, seed: int, preprocess: Preprocess) -> CalibrationSet:
    """Draw images from ``<root>/<split>.txt`` of a labelled folder; its labels and spec are not read.

    Raises:
        DatasetError: the split or an image of it is missing, empty or wrong, see bundle/tasks/dataset.py.
    """
    ids = read_ids(root / f"{split}.txt")
    chosen = choose(ids, count, seed=seed)
    files = {identifier: find_image(root, identifier) for identifier in chosen}
    return _checked(files, preprocess, _too_few(len(ids), count))


def from_images(folder: Path, count: int, *, seed: int, preprocess: Preprocess) -> CalibrationSet:
    """Draw images from a bare folder, where every image file's name is its id.

    Raises:
        DatasetError: the folder is missing, holds no image, or a drawn image is wrong.
    """
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    names = tuple(path.name for path in found if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not names:
        raise DatasetError(
            "there is no image to calibrate with",
            expected=f"files ending in {', '.join(IMAGE_SUFFIXES)}",
            got=f"{len(found)} other files" if folder.is_dir() else "no such folder",
            where=str(folder),
            fix="give a folder with images like those the model will see, or a labelled folder",
        )
    findings = _too_few(len(names), count)
    if len(found) > len(names):
        findings += (f"{len(found) - len(names)} entries of {folder} are no images and were left out",)
    return _checked({name: folder / name for name in choose(names, count, seed=seed)}, preprocess, findings)


def from_folder(folder: Path, split: str, count: int, *, seed: int, preprocess: Preprocess) -> CalibrationSet:
    """Draw images from ``split`` if ``folder`` is a labelled folder (it has ``image/``), else from its image files.

    Raises:
        DatasetError: see ``from_split`` and ``from_images``.
    """
    if (folder / "image").is_dir():
        return from_split(folder, split, count, seed=seed, preprocess=preprocess)
    return from_images(folder, count, seed=seed, preprocess=preprocess)


def _too_few(available: int, count: int) -> tuple[str, ...]:
    return (f"only {available} images of the {count} asked for",) if available < count else ()


def _checked(files: dict[str, Path], preprocess: Preprocess, findings: tuple[str, ...]) -> CalibrationSet:
    digest = hashlib.sha256()
    same: dict[str, list[str]] = defaultdict(list)
    constant = []
    for identifier, path in files.items():
        image = read_image(path)
        preprocess.apply(image, name=str(path))
        pixels = hashlib.sha256(f"{list(image.shape)}\n".encode() + image.tobytes()).hexdigest()
        digest.update(pixels.encode())
        same[pixels].append(identifier)
        if (image == image[0, 0]).all():
            constant.append(f"image {identifier} is constant: every pixel is {image[0, 0].tolist()}")
    twins = [f"images {', '.join(group)} hold the same pixels" for group in same.values() if len(group) > 1]
    return CalibrationSet(
        ids=tuple(files),
        paths=tuple(files.values()),
        preprocess=preprocess,
        sha256=digest.hexdigest(),
        findings=(*findings, *constant, *twins),
    )
