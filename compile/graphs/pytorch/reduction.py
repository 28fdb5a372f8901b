"""Operators that reduce or order along axes, in ONNX's words."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from compile.graphs.pytorch.base import Ints

OverAxes: TypeAlias = Callable[[Tensor, tuple[int, ...], bool], Tensor]
Axes: TypeAlias = Ints | None


def _reduce(compute: OverAxes, x: Tensor, axes: Axes, keepdims: int, noop: int) -> Tensor:
    """Reduce over ``axes``, over all without any; with ``noop`` over none, and every element is a sum of its own."""
    chosen = tuple(axes or ()) or (() if noop else tuple(range(x.dim())))
    if not chosen:
        return compute(x.unsqueeze(0), (0,), False)
    return compute(x, chosen, bool(keepdims))


def _sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep, dtype=x.dtype)


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def reduce_sum(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """``Σ x``."""
    return _reduce(_sum, x, axes, keepdims, noop_with_empty_axes)


def reduce_mean(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """The mean of x."""
    return _reduce(torch.mean, x, axes, keepdims, noop_with_empty_axes)


def reduce_max(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """The greatest x."""
    return _reduce(torch.amax, x, axes, keepdims, noop_with_empty_axes)


def reduce_min(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """The least x."""
    return _reduce(torch.amin, x, axes, keepdims, noop_with_empty_axes)


def reduce_prod(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """``Π x``."""
    return _reduce(_product, x, axes, keepdims, noop_with_empty_axes)


def reduce_l1(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """``Σ |x|``."""
    return _reduce(_sum, x.abs(), axes, keepdims, noop_with_empty_axes)


def reduce_l2(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """``√Σ x²``."""
    return _reduce(_sum, x.square(), axes, keepdims, noop_with_empty_axes).sqrt()


def reduce_sum_square(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """``Σ x²``."""
    return _reduce(_sum, x.square(), axes, keepdims, noop_with_empty_axes)


def reduce_log_sum(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """``log Σ x``."""
    return _reduce(_sum, x, axes, keepdims, noop_with_empty_axes).log()


def reduce_log_sum_exp(x: Tensor, axes: Axes = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
    """``log Σ eˣ``."""
    return _reduce(torch.logsumexp, x, axes, keepdims, noop_with_empty_axes)


def arg_max(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Return the place of the greatest element along an axis: the first of equal ones, or the last."""
    if not select_last_index:
        return x.argmax(axis, keepdim=bool(keepdims))
    return x.shape[axis] - 1 - x.flip(axis).argmax(axis, keepdim=bool(keepdims))


def arg_min(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Return the place of the least element along an axis: the first of equal ones, or the last."""
    if not select_last_index:
        return x.argmin(axis, keepdim=bool(keepdims))
    return x.shape[axis] - 1 - x.flip(axis).argmin(axis, keepdim=bool(keepdims))


def top_k(x: Tensor, k: Ints | int, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, ...]:
    """Return the k greatest or least elements along an axis and their places; of equal ones the first come first."""
    count = k if isinstance(k, int) else k[0]
    values, places = x.sort(dim=axis, descending=bool(largest), stable=True)
    return values.narrow(axis, 0, count), places.narrow(axis, 0, count)


def cum_sum(x: Tensor, axis: int, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Return running sums along an axis, with or without the element itself, from either end."""
    turned = x.flip(axis) if reverse else x
    total = turned.cumsum(axis, dtype=x.dtype)
    total = total - turned if exclusive else total
    return total.flip(axis) if reverse else total
