"""A tiny labelled folder made in place, with every kind of label, for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from bundle.dataset import DatasetSpec, FolderDataset

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


def write(root: Path, splits: dict[str, tuple[str, ...]]) -> FolderDataset:
    """Write images (PNG), labels, splits and the spec below ``root``."""
    for folder in ("image", *labels(0)):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for seed, identifier in enumerate(dict.fromkeys(name for ids in splits.values() for name in ids)):
        Image.fromarray(image(seed)).save(root / "image" / f"{identifier}.png")
        for task, encoded in labels(seed).items():
            Image.fromarray(encoded).save(root / task / f"{identifier}.png")
    for split, ids in splits.items():
        (root / f"{split}.txt").write_text("".join(f"{identifier}\n" for identifier in ids))
    (root / "dataset.json").write_text(SPEC.model_dump_json())
    return FolderDataset(root=root, spec=SPEC)
