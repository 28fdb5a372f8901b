"""The contract of a kind's tensor verbs: the prediction inside a graph, the loss, and a label's random view."""

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Generic, TypeVar

import torch
from torch import Tensor

from bundle.tasks.kinds.kind import Kind

AnyKind = TypeVar("AnyKind", bound=Kind)


class TensorKind(ABC, Generic[AnyKind]):
    """The verbs of one kind; raw outputs are ``[B, C, H, W]``, labels are decoded and have a batch axis."""

    def __init__(self, kind: AnyKind) -> None:
        self.kind = kind

    @abstractmethod
    def predict(self, raw: Tensor) -> Tensor:
        """Return ``kind.predict`` as operators of a graph, of float32 or integers ``[B, *axes, H, W]``."""

    def predict_as(self, raw: Tensor, dtype: torch.dtype) -> Tensor:
        """Return ``predict`` in another integer type, where it is one of integers; floats stay float32."""
        return self.predict(raw)

    @abstractmethod
    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
        """Return the mean loss over valid pixels, 0 if there are none; ``weight`` is what ``class_weights`` returned."""

    def class_weights(self, labels: Tensor, channels: int, power: float) -> Tensor | None:
        """Return the weight of each class in the loss: frequency^−power; None for a kind without classes."""
        return None

    def view(self, labels: Tensor, boxes: list[list[int]], flips: list[bool]) -> Tensor:
        """Return what labels ``[B, ..., H, W]`` say of the images' crops ``[top, left, height, width]``, resized and mirrored."""
        return view_labels(labels, boxes, flips)


def tensors(kind: Kind) -> TensorKind[Kind]:
    """Return the tensor verbs of a kind: the class ``<kind>Tensors`` of the module that it names."""
    verbs: type[TensorKind[Kind]] = getattr(import_module(kind.tensors), f"{type(kind).__name__}Tensors")
    return verbs(kind)


def view_labels(labels: Tensor, boxes: list[list[int]], flips: list[bool]) -> Tensor:
    """Crop, resize by nearest neighbour and flip labels [B, ..., H, W] of any type."""
    height, width = labels.shape[-2:]
    result = torch.empty_like(labels)
    for index, ((top, left, rows, columns), flip) in enumerate(zip(boxes, flips, strict=True)):
        across = nearest(left, columns, width)
        across = across.flip(0) if flip else across
        result[index] = labels[index].index_select(-2, nearest(top, rows, height)).index_select(-1, across)
    return result


def nearest(start: int, length: int, size: int) -> Tensor:
    """Return the ``size`` source indices of a crop of ``length`` from ``start``, by the pixels' centres."""
    return start + ((torch.arange(size) + 0.5) * (length / size)).long()


def negate_x(vectors: Tensor, flips: list[bool]) -> Tensor:
    """Negate the first component of the mirrored samples of vectors [B, C, H, W]."""
    sign = torch.ones(*vectors.shape[:2], 1, 1, dtype=vectors.dtype)
    sign[torch.tensor(flips), 0] = -1
    return vectors * sign
