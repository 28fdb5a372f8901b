"""Published data sets of a few pixels, written file by file as their archives unpack."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

HEIGHT, WIDTH = 4, 6
PICTURE = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3) * 3
VECTORS = np.zeros((HEIGHT, WIDTH, 3))
VECTORS[:2, :, 2], VECTORS[2:, :, 1] = 1, 1


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)


def structs(rows: list[dict[str, object]]) -> np.ndarray:
    """MATLAB's struct array [1, n]; [0, 0] if there is none."""
    if not rows:
        return np.empty((0, 0))
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for index, row in enumerate(rows):
        array[0, index] = tuple(row.values())
    return array


def thing(number: int, parts: list[tuple[str, np.ndarray]]) -> dict[str, object]:
    """One object of PASCAL-Part."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    rows: list[dict[str, object]] = [{"part_name": name, "mask": part.astype(np.uint8)} for name, part in parts]
    return {"class": "thing", "class_ind": float(number), "mask": mask, "parts": structs(rows)}


def area(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[rows, columns] = True
    return mask


def pascal(root: Path) -> Path:
    """Two images: one with a person of three parts and a dog, one with a dog alone and no class of VOC12."""
    person = thing(
        15,
        [
            ("hair", area(slice(0, 1), slice(0, 2))),
            ("rlarm", area(slice(1, 2), slice(0, 3))),
            ("lfoot", area(slice(3, 4), slice(5, 6))),
        ],
    )
    dog = thing(12, [("head", area(slice(0, 4), slice(0, 6)))])
    context = np.full((HEIGHT, WIDTH), 158, np.uint16)  # floor
    context[:, 3:] = 360  # sky, whose normals do not count
    for name, objects in {"2008_000001": [person, dog], "2008_000002": [dog]}.items():
        anno = structs([{"imname": name, "objects": structs(objects)}])
        (root / "human_parts").mkdir(parents=True, exist_ok=True)
        savemat(root / "human_parts" / f"{name}.mat", {"anno": anno})
        (root / "pascal-context" / "trainval").mkdir(parents=True, exist_ok=True)
        savemat(root / "pascal-context" / "trainval" / f"{name}.mat", {"LabelMap": context})
        save(root / "JPEGImages" / f"{name}.jpg", PICTURE)
        save(root / "semseg" / "pascal-context" / f"{name}.png", np.full((HEIGHT, WIDTH), 20, np.uint8))
        save(root / "normals_distill" / f"{name}.png", np.rint((VECTORS + 1) * 127.5).astype(np.uint8))
        save(root / "sal_distill" / f"{name}.png", np.tile(np.array([0, 127, 128, 255, 0, 0], np.uint8), (HEIGHT, 1)))
    annotated = np.zeros((HEIGHT, WIDTH), np.uint8)
    annotated[0], annotated[1] = 15, 255
    save(root / "semseg" / "VOC12" / "2008_000001.png", annotated)
    splits(root / "ImageSets" / "Context", "2008_000002", "2008_000001")
    return root


def splits(folder: Path, train: str, val: str) -> None:
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text(f"{train}\n")
    (folder / "val.txt").write_text(f"{val}\n")


def nyud(root: Path, *, png: bool) -> Path:
    """Two equal images, in one of the two variants."""
    classes = np.zeros((HEIGHT, WIDTH), np.uint8)
    classes[0], classes[1] = 1, 40
    depth = np.full((HEIGHT, WIDTH), 2.5, np.float32)
    depth[0] = 0
    edge = area(slice(2, 3), slice(0, 6))
    for name in ("0001", "0002"):
        save(root / "images" / f"{name}.{'png' if png else 'jpg'}", PICTURE)
        save(root / "segmentation" / f"{name}.png", classes)
        save(root / "depth" / f"{name}.npy", depth)
        if png:
            save(root / "normals" / f"{name}.png", np.rint((VECTORS + 1) * 127.5).astype(np.uint8))
            save(root / "edge" / f"{name}.png", edge.astype(np.uint8) * 255)
        else:
            save(root / "normals" / f"{name}.npy", VECTORS.astype(np.float32))
            save(root / "edge" / f"{name}.npy", edge.astype(np.float32))
    splits(root / "gt_sets", "0001", "0002")
    return root


def cityscapes(root: Path, *, camera: bool) -> Path:
    """One image a split."""
    numbers = np.tile(np.array([7, 33, 0, 255, 24, 1], np.uint8), (HEIGHT, 1))
    disparity = np.tile(np.array([0, 1, 257, 2561, 25601, 65535], np.uint16), (HEIGHT, 1))
    for split, name in {"train": "aachen_000000_000019", "val": "bonn_000001_000019"}.items():
        place = f"{split}/{name.split('_')[0]}/{name}"
        save(root / "leftImg8bit" / f"{place}_leftImg8bit.png", PICTURE)
        save(root / "gtFine" / f"{place}_gtFine_labelIds.png", numbers)
        save(root / "disparity" / f"{place}_disparity.png", disparity)
        if camera:
            path = root / "camera" / f"{place}_camera.json"
            path.parent.mkdir(parents=True)
            given = {"extrinsic": {"baseline": 0.2, "pitch": 0.03}, "intrinsic": {"fx": 2000.0, "u0": 1000.0}}
            path.write_text(json.dumps(given))
    return root
