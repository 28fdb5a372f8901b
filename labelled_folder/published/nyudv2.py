"""NYUDv2 with four tasks, as NYUD_MT.tgz unpacks, and the variant whose images, edges and normals are PNG files.

gt_sets/{train,val}.txt     one id a line
images/ID.jpg or .png
segmentation/ID.png         0 is void, 1 to 40 are the classes
depth/ID.npy                metres, 0 is invalid
normals/ID.npy or .png      −1 to 1, or 2·p/255 − 1
edge/ID.npy or .png         0 or 1, or 0 or 255
"""

from pathlib import Path

import numpy as np

from bundle.tasks.dataset import read_ids, read_image
from bundle.tasks.spec import IGNORE, Array, DatasetSpec
from labelled_folder.encode import encode_depth
from labelled_folder.published.files import (
    classes_table,
    one_of,
    read_binary,
    read_classes,
    read_floats,
    read_unit_vectors,
    wrong_content,
)
from labelled_folder.published.layout import Example, Ids, Layout, colours

CLASSES = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter"),
    *(
        "blinds",
        "desk",
        "shelves",
        "curtain",
        "dresser",
        "pillow",
        "mirror",
        "floor_mat",
        "clothes",
        "ceiling",
        "books",
    ),
    *("refrigerator", "television", "paper", "towel", "shower_curtain", "box", "whiteboard", "person", "night_stand"),
    *("toilet", "sink", "lamp", "bathtub", "bag", "other_structure", "other_furniture", "other_prop"),
)
SPEC = DatasetSpec(
    name="nyudv2",
    classes={"semseg": CLASSES},
    palettes={"semseg": colours(len(CLASSES))},
    depth_unit_m=0.001,
    attribution="NYU Depth Dataset V2 (Silberman et al. 2012) with 40 classes (Gupta et al. 2013)."
    " The terms of these data sets hold for this folder.",
)
_TABLE = classes_table({index + 1: index for index in range(len(CLASSES))}, void=(0,))
_ARRAY = (".npy", ".png")


def ids(root: Path, split: str) -> Ids:
    """Return the ids of a split; raises as ``read_ids`` does."""
    return read_ids(root / "gt_sets" / f"{split}.txt")


def read(root: Path, split: str, identifier: str) -> Example:
    """Read one image and its four labels.

    Raises:
        DatasetError: a file is missing, unreadable, or not what this layout has there.
        TargetUnavailable: Pillow is not installed.
    """
    depth = one_of(root / "depth", identifier, (".npy",))
    labels: dict[str, Array] = {
        "semseg": read_classes(one_of(root / "segmentation", identifier, (".png",)), _TABLE),
        "normals": read_unit_vectors(one_of(root / "normals", identifier, _ARRAY)),
        "depth": encode_depth(read_floats(depth), SPEC.depth_unit_m, where=str(depth)),
        "edge": _edge(one_of(root / "edge", identifier, _ARRAY)),
    }
    return Example(image=read_image(one_of(root / "images", identifier, (".jpg", ".png"))), labels=labels)


def _edge(path: Path) -> Array:
    if path.suffix == ".png":
        return read_binary(path)
    edge = read_floats(path)
    if edge.ndim != 2 or not np.isin(edge, (0, 1)).all():
        raise wrong_content(path, "[height, width] of 0 and 1", f"{list(edge.shape)}, {edge.min():g} to {edge.max():g}")
    return np.where(edge > 0, np.uint8(IGNORE), np.uint8(0))


NYUDV2 = Layout(name="nyudv2", spec=SPEC, ids=ids, read=read)
