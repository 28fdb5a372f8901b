"""Cityscapes with fine labels and disparity, as its packages unpack into one folder.

    leftImg8bit/SPLIT/CITY/ID_leftImg8bit.png
    gtFine/SPLIT/CITY/ID_gtFine_labelIds.png    19 of the numbers are trained on, the others are void
    disparity/SPLIT/CITY/ID_disparity.png       16 bits: (p − 1) / 256 pixels, 0 is invalid
    camera/SPLIT/CITY/ID_camera.json            baseline in metres and focal length in pixels

Depth is baseline · focal length / disparity, in steps of a centimetre. Without the folder ``camera`` its usual numbers count.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen, faults
from bundle.base.limits import Positive, read_limited
from bundle.tasks.dataset import check_ids, read_image
from bundle.tasks.image_files import decode
from bundle.tasks.spec import Array, DatasetSpec
from labelled_folder.encode import encode_depth
from labelled_folder.published.files import classes_table, one_of, read_classes, wrong_content
from labelled_folder.published.layout import Example, Ids, Layout, colours

CLASSES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic_light": 19,
    "traffic_sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
SPEC = DatasetSpec(
    name="cityscapes",
    classes={"semseg": tuple(CLASSES)},
    palettes={"semseg": colours(len(CLASSES))},
    depth_unit_m=0.01,
    attribution="Cityscapes (Cordts et al. 2016). The terms of that data set hold for this folder.",
)
IMAGE = "_leftImg8bit.png"
_VOID = tuple(value for value in (*range(34), 255) if value not in CLASSES.values())  # 255 is the number −1
_TABLE = classes_table({value: index for index, value in enumerate(CLASSES.values())}, _VOID)


class Extrinsic(Frozen, extra="ignore"):
    """What is read of a camera's extrinsic numbers: metres between the two cameras."""

    baseline: Positive


class Intrinsic(Frozen, extra="ignore"):
    """What is read of a camera's intrinsic numbers: the focal length in pixels."""

    fx: Positive


class Camera(Frozen, extra="ignore"):
    """A camera file; keys that are not read are not looked at."""

    extrinsic: Extrinsic
    intrinsic: Intrinsic

    @property
    def metre_pixels(self) -> float:
        """Depth in metres times disparity in pixels."""
        return self.extrinsic.baseline * self.intrinsic.fx


USUAL = Camera(extrinsic=Extrinsic(baseline=0.209313), intrinsic=Intrinsic(fx=2262.52))


def ids(root: Path, split: str) -> Ids:
    """Return the ids of a split's images, sorted.

    Raises:
        DatasetError: there is no image, or an id is no plain name.
    """
    folder = root / "leftImg8bit" / split
    found = tuple(sorted(path.name.removesuffix(IMAGE) for path in folder.glob(f"*/*{IMAGE}")))
    if not found:
        raise DatasetError(
            f"the data set has no split {split!r}",
            expected=f"CITY/ID{IMAGE}",
            got="no such file",
            where=str(folder),
            fix="unpack leftImg8bit_trainvaltest.zip here, or name the folder that holds leftImg8bit",
        )
    check_ids(found, where=str(folder))
    return found


def read(root: Path, split: str, identifier: str) -> Example:
    """Read one image, its classes and its depth.

    Raises:
        DatasetError: a file is missing, unreadable, or not what this layout has there.
        TargetUnavailable: Pillow is not installed.
    """

    def path(package: str, suffix: str) -> Path:
        return one_of(root / package / split / identifier.split("_")[0], identifier, (suffix,))

    disparity = path("disparity", "_disparity.png")
    metre_pixels = read_camera(path("camera", "_camera.json")) if (root / "camera").is_dir() else USUAL.metre_pixels
    metres = depth_m(decode(disparity, ("I;16",)), metre_pixels)
    labels: dict[str, Array] = {
        "semseg": read_classes(path("gtFine", "_gtFine_labelIds.png"), _TABLE),
        "depth": encode_depth(metres, SPEC.depth_unit_m, where=str(disparity)),
    }
    return Example(image=read_image(path("leftImg8bit", IMAGE)), labels=labels)


def depth_m(stored: Array, metre_pixels: float) -> NDArray[np.float64]:
    """Return metres from a stored disparity; 0 where it is 0 (no match) or 1 (no disparity)."""
    pixels = (stored.astype(np.float64) - 1) / 256
    return np.divide(metre_pixels, pixels, out=np.zeros_like(pixels), where=pixels > 0)


def read_camera(path: Path) -> float:
    """Return baseline times focal length of a camera file.

    Raises:
        DatasetError: it cannot be read, or lacks a number.
    """
    try:
        given = Camera.model_validate_json(read_limited(path, "toml_bytes"))
    except ValidationError as error:
        raise wrong_content(path, "extrinsic.baseline and intrinsic.fx", faults(error)) from error
    return given.metre_pixels


CITYSCAPES = Layout(name="cityscapes", spec=SPEC, ids=ids, read=read)
