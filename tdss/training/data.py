"""The labelled folder decoded once into RAM, and batches that depend on nothing but (seed, step)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen
from bundle.tasks.dataset import FolderDataset, load_spec
from bundle.tasks.table import task as task_row
from tdss.backbones.config import ImageConfig
from tdss.kinds.tensor_kind import tensors
from tdss.training import augment
from tdss.training.config import AugmentConfig


class Batch(Frozen, arbitrary_types_allowed=True):
    """Normalised images float32 [B, 3, H, W] and each task's labels [B, H, W] or [B, 3, H, W].

    ``views`` number the images before crop and colour: the N images of the split, then their mirrored ones.
    """

    images: Tensor
    labels: dict[str, Tensor]
    views: tuple[int, ...]


class Ram:
    """A split in memory: images uint8 [N, 3, H, W] and one tensor of N labels per task."""

    def __init__(self, images: Tensor, labels: dict[str, Tensor]) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)


def open_dataset(root: Path, spec: Path) -> FolderDataset:
    """Open a labelled folder with the spec at a path of its own.

    Raises:
        DatasetError: either is missing or cannot be read.
    """
    return FolderDataset(root=root, spec=load_spec(spec))


def decode(dataset: FolderDataset, ids: Sequence[str], tasks: Sequence[str], image: ImageConfig) -> Ram:
    """Decode every image and label of ``ids``.

    Raises:
        DatasetError: an image is not of the model's size; it is named.
    """
    shape = (image.height, image.width)
    images = torch.empty(len(ids), 3, *shape, dtype=torch.uint8)
    labels: dict[str, list[Tensor]] = {task: [] for task in tasks}
    for index, name in enumerate(ids):
        pixels = dataset.image(name)
        if pixels.shape != (*shape, 3):
            raise DatasetError(
                f"image {name} has another size",
                expected=f"{(*shape, 3)}",
                got=f"{pixels.shape}",
                where=str(dataset.root),
                fix="resize the images, set model.image to their size, or declare a size_policy in dataset.json",
            )
        images[index] = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        for task in tasks:
            labels[task].append(_label(dataset, task, name))
    return Ram(images, {task: torch.stack(rows) for task, rows in labels.items()})


def _label(dataset: FolderDataset, task: str, name: str) -> Tensor:
    label = torch.from_numpy(np.ascontiguousarray(dataset.label(task, name)))
    return label.half() if label.is_floating_point() else label  # 3 digits, half the memory


def _single(labels: Tensor) -> Tensor:
    return labels.float() if labels.is_floating_point() else labels


def generator(seed: int, step: int, stream: int) -> torch.Generator:
    """Return a generator that depends on (seed, step, stream) alone, mixed so that neighbours are unrelated."""
    state = np.random.SeedSequence((seed, step, stream)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))


def indices(size: int, batch: int, step: int, seed: int) -> list[int]:
    """Return the sample numbers of a step: every epoch is a permutation of its own, epochs follow without a gap."""
    first = step * batch
    epochs = range(first // size, (first + batch - 1) // size + 1)
    order = [torch.randperm(size, generator=generator(seed, epoch, 1)) for epoch in epochs]
    start = first - epochs[0] * size
    return [int(index) for index in torch.cat(order)[start : start + batch]]


def make_batch(
    ram: Ram, chosen: Sequence[int], image: ImageConfig, config: AugmentConfig, draw: torch.Generator
) -> Batch:
    """Gather and augment the samples ``chosen``; ``draw`` decides every random choice."""
    count, (height, width) = len(chosen), ram.images.shape[2:]
    boxes = augment.crops(count, height, width, config, draw)
    flips = (torch.rand(count, generator=draw) < config.flip).tolist()
    matrix, shift = augment.colour(count, image, config, draw)
    where = torch.tensor(chosen)
    images = augment.recolour(augment.view_images(ram.images[where], boxes, flips), matrix, shift)
    labels = {
        task: tensors(task_row(task).kind).view(_single(rows[where]), boxes, flips) for task, rows in ram.labels.items()
    }
    if config.paste:
        holes = augment.pastes(count, height, width, config, draw)
        images = augment.paste(images, holes)
        labels = {task: augment.paste(rows, holes) for task, rows in labels.items()}
    views = tuple(index + flip * len(ram) for index, flip in zip(chosen, flips, strict=True))
    return Batch(images=images, labels=labels, views=views)
