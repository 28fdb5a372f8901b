"""The labels of one task in one split, counted one at a time; no label is kept."""

from collections.abc import Iterator, Mapping

import numpy as np

from bundle.tasks.spec import Array, DatasetSpec
from bundle.tasks.table import Task
from labelled_folder.findings import SplitCount, Splits, TaskCount


class Tally:
    """Counts that grow with each label: pixels and images of each value, and the sum of what shows a wrong unit or axis."""

    def __init__(self, row: Task, channels: int, spec: DatasetSpec) -> None:
        self.row, self.channels, self.spec = row, channels, spec
        self.names = row.kind.values or spec.classes[row.name]
        self.pixels = np.zeros(len(self.names), np.int64)
        self.images = np.zeros(len(self.names), np.int64)
        self.usable = self.missing = self.counted = self.labelled = self.area = 0
        self.traits = np.zeros(0)

    def add(self, encoded: Array) -> None:
        """Count a label that was checked."""
        kind = self.row.kind
        pixels = kind.pixels(encoded, self.channels, self.spec)
        self.pixels, self.images = self.pixels + pixels, self.images + (pixels > 0)
        self.usable += 1
        self.area += encoded.shape[0] * encoded.shape[1]
        if pixels.any():
            self.labelled += 1
            traits = kind.traits(encoded, self.spec)
            self.traits = traits if self.labelled == 1 else self.traits + traits
        if kind.empty_class is not None:
            pixels = np.delete(pixels, kind.empty_class)
        self.counted += int(pixels.any())

    def unseen(self) -> list[str]:
        """Return the values that no label has."""
        return [name for name, images in zip(self.names, self.images, strict=True) if not images]

    def doubts(self) -> Iterator[str]:
        """Yield what looks wrong in all labels together."""
        if self.labelled:
            yield from self.row.kind.doubts(self.traits / self.labelled)

    def count(self) -> TaskCount:
        """Return the counts so far."""
        return TaskCount(
            task=self.row.name,
            usable=self.usable,
            missing=self.missing,
            counted=self.counted,
            pixels=dict(zip(self.names, (self.pixels / max(self.area, 1)).tolist(), strict=True)),
            images=dict(zip(self.names, self.images.tolist(), strict=True)),
        )


def count_splits(splits: Splits, tallies: Mapping[tuple[str, str], Tally]) -> tuple[SplitCount, ...]:
    """Return the counts of each split, in the order of the splits and tasks."""
    return tuple(
        SplitCount(
            split=split, ids=len(ids), tasks=tuple(tally.count() for key, tally in tallies.items() if key[0] == split)
        )
        for split, ids in splits.items()
    )
