"""A frozen backbone's taps of every training image, computed once; steps read them in the place of a run of the backbone.

The taps of a view, a training image as it is or mirrored, are one row of FP16 values in one file. Rows are appended, so the
file's length says where a killed run goes on. Its name is the hash of everything that the values follow from: a file
is never stale, and runs that differ in adapters or losses share it. Only what the adapter reads is stored.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from bundle.base.errors import CheckpointError, InputError
from bundle.formats.folder_lock import alone
from tdss.adapters.config import Site
from tdss.backbones.base import Backbone, BlockTap, StageTap
from tdss.training import data
from tdss.training.config import TrainConfig
from tdss.training.progress import Display, hours

if TYPE_CHECKING:
    from lightning.fabric import Fabric

GB = 1e9
EVERY = 30.0  # seconds between two lines of progress


class Taps(Protocol):
    """Where a step's taps come from."""

    def read(self, views: Sequence[int]) -> tuple[StageTap, ...] | None:
        """Return the taps of a batch, each ``[batch, height, width, channels]``; None: the backbone has to run."""


class NoTaps:
    """The backbone runs in every step."""

    def read(self, views: Sequence[int]) -> None:
        """See ``Taps.read``."""
        return


class TapCache:
    """The rows of one file, and where each tap is in a row."""

    def __init__(self, path: Path, backbone: Backbone, reads: Sequence[Site], views: int, device: torch.device) -> None:
        self.path, self.reads, self.views, self.device = path, tuple(reads), views, device
        config, sizes = backbone.config, backbone.sizes
        self.stages = [
            (depth, (*size, config.width(stage)))
            for stage, (depth, size) in enumerate(zip(config.depths, sizes, strict=True))
        ]
        self.width = sum((depth * len(self.reads) + 1) * int(np.prod(shape)) for depth, shape in self.stages)

    @property
    def gigabytes(self) -> float:
        """The size of the whole file."""
        return self.views * self.width * 2 / GB

    def done(self) -> int:
        """Return how many whole rows the file has."""
        return self.path.stat().st_size // (2 * self.width) if self.path.is_file() else 0

    def append(self, taps: Sequence[StageTap]) -> None:
        """Append the rows of a batch behind the last whole row.

        Raises:
            CheckpointError: a value does not fit FP16.
            OSError: the system refuses to write it.
        """
        rows = torch.cat([tap.flatten(1) for tap in self._chosen(taps)], 1).half()
        if not rows.isfinite().all():
            raise CheckpointError(
                "a tap of the backbone does not fit FP16",
                expected="finite values of at most 65504",
                got=f"{max(float(tap.abs().max()) for tap in self._chosen(taps)):g}",
                where="cache_taps",
                fix="leave cache_taps out: the backbone then runs in every step",
            )
        start = self.done() * 2 * self.width
        with self.path.open("r+b" if self.path.exists() else "wb") as stream:
            stream.truncate(start)
            stream.seek(start)
            stream.write(rows.cpu().numpy().tobytes())

    def read(self, views: Sequence[int]) -> tuple[StageTap, ...]:
        """See ``Taps.read``; float32. What the adapter does not read has no elements."""
        stored = np.memmap(self.path, np.float16, "r", shape=(self.views, self.width))
        rows = torch.from_numpy(np.stack([stored[view] for view in views])).to(self.device).float()
        return tuple(self._stages(rows))

    def _chosen(self, taps: Sequence[StageTap]) -> Iterator[Tensor]:
        for tap in taps:
            yield from (getattr(block, site) for block in tap.blocks for site in self.reads)
            yield tap.output

    def _stages(self, rows: Tensor) -> Iterator[StageTap]:
        start, nothing = 0, rows.new_empty(0)
        for depth, shape in self.stages:
            count, size = depth * len(self.reads) + 1, int(np.prod(shape))
            *inputs, output = rows[:, start : start + count * size].unflatten(1, (count, *shape)).unbind(1)
            sites = [
                dict(zip(self.reads, inputs[at:], strict=False)) for at in range(0, count - 1, len(self.reads) or 1)
            ]
            blocks = [BlockTap(one.get("attention", nothing), one.get("mlp", nothing)) for one in sites]
            yield StageTap(tuple(blocks) or (BlockTap(nothing, nothing),) * depth, output)
            start += count * size


def open_taps(config: TrainConfig, ram: data.Ram, backbone: Backbone, fabric: "Fabric", display: Display) -> Taps:
    """Return where the steps' taps come from; a cache that is not whole is filled first, by one process.

    Raises:
        InputError: the folder cannot be written, has too little space, or another run is writing there.
        CheckpointError: a tap does not fit FP16.
    """
    reads, folder = config.model.adapter.reads(), config.cache_taps
    if folder is None or reads is None:
        return NoTaps()
    views = len(ram) * (2 if config.augment.flip else 1)
    path = folder / f"taps-{_key(config, ram, backbone)}.f16"
    cache = TapCache(path, backbone, reads, views, fabric.device)
    if fabric.is_global_zero and cache.done() < views:
        with alone(folder, "tdss train"):
            display.say(f"keeps the backbone's taps of {views} views in {path}: {cache.gigabytes:.1f} GB")
            _require_space(cache)
            _fill(cache, config, ram, backbone, fabric, display)
    fabric.barrier()
    return cache


def _fill(
    cache: TapCache, config: TrainConfig, ram: data.Ram, backbone: Backbone, fabric: "Fabric", display: Display
) -> None:
    """Append the rows that are missing; view ``len(ram) · flip + index`` is image ``index``, mirrored if ``flip``."""
    backbone.eval()
    first, started, said = cache.done(), time.monotonic(), time.monotonic()
    while (done := cache.done()) < cache.views:
        flip, index = divmod(done, len(ram))
        chosen = range(index, min(index + config.batch, len(ram)))
        sure = config.augment.model_copy(update={"flip": float(flip)})
        batch = data.make_batch(ram, chosen, config.model.image, sure, data.generator(0, 0, 0))
        with torch.no_grad(), fabric.autocast():
            cache.append(backbone(fabric.to_device(batch.images)))
        if time.monotonic() - said > EVERY:
            said, pace = time.monotonic(), (time.monotonic() - started) / (cache.done() - first)
            display.say(
                f"taps of {cache.done()}/{cache.views} views  {hours((cache.views - cache.done()) * pace)} left"
            )


def _key(config: TrainConfig, ram: data.Ram, backbone: Backbone) -> str:
    """Return the first digits of the sha256 of what the rows follow from: weights, images, what is read, and the precision."""
    told = config.model.image, config.model.adapter.reads(), config.precision, bool(config.augment.flip)
    hashed = hashlib.sha256(repr((config.model.backbone, *told)).encode())
    for tensor in (*backbone.state_dict().values(), ram.images):
        hashed.update(tensor.contiguous().cpu().numpy().tobytes())
    return hashed.hexdigest()[:16]


def _require_space(cache: TapCache) -> None:
    missing = (cache.views - cache.done()) * 2 * cache.width / GB
    free = shutil.disk_usage(cache.path.parent).free / GB
    if free < missing:
        raise InputError(
            "there is no space for the backbone's taps",
            expected=f"{missing:.1f} GB",
            got=f"{free:.1f} GB free",
            where=str(cache.path.parent),
            fix="free space, name another folder in cache_taps, or leave it out",
        )
