"""A checkpoint for images of another size than it was trained on.

A Swin's weights know no size: its windows are padded where a map is no multiple of them. A ViT's table of positions is
interpolated. What else depends on the size is refused by name, for nothing says how it would have to change.
"""

from pathlib import Path
from typing import NamedTuple

from bundle.base.errors import CheckpointError
from tdss.checkpoint import BACKBONE, read
from tdss.config import ModelConfig
from tdss.config_file import WEIGHTS, read_config_at
from tdss.model import MultiTaskModel, shapes


class Resized(NamedTuple):
    """A configuration, its float32 model for evaluation only (``MultiTaskModel.precompute``), and what its size changed, in sentences."""

    config: ModelConfig
    model: MultiTaskModel
    changes: tuple[str, ...]


def load_at(folder: Path, size: tuple[int, int] | None) -> Resized:
    """Load a checkpoint for images of ``size`` (rows, columns); None, or its own size: as ``tdss.checkpoint.load`` does.

    Raises:
        ConfigError: config.toml is wrong, or a part of the model cannot take images of this size.
        CheckpointError: see ``tdss.checkpoint.load``; or a tensor depends on the size, and is no table of positions.
    """
    config, weights = read(folder)
    wanted = read_config_at(folder, size)
    changes: tuple[str, ...] = ()
    if wanted.image != config.image:
        whole = shapes(wanted)
        own = {name.removeprefix(BACKBONE): one for name, one in weights.items() if name.startswith(BACKBONE)}
        refitted = whole.backbone.refit(own, wanted.backbone, config.image, wanted.image)
        weights |= {BACKBONE + name: tensor for name, tensor in refitted.tensors.items()}
        image, before = wanted.image, config.image
        said = f"image {image.height} × {image.width} in the place of {before.height} × {before.width}"
        changes = (said, *refitted.changes)
        _require_shapes(whole, {name: tuple(tensor.shape) for name, tensor in weights.items()}, folder / WEIGHTS)
    model = MultiTaskModel(wanted)
    model.load_state_dict(weights)
    model.precompute()
    return Resized(wanted, model.eval(), changes)


def _require_shapes(wanted: MultiTaskModel, got: dict[str, tuple[int, ...]], where: Path) -> None:
    """Refuse tensors that the model has in another shape, or does not have, for images of the wanted size."""
    expected = {name: tuple(tensor.shape) for name, tensor in wanted.state_dict().items()}
    apart = [
        f"{name} is {got.get(name, 'missing')}, not {expected.get(name, 'there')}"
        for name in sorted(expected.keys() | got.keys())
        if got.get(name) != expected.get(name)
    ]
    if apart:
        raise CheckpointError(
            "tensors of this checkpoint depend on the size of its images",
            expected="a size in the backbone's positions only",
            got="; ".join(apart[:8]),
            where=str(where),
            fix="train it at this size, or build it at its own with a size_policy in dataset.json",
        )
