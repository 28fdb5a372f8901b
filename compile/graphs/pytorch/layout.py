"""Operators that move elements and compute none, in ONNX's words."""

import torch
from torch import Tensor
from torch.nn import functional

from compile.graphs.pytorch.base import Ints


def reshape(x: Tensor, shape: Ints, *, allowzero: int = 0) -> Tensor:
    """Give a new shape: −1 is inferred; 0 keeps the input's axis, unless ``allowzero``."""
    return x.reshape([x.shape[axis] if size == 0 and not allowzero else size for axis, size in enumerate(shape)])


def transpose(x: Tensor, *, perm: Ints | None = None) -> Tensor:
    """Reorder the axes; without ``perm`` their order is reversed."""
    return x.permute(tuple(reversed(range(x.dim()))) if perm is None else tuple(perm))


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """Make a matrix: the axes before ``axis``, and the others."""
    first = axis + x.dim() if axis < 0 else axis
    return x.reshape(x.shape[:first].numel(), x.shape[first:].numel())


def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    """Remove axes of size one."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def unsqueeze(x: Tensor, axes: Ints) -> Tensor:
    """Insert axes of size one; ``axes`` are places in the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def concat(*parts: Tensor, axis: int = 1) -> Tensor:
    """Join along an axis."""
    return torch.cat(parts, axis)


def split(
    x: Tensor, split: Ints | None = None, *, axis: int = 0, num_outputs: int = 0, outputs: int
) -> tuple[Tensor, ...]:
    """Cut along an axis: into the sizes given, or into equal ones of which the last may be smaller."""
    if split is not None:
        return torch.split(x, list(split), axis)
    size = -(-x.shape[axis] // (num_outputs or outputs))
    return torch.split(x, size, axis)


def slice_axes(x: Tensor, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None) -> Tensor:
    """Take ranges of axes; bounds are cut to the axis, a negative step goes backwards."""
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = place if axes is None else axes[place]
        step = 1 if steps is None else steps[place]
        taken = range(x.shape[axis])[start:end:step]
        if step > 0:
            x = _narrow(x, axis, taken)
        else:
            x = x.index_select(axis, torch.tensor(taken, dtype=torch.int64, device=x.device))
    return x


def _narrow(x: Tensor, axis: int, taken: range) -> Tensor:
    if len(taken) == x.shape[axis]:
        return x
    where = [slice(None)] * x.dim()
    where[axis] = slice(taken.start, max(taken.start, taken.stop), taken.step)
    return x[tuple(where)]


def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Take the slices that ``indices`` name along an axis; its shape replaces the axis."""
    where: list[slice | Tensor] = [slice(None)] * (axis % x.dim())
    taken = x[(*where, indices if indices.dim() else indices.reshape(1))]
    return taken if indices.dim() else taken.squeeze(axis)


def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Take single elements along an axis."""
    size = x.shape[axis]
    return torch.gather(x, axis, torch.where(indices < 0, indices + size, indices))


def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Take the slices that the last axis of ``indices`` names, batch by batch."""
    batch = indices.shape[:batch_dims]
    rows = indices.reshape(batch.numel(), -1, indices.shape[-1])
    flat = x.reshape(batch.numel(), *x.shape[batch_dims:])
    number = torch.arange(batch.numel(), device=x.device)[:, None]
    taken = flat[(number, *rows.unbind(-1))]
    return taken.reshape(*indices.shape[:-1], *x.shape[batch_dims + indices.shape[-1] :])


def expand(x: Tensor, shape: Ints) -> Tensor:
    """Broadcast with a shape; axes of size one give way on either side."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))


def tile(x: Tensor, repeats: Ints) -> Tensor:
    """Repeat along every axis."""
    return x.repeat(*repeats)


def pad(
    x: Tensor, pads: Ints, value: float | bool | None = None, axes: Ints | None = None, *, mode: str = "constant"
) -> Tensor:
    """Pad by constants, the edge, a mirror or a turn; ``pads`` holds all begins, then all ends, negative ones cut."""
    chosen = range(x.dim()) if axes is None else axes
    for place, axis in enumerate(chosen):
        x = _pad_axis(x, axis % x.dim(), pads[place], pads[place + len(chosen)], value or 0, mode)
    return x


def _pad_axis(x: Tensor, axis: int, before: int, after: int, value: float, mode: str) -> Tensor:
    if before == after == 0:
        return x
    if mode == "constant":
        return functional.pad(x, [0, 0] * (x.dim() - 1 - axis) + [before, after], value=value)
    size = x.shape[axis]
    places = torch.arange(-before, size + after, device=x.device)
    if mode == "edge":
        places = places.clamp(0, size - 1)
    elif mode == "wrap":
        places = places % size
    else:  # reflect: a mirror that does not repeat the edge
        turn = max(2 * (size - 1), 1)
        places = (size - 1) - ((places % turn) - (size - 1)).abs()
    return x.index_select(axis, places)


def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Move channels to blocks of pixels, ``[N, C b², H, W]`` to ``[N, C, H b, W b]``."""
    n, c, h, w = x.shape
    b = blocksize
    if mode == "DCR":
        blocks = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        blocks = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, c // b**2, h * b, w * b)


def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Move blocks of pixels to channels, ``[N, C, H b, W b]`` to ``[N, C b², H, W]``."""
    n, c, h, w = x.shape
    b = blocksize
    blocks = x.reshape(n, c, h // b, b, w // b, b)
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return blocks.permute(order).reshape(n, c * b**2, h // b, w // b)


def shape_of(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    """Return the shape, or a range of it: known without the values."""
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


def size_of(x: Tensor) -> Tensor:
    """Return the number of elements: known without the values."""
    return torch.tensor(x.numel(), dtype=torch.int64)


def fill(shape: Ints, *, value: Tensor | None = None) -> Tensor:
    """Make a tensor of one constant, float32 zeros by default."""
    return torch.zeros(tuple(shape)) if value is None else value.reshape(()).expand(tuple(shape)).clone()


def count_up(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """Return ``start, start + delta, …`` below ``limit``.

    Raises:
        ValueError: how many there are depends on the graph's inputs.
    """
    if start.is_meta:
        raise ValueError("its bounds are computed from the graph's inputs; they have to be constants")
    count = max(0, -int(-(limit.double() - start.double()) // delta.double()))
    return start + torch.arange(count).to(start.dtype) * delta


def trilu(x: Tensor, k: int = 0, *, upper: int = 1) -> Tensor:
    """Keep the upper or the lower triangle, zeros elsewhere."""
    return torch.triu(x, k) if upper else torch.tril(x, k)
