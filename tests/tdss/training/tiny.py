"""A labelled folder of eight 32×32 images and configs that train on it in a second."""

from pathlib import Path

import numpy as np
import tomli_w

from tests.bundle import made_scenes

ALL_TASKS = {"semseg": 3, "human_parts": 2, "saliency": 1, "normals": 3, "depth": 1, "edge": 1}


def write_folder(root: Path, count: int = 8, size: int = 32) -> Path:
    """Write random images and labels of all six tasks; the first half is ``train``, the rest ``val``."""
    draw = np.random.default_rng(0)
    names, plane = [f"{index:03d}" for index in range(count)], (size, size)
    examples = {
        name: (
            draw.integers(0, 256, (*plane, 3), dtype=np.uint8),
            {
                "semseg": draw.integers(0, 3, plane, dtype=np.uint8),
                "human_parts": draw.integers(0, 2, plane, dtype=np.uint8),
                "saliency": 255 * draw.integers(0, 2, plane, dtype=np.uint8),
                "normals": draw.integers(1, 256, (*plane, 3), dtype=np.uint8),
                "depth": draw.integers(500, 5000, plane, dtype=np.uint16),
                "edge": 255 * (draw.random(plane) < 0.1).astype(np.uint8),
            },
        )
        for name in names
    }
    splits = {"train": names[: count // 2], "val": names[count // 2 :]}
    return made_scenes.write_folder(root, splits, examples, made_scenes.SPEC).root


def settings(root: Path, runs: Path, name: str = "tiny", tasks: dict[str, int] | None = None) -> dict[str, object]:
    """Return the keys of a training config on the folder ``root``, without adapters."""
    chosen = tasks if tasks is not None else {"semseg": 3, "normals": 3}
    return {
        "name": name,
        "runs": str(runs),
        "steps": 12,
        "batch": 2,
        "evaluations": 1,
        "evaluation_images": 2,
        "data": {"root": str(root)},
        "augment": {"scale": 0.6, "stretch": 0.2, "brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "gain": 0.1},
        "optimizer": {"lr": 0.01, "warmup": 3, "ema": 0.9},
        "losses": {task: {"balance": 0.5, "stride": 2} for task in chosen},
        "model": {
            "name": name,
            "tasks": chosen,
            "image": {"height": 32, "width": 32},
            "backbone": {"embed_dim": 8, "depths": [1, 1], "heads": [1, 2], "window": 4, "drop_path": 0.2},
            "adapter": {"kind": "none"},
            "decoder": {"widths": [4, 4], "hidden": 8, "stride": 8},
        },
    }


def write_config(path: Path, keys: dict[str, object]) -> Path:
    """Write a config as TOML."""
    path.write_text(tomli_w.dumps(keys))
    return path
