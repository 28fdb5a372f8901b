"""Resize, as ONNX defines it: each axis is a matrix of its own, except where torch has the same kernel.

The matrix of an axis has one row per output element: the weights of the input elements around the coordinate ``x`` that
the transformation gives. ``interpolate`` is used where it computes that: the converter of an engine knows it.
"""

from collections.abc import Callable
from math import ceil, floor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from compile.graphs.pytorch.base import Floats, Ints

NEAREST: dict[str, Callable[[float], int]] = {
    "round_prefer_floor": lambda x: ceil(x - 0.5),
    "round_prefer_ceil": lambda x: floor(x + 0.5),
    "floor": floor,
    "ceil": ceil,
}
INTERPOLATE = {("linear", 3): "linear", ("linear", 4): "bilinear", ("linear", 5): "trilinear", ("cubic", 4): "bicubic"}


class Axis(NamedTuple):
    """One axis: its size, the size it gets, the scale of its coordinates, and the part of it that is cropped to."""

    size: int
    resized: int
    scale: float
    start: float = 0.0
    end: float = 1.0


class Form(NamedTuple):
    """How values between the elements are found; the fields are the operator's attributes."""

    mode: str = "nearest"
    coordinate: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: int = 0
    antialias: int = 0


def resize(
    x: Tensor,
    roi: Floats | None = None,
    scales: Floats | None = None,
    sizes: Ints | None = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    antialias: int = 0,
    extrapolation_value: float = 0.0,
    axes: Ints | None = None,
    keep_aspect_ratio_policy: str = "stretch",
) -> Tensor:
    """Resize the axes given, all without any, by ``scales`` or to ``sizes``."""
    chosen = [axis % x.dim() for axis in (range(x.dim()) if axes is None else axes)]
    form = Form(mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, exclude_outside, antialias)
    lengths = [x.shape[axis] for axis in chosen]
    scaled = _scaled(lengths, scales, sizes, keep_aspect_ratio_policy)
    if form.coordinate == "tf_crop_and_resize" and roi:
        spans = zip(roi[: len(chosen)], roi[len(chosen) :], strict=True)
        scaled = [axis._replace(start=start, end=end) for axis, (start, end) in zip(scaled, spans, strict=True)]
    plan = dict(zip(chosen, scaled, strict=True))
    if (kernel := _kernel(x, plan, form)) is not None:
        spatial = [plan[axis].resized if axis in plan else x.shape[axis] for axis in range(2, x.dim())]
        corners = {} if kernel == "nearest" else {"align_corners": form.coordinate == "align_corners"}
        return functional.interpolate(x, spatial, mode=kernel, **corners)
    return _by_axes(x, plan, form, extrapolation_value)


def resize_asymmetric(x: Tensor, scales: Floats, *, mode: str = "nearest") -> Tensor:
    """Resize as Upsample and the first Resize (opset 10) did: asymmetric coordinates, the nearest element below."""
    mode = "linear" if mode == "bilinear" else mode
    return resize(x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def _scaled(lengths: Ints, scales: Floats | None, sizes: Ints | None, policy: str) -> list[Axis]:
    if not sizes:
        return [Axis(size, floor(size * scale), scale) for size, scale in zip(lengths, scales or (), strict=True)]
    ratios = [to / size for size, to in zip(lengths, sizes, strict=True)]
    if policy != "stretch":
        one = min(ratios) if policy == "not_larger" else max(ratios)
        return [Axis(size, floor(one * size + 0.5), one) for size in lengths]
    return [Axis(size, to, ratio) for size, to, ratio in zip(lengths, sizes, ratios, strict=True)]


def _kernel(x: Tensor, plan: dict[int, Axis], form: Form) -> str | None:
    """Return torch's name of a resize that computes the same; None where it has none."""
    exact = all(axis.resized == axis.size * axis.scale for axis in plan.values())
    spatial = all(axis.size == axis.resized for place, axis in plan.items() if place < 2)
    if not exact or not spatial or form.exclude_outside or form.antialias or not x.is_floating_point():
        return None
    if form.mode == "nearest":
        whole = form.coordinate == "asymmetric" and form.nearest == "floor" and 3 <= x.dim() <= 5
        return "nearest" if whole and all(float(axis.scale).is_integer() for axis in plan.values()) else None
    known = form.coordinate in ("half_pixel", "align_corners") or (
        form.coordinate == "pytorch_half_pixel" and all(axis.resized > 1 for axis in plan.values())
    )
    if not known or (form.mode == "cubic" and form.cubic != -0.75):
        return None
    return INTERPOLATE.get((form.mode, x.dim()))


def _by_axes(x: Tensor, plan: dict[int, Axis], form: Form, outside: float) -> Tensor:
    for place, axis in plan.items():
        if axis.size == axis.resized and form.coordinate != "tf_crop_and_resize":
            continue
        coordinates = [_coordinate(index, axis, form.coordinate) for index in range(axis.resized)]
        if form.mode == "nearest":
            near = [min(max(NEAREST[form.nearest](at), 0), axis.size - 1) for at in coordinates]
            x = x.index_select(place, torch.tensor(near, device=x.device))
        else:
            rows = np.stack([_weights(at, axis, form) for at in coordinates])
            weights = torch.tensor(rows, dtype=x.dtype, device=x.device)
            x = torch.tensordot(x, weights, ([place], [1])).movedim(-1, place)
        if form.coordinate == "tf_crop_and_resize":
            beyond = torch.tensor([not 0 <= at <= axis.size - 1 for at in coordinates], device=x.device)
            x = torch.where(beyond.reshape(-1, *[1] * (x.dim() - 1 - place)), outside, x)
    return x


def _coordinate(index: int, axis: Axis, mode: str) -> float:
    """Return the position of an output element among the input's."""
    size, resized, scale, start, end = axis
    if mode == "align_corners":
        return index * (size - 1) / (resized - 1) if resized > 1 else 0.0
    if mode == "tf_crop_and_resize":
        if resized > 1:
            return start * (size - 1) + index * (end - start) * (size - 1) / (resized - 1)
        return 0.5 * (start + end) * (size - 1)
    if mode == "asymmetric":
        return index / scale
    if mode == "pytorch_half_pixel" and resized == 1:
        return 0.0
    half = (index + 0.5) / scale - 0.5
    return half + (size - resized / scale) / 2 if mode == "half_pixel_symmetric" else half


def _weights(at: float, axis: Axis, form: Form) -> NDArray[np.float64]:
    """Return the row of the matrix for one coordinate: elements beyond the edge count for the edge, or not at all."""
    narrow = min(axis.scale, 1.0) if form.antialias else 1.0
    reach = (1 if form.mode == "linear" else 2) / narrow
    near = np.arange(floor(at - reach) + 1, ceil(at + reach) + 1)
    distance = np.abs(near - np.float64(at)) * np.float64(narrow)
    weights = np.maximum(1 - distance, 0.0) if form.mode == "linear" else _cubic(distance, form.cubic)
    if form.exclude_outside:
        weights = np.where((near >= 0) & (near < axis.size), weights, 0.0)
    row = np.zeros(axis.size)
    np.add.at(row, near.clip(0, axis.size - 1), weights / weights.sum())
    return row


def _cubic(d: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    inner = ((a + 2) * d - (a + 3)) * d**2 + 1
    outer = ((d - 5) * d + 8) * d * a - 4 * a
    return np.asarray(np.where(d <= 1, inner, np.where(d < 2, outer, 0.0)), np.float64)
