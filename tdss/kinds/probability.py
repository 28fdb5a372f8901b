"""A probability per pixel: binary cross-entropy, each side weighted by the other's share of the batch (Xie and Tu, HED)."""

import torch
from torch import Tensor
from torch.nn import functional

from bundle.tasks.kinds.probability import Probability
from tdss.kinds.tensor_kind import TensorKind, nearest, view_labels


class ProbabilityTensors(TensorKind[Probability]):
    """Labels are uint8 [B, H, W] in {0, 1}."""

    def predict(self, raw: Tensor) -> Tensor:
        """Return the sigmoid, float32 [B, H, W]."""
        return raw[:, 0].sigmoid()

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
        """Return the mean over all pixels, positives weighted by the negatives' share."""
        truth = label.to(raw.dtype)[:, None]
        negative = 1 - truth.mean()
        share = torch.where(truth > 0, negative, 1 - negative)
        return functional.binary_cross_entropy_with_logits(raw, truth, weight=share)

    def view(self, labels: Tensor, boxes: list[list[int]], flips: list[bool]) -> Tensor:
        """Return the labels' views; thin lines stay one pixel wide."""
        return view_edges(labels, boxes, flips) if self.kind.thin else view_labels(labels, boxes, flips)


def view_edges(edges: Tensor, boxes: list[list[int]], flips: list[bool]) -> Tensor:
    """Crop, resize and flip one-pixel edges [B, H, W] in {0, 1} so that they stay one pixel wide.

    Enlarging repeats rows and columns. The second copy of a column is kept only where the edge goes on to the right
    in the source. The second copy of a row is kept only where it goes on below; a diagonal may get gaps of one pixel.
    """
    height, width = edges.shape[-2:]
    right = functional.pad(edges[..., 1:], (0, 1))
    below = functional.pad(edges[..., 1:, :], (0, 0, 0, 1))
    result = torch.empty_like(edges)
    for index, ((top, left, rows, columns), flip) in enumerate(zip(boxes, flips, strict=True)):
        down, across = nearest(top, rows, height), nearest(left, columns, width)
        here, onward, under = (part[index][down][:, across] for part in (edges, right, below))
        thin = here * torch.where(repeats(across), onward, 1) * torch.where(repeats(down)[:, None], under, 1)
        result[index] = thin.flip(-1) if flip else thin
    return result


def repeats(indices: Tensor) -> Tensor:
    """Return which entries of ascending source indices repeat the one before: bool, same length."""
    return functional.pad(indices[1:] == indices[:-1], (1, 0))
