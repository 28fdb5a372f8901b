"""A tiny labelled folder made in place, with every kind of label, for tests; and the writer of all such folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from bundle.tasks.dataset import FolderDataset
from bundle.tasks.spec import DatasetSpec

Example: TypeAlias = tuple[np.ndarray, Mapping[str, np.ndarray]]  # an image, and its encoded labels by task
SIZE = (12, 16)
SPEC = DatasetSpec(
    name="made",
    classes={"semseg": ("wall", "floor", "person"), "human_parts": ("background", "head")},
    palettes={"semseg": ((9, 9, 9), (0, 255, 0), (255, 0, 0)), "human_parts": ((0, 0, 0), (1, 2, 3))},
    attribution="made by a test",
)


def labels(seed: int) -> dict[str, np.ndarray]:
    """Encoded labels of one image."""
    generator = np.random.default_rng(seed)
    normals = generator.normal(size=(*SIZE, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    encoded = np.rint((normals + 1) * 127.5).astype(np.uint8)
    encoded[0, 0] = 0
    return {
        "semseg": generator.choice(np.array([0, 1, 2, 255], np.uint8), SIZE),
        "human_parts": generator.choice(np.array([0, 1, 255], np.uint8), SIZE),
        "saliency": generator.choice(np.array([0, 255], np.uint8), SIZE),
        "normals": encoded,
        "depth": generator.integers(0, 9000, SIZE).astype(np.uint16),
        "edge": generator.choice(np.array([0, 255], np.uint8), SIZE),
    }


def image(seed: int) -> np.ndarray:
    """One RGB image."""
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def write(root: Path, splits: Mapping[str, tuple[str, ...]]) -> FolderDataset:
    """Write random images, with labels of every task, below ``root``."""
    ids = dict.fromkeys(name for split in splits.values() for name in split)
    examples = {identifier: (image(seed), labels(seed)) for seed, identifier in enumerate(ids)}
    return write_folder(root, splits, examples, SPEC)


def write_folder(
    root: Path, splits: Mapping[str, Sequence[str]], examples: Mapping[str, Example], spec: DatasetSpec
) -> FolderDataset:
    """Write images and labels (PNG), splits and the spec below ``root``: a labelled folder."""
    for identifier, (pixels, encoded) in examples.items():
        for folder, array in {"image": pixels, **encoded}.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{identifier}.png")
    for split, ids in splits.items():
        (root / f"{split}.txt").write_text("".join(f"{identifier}\n" for identifier in ids))
    (root / "dataset.json").write_text(spec.model_dump_json())
    return FolderDataset(root=root, spec=spec)
