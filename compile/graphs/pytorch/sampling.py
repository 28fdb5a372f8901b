"""Sampling at the points of a grid, in ONNX's words."""

from torch import Tensor
from torch.nn import functional

MODES = {"linear": "bilinear", "cubic": "bicubic", "bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest"}
"""PyTorch's word for a mode; ONNX's changed with opset 20."""


def grid_sample(
    x: Tensor, grid: Tensor, *, mode: str = "linear", padding_mode: str = "zeros", align_corners: int = 0
) -> Tensor:
    """The values of ``[N, C, ...]`` at points from −1 to 1 of each axis ``[N, ..., axes]``, the last axis of ``x`` first."""
    return functional.grid_sample(x, grid, MODES[mode], padding_mode, bool(align_corners))
