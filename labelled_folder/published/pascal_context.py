"""PASCAL-Context with five tasks, as PASCAL_MT.tgz unpacks: semantic segmentation, human parts, saliency, normals, edges.

ImageSets/Context/{train,val}.txt   one id a line
JPEGImages/ID.jpg
semseg/VOC12/ID.png                 else semseg/pascal-context/ID.png: 0 to 20, 255 is void
human_parts/ID.mat                  anno: objects with a class, a mask, and parts with a name and a mask
pascal-context/trainval/ID.mat      LabelMap: edges are where it changes; its classes say where normals count
normals_distill/ID.png              2·p/255 − 1
sal_distill/ID.png                  salient above half of white
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.tasks.dataset import read_ids, read_image
from bundle.tasks.edges import thin
from bundle.tasks.spec import IGNORE, Array, DatasetSpec
from labelled_folder.published.files import (
    classes_table,
    one_of,
    read_binary,
    read_classes,
    read_mat,
    read_unit_vectors,
    wrong_content,
)
from labelled_folder.published.layout import Example, Ids, Layout, colours

CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
PARTS = ("background", "head", "torso", "upper_arm", "lower_arm", "upper_leg", "lower_leg")
PERSON = 15
PART_CLASS = {
    **dict.fromkeys(("head", "hair", "lear", "rear", "lebrow", "rebrow", "leye", "reye", "mouth", "nose"), 1),
    **dict.fromkeys(("neck", "torso"), 2),
    **dict.fromkeys(("luarm", "ruarm"), 3),
    **dict.fromkeys(("llarm", "rlarm", "lhand", "rhand"), 4),
    **dict.fromkeys(("luleg", "ruleg"), 5),
    **dict.fromkeys(("llleg", "rlleg", "lfoot", "rfoot"), 6),
}
WITH_NORMALS = (
    *(3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49, 50, 51, 53, 55, 56),
    *(59, 61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101, 104, 105, 107, 111, 113, 115, 122, 124),
    *(135, 141, 142, 143, 146, 150, 154, 157, 158, 159, 165, 172, 174, 181, 183, 184, 191, 193, 195, 197, 199, 202),
    *(213, 215, 216, 219, 220, 223, 225, 228, 230, 232, 233, 238, 239, 242, 243, 246, 250, 251, 252, 255, 260, 261),
    *(263, 269, 272, 273, 275, 281, 283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295, 304, 307, 309, 310, 314),
    *(315, 319, 323, 329, 330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368, 370, 371, 374, 379, 380, 383),
    *(384, 397, 401, 403, 405, 407, 408, 411, 412, 413, 414, 417, 419, 421, 423, 427, 429, 430, 432, 440, 441, 442),
    *(443, 444, 446, 454, 457),
)
"""Classes of LabelMap whose names NYUDv2's 894 classes have too, and the monitor: a normal elsewhere was not distilled."""
_TABLE = classes_table({index: index for index in range(len(CLASSES))}, void=(IGNORE,))


def ids(root: Path, split: str) -> Ids:
    """Return the ids of a split; raises as ``read_ids`` does."""
    return read_ids(root / "ImageSets" / "Context" / f"{split}.txt")


def read(root: Path, split: str, identifier: str) -> Example:
    """Read one image and its five labels.

    Raises:
        DatasetError: a file is missing, unreadable, or not what this layout has there.
        TargetUnavailable: Pillow or scipy is not installed.
    """
    image = read_image(one_of(root / "JPEGImages", identifier, (".jpg",)))
    context = read_mat(one_of(root / "pascal-context" / "trainval", identifier, (".mat",)), "LabelMap").astype(np.int64)
    parts = one_of(root / "human_parts", identifier, (".mat",))
    normals = one_of(root / "normals_distill", identifier, (".png",))
    labels: dict[str, Array] = {
        "semseg": read_classes(_semseg(root / "semseg", identifier), _TABLE),
        "human_parts": read_parts(parts, image.shape[:2]),
        "saliency": read_binary(one_of(root / "sal_distill", identifier, (".png",))),
        "normals": _normals(normals, context),
        "edge": boundaries(context),
    }
    return Example(image=image, labels=labels)


def _semseg(folder: Path, identifier: str) -> Path:
    annotated = folder / "VOC12" / f"{identifier}.png"
    return annotated if annotated.is_file() else one_of(folder / "pascal-context", identifier, (".png",))


def _normals(path: Path, context: NDArray[np.int64]) -> Array:
    vectors = read_unit_vectors(path)
    if vectors.shape[:2] != context.shape:
        raise wrong_content(path, f"the size of LabelMap, {list(context.shape)}", str(list(vectors.shape[:2])))
    return np.where(np.isin(context, WITH_NORMALS)[..., None], vectors, 0.0)


def boundaries(context: NDArray[np.int64]) -> Array:
    """Return 255 where the Laplacian of a label map is not 0, thinned; the border repeats the row inside it."""
    padded = np.pad(context, 1, mode="reflect")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return np.where(thinned(around != 4 * context), np.uint8(IGNORE), np.uint8(0))


def thinned(lines: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thin lines to one pixel (Guo & Hall 1989), south-east sides first as in scikit-image: ``thin`` takes the other first."""
    turned = np.pad(lines[::-1, ::-1].astype(np.uint64), 1)
    kept = thin(turned.reshape(-1), turned.shape[1]).reshape(turned.shape)
    return np.asarray(kept[-2:0:-1, -2:0:-1] != 0)


def read_parts(path: Path, size: tuple[int, int]) -> Array:
    """Return the six parts of the people in an image, uint8 ``[H, W]``: 0 is background, all 255 if there is no part.

    Raises:
        DatasetError: the file is unreadable, has other structs, a part without a name here, or a mask of another size.
    """
    anno = read_mat(path, "anno")
    label = np.zeros(size, np.uint8)
    empty = True
    try:
        for name, mask in _parts(anno):
            label[mask.astype(bool)] = PART_CLASS[name]
            empty = False
    except (IndexError, KeyError, TypeError, ValueError) as error:
        expected = f"anno[0][0][1][0][object]: class, number, mask {list(size)}, parts (name, mask) of people"
        raise wrong_content(path, expected, f"{type(error).__name__}: {error}") from error
    return np.full(size, IGNORE, np.uint8) if empty else label


def _parts(anno: NDArray[np.generic]) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yield the name and the mask of each part of each person, in the file's order."""
    objects = anno[0][0][1]
    for thing in objects[0] if objects.size else ():
        if int(thing[1].item()) == PERSON and thing[3].size:
            for part in thing[3][0]:
                yield str(part[0].item()), part[1]


PASCAL_CONTEXT = Layout(
    name="pascal-context",
    spec=DatasetSpec(
        name="pascal-context",
        classes={"semseg": CLASSES, "human_parts": PARTS},
        palettes={"semseg": colours(len(CLASSES)), "human_parts": colours(len(PARTS))},
        attribution="PASCAL-Context (Mottaghi et al. 2014) on images of PASCAL VOC 2010, with PASCAL-Part (Chen et al. 2014);"
        " saliency and normals distilled (Maninis et al. 2019). The terms of these data sets hold for this folder.",
    ),
    ids=ids,
    read=read,
)
