"""Which images a quantizer sees: a seeded draw from a labelled folder's split or from a plain folder of images.

Every image is read and checked when the set is drawn, so a bad one is refused before a quantizer starts. The set
keeps paths, not pixels: a quantizer reads each image again.
"""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import TypeVar

import numpy as np

from bundle.base.errors import DatasetError
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.spec import SizePolicy
from calibration.image_files import ImageFiles, folder_images, is_labelled

T = TypeVar("T")
LEAST_HELD = 4


class CalibrationSet(ImageFiles):
    """Checked images; an id is a labelled image's own, or the file name of another.

    ``findings`` are sentences about images that are no error and yet weaken a calibration: constant, duplicate,
    fewer than asked for.
    """

    ids: tuple[str, ...]
    findings: tuple[str, ...]


def choose(items: tuple[T, ...], count: int, *, seed: int) -> tuple[T, ...]:
    """Draw ``count`` items without replacement, in their given order; all of them if there are no more.

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
    if count >= len(items):
        return items
    picks = np.sort(np.random.default_rng(seed).choice(len(items), size=count, replace=False))
    return tuple(items[index] for index in picks)


def from_folder(
    folder: Path, split: str, count: int, *, seed: int, preprocess: Preprocess, policy: SizePolicy | None = None
) -> CalibrationSet:
    """Draw images from ``split`` of a labelled folder, whose labels and spec are not read, or from a plain folder.

    ``policy`` says how an image of another size than the model's becomes its input; None: it is refused.

    Raises:
        DatasetError: see ``folder_images``; or a drawn image cannot be read, or has another size than the model takes.
    """
    every = folder_images(folder, split)
    available = every.paths
    files = every.of(choose(available, count, seed=seed)).fitted(preprocess, policy)
    ids = tuple(path.stem if is_labelled(folder) else path.name for path in files.paths)
    few = (f"only {len(available)} images of the {count} asked for",) if len(available) < count else ()
    findings = (*few, *_check(files, ids, preprocess))
    return CalibrationSet(paths=files.paths, fit=files.fit, as_shown=files.as_shown, ids=ids, findings=findings)


def hold_out(
    drawn: CalibrationSet, folder: Path, split: str, most: int, *, seed: int
) -> tuple[CalibrationSet, ImageFiles]:
    """Return the images to calibrate on, and up to ``most`` others of the folder to measure the result on.

    Where the draw left fewer than ``LEAST_HELD`` images, a quarter of it is held out: its last ones. A single image serves
    for both.

    Raises:
        DatasetError: see ``folder_images``.
    """
    rest = tuple(path for path in folder_images(folder, split).paths if path not in set(drawn.paths))
    if len(rest) >= LEAST_HELD:
        return drawn, drawn.of(choose(rest, most, seed=seed))
    held = min(most, -(-len(drawn.paths) // 4))
    kept = len(drawn.paths) - held or 1
    calibration = drawn.model_copy(update={"paths": drawn.paths[:kept], "ids": drawn.ids[:kept]})
    return calibration, drawn.of(drawn.paths[-held:])


def _check(files: ImageFiles, ids: tuple[str, ...], preprocess: Preprocess) -> list[str]:
    same: dict[str, list[str]] = defaultdict(list)
    constant = []
    for identifier, (name, image) in zip(ids, files.read(), strict=True):
        preprocess.check(image, name=name)
        same[hashlib.sha256(image.tobytes()).hexdigest()].append(identifier)
        if (image == image[0, 0]).all():
            constant.append(f"image {identifier} is constant: every pixel is {image[0, 0].tolist()}")
    return constant + [f"images {', '.join(group)} hold the same pixels" for group in same.values() if len(group) > 1]
