"""Operators that multiply and sum, in ONNX's words."""

import torch
from torch import Tensor
from torch.nn import functional

from compile.graphs.pytorch.base import Ints

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """``α A B + β C``."""
    product = (a.t() if transA else a) @ (b.t() if transB else b)
    product = product if alpha == 1 else alpha * product
    if c is None:
        return product
    return product + (c if beta == 1 else beta * c)


def einsum(*operands: Tensor, equation: str) -> Tensor:
    """Sum products by Einstein's notation."""
    return torch.einsum(equation, *operands)


def conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = (),
    group: int = 1,
    pads: Ints = (),
    strides: Ints = (),
) -> Tensor:
    """Convolve ``[N, C, …]`` with ``[M, C / group, …]``."""
    rank = x.dim() - 2
    strides, dilations = tuple(strides) or (1,) * rank, tuple(dilations) or (1,) * rank
    before, after = paddings(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    if before != after:
        x, before = functional.pad(x, torch_pads(before, after)), (0,) * rank
    return CONVOLUTIONS[rank](x, w, b, strides, before, dilations, group)


def conv_transpose(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = (),
    group: int = 1,
    output_padding: Ints = (),
    output_shape: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Tensor:
    """The gradient of a convolution, ``[N, C, …]`` by ``[C, M / group, …]``: computed whole, then cut."""
    rank = x.dim() - 2
    strides, dilations = tuple(strides) or (1,) * rank, tuple(dilations) or (1,) * rank
    more = tuple(output_padding) or (0,) * rank
    shapes = zip(x.shape[2:], w.shape[2:], strides, dilations, more, strict=True)
    whole = tuple(s * (size - 1) + m + (kernel - 1) * d + 1 for size, kernel, s, d, m in shapes)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER") and not output_shape:
        output_shape = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    if output_shape:
        total = [size - out for size, out in zip(whole, output_shape, strict=True)]
        cut = halves([max(0, size) for size in total], "SAME_UPPER" if auto_pad == "SAME_UPPER" else "SAME_LOWER")
        before, after = cut[0], tuple(end + min(0, size) for end, size in zip(cut[1], total, strict=True))
    else:
        before, after = tuple(pads[:rank]) or (0,) * rank, tuple(pads[rank:]) or (0,) * rank
    if before == after and min(before) >= 0:
        return TRANSPOSED[rank](x, w, b, strides, before, more, group, dilations)
    y = TRANSPOSED[rank](x, w, None, strides, (0,) * rank, (0,) * rank, group, dilations)
    tail = tuple(m - end for m, end in zip(more, after, strict=True))
    y = functional.pad(y, torch_pads([-size for size in before], tail))
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def paddings(
    sizes: Ints, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints, auto_pad: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return how much a window's input is padded before and after, axis by axis."""
    rank = len(sizes)
    if auto_pad in ("NOTSET", ""):
        return tuple(pads[:rank]) or (0,) * rank, tuple(pads[rank:]) or (0,) * rank
    if auto_pad == "VALID":
        return (0,) * rank, (0,) * rank
    total = [
        max(0, (-(-size // stride) - 1) * stride + (width - 1) * dilation + 1 - size)
        for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    return halves(total, auto_pad)


def halves(total: Ints, auto_pad: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Halve paddings; the odd one goes before for SAME_LOWER, else after."""
    small, large = tuple(size // 2 for size in total), tuple(size - size // 2 for size in total)
    return (large, small) if auto_pad == "SAME_LOWER" else (small, large)


def torch_pads(before: Ints, after: Ints) -> list[int]:
    """Return paddings as torch orders them: the last axis first, begin and end together."""
    return [size for pair in reversed(list(zip(before, after, strict=True))) for size in pair]
