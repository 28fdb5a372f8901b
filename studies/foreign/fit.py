"""Fit a small network on the labelled scenes: seeded steps of AdamW with the losses of the tasks' kinds; minutes on two cores."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bundle.tasks.dataset import FolderDataset, load_spec
from bundle.tasks.table import task
from studies.foreign.own import Fitted
from tdss.checkpoint import match, read_weights, write_weights
from tdss.kinds.tensor_kind import tensors

BATCH = 8
RATE = 3e-3
BALANCE = 0.4  # a class weighs frequency^−0.4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Scenes(NamedTuple):
    """Images ``[N, 3, H, W]``, normalised, and their decoded labels by task."""

    images: Tensor
    labels: dict[str, Tensor]


def read_scenes(root: Path, spec: Path, split: str, tasks: tuple[str, ...], size: tuple[int, int]) -> Scenes:
    """Read a split at a size, stretched.

    Raises:
        DatasetError: there is no such split, or an image or label is wrong.
    """
    declared = load_spec(spec).model_copy(update={"schema_version": 2, "size_policy": "stretch"})
    data = FolderDataset(root=root, spec=declared, size=size)
    ids = data.ids(split)
    pixels = np.stack([data.image(one) for one in ids]).astype(np.float32) / 255
    images = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    labels = {name: torch.from_numpy(np.stack([data.label(name, one) for one in ids])) for name in tasks}
    return Scenes(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), labels)


def fit(network: Fitted, scenes: Scenes, steps: int) -> None:
    """Fit a network in place; the rate falls to 0 on a half cosine."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.no_grad():
        channels = {name: raw.shape[1] for name, raw in network.raw(scenes.images[:1]).items()}
    weights = {
        name: tensors(task(name).kind).class_weights(labels, channels[name], BALANCE)
        for name, labels in scenes.labels.items()
    }
    network.train()
    for _ in range(steps):
        drawn = torch.randint(len(scenes.images), (BATCH,), generator=generator)
        raws = network.raw(scenes.images[drawn])
        losses = [_loss(name, raw, scenes.labels[name][drawn], weights[name]) for name, raw in raws.items()]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
    network.eval()


def write_fitted(network: Fitted, path: Path) -> None:
    """Write a network's weights and statistics as float16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(path, {name: tensor.half() for name, tensor in _state(network).items()})


def read_fitted(network: Fitted, path: Path) -> None:
    """Give a network the weights of a file, and set it to answer.

    Raises:
        CheckpointError: the file is missing or damaged, or is of another network.
    """
    weights = read_weights(path)
    match(_state(network), weights, str(path))
    network.load_state_dict(weights, strict=False)  # without the norms' counts of batches
    network.eval()


def _state(network: Fitted) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


def _loss(name: str, raw: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
    sized = functional.interpolate(raw, labels.shape[-2:], mode="bilinear", align_corners=False)
    return tensors(task(name).kind).loss(sized, labels, weight)
