"""Norms and softmax, in ONNX's words."""

import torch
from torch import Tensor
from torch.nn import functional


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """``eˣ / Σ eˣ`` along an axis."""
    return torch.softmax(x, axis)


def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """``x − log Σ eˣ`` along an axis."""
    return torch.log_softmax(x, axis)


def softmax_of_matrix(x: Tensor, *, axis: int = 1) -> Tensor:
    """Softmax as it was before opset 13: over all axes from ``axis`` on."""
    return torch.softmax(x.flatten(axis % x.dim()), -1).reshape(x.shape)


def log_softmax_of_matrix(x: Tensor, *, axis: int = 1) -> Tensor:
    """LogSoftmax as it was before opset 13: over all axes from ``axis`` on."""
    return torch.log_softmax(x.flatten(axis % x.dim()), -1).reshape(x.shape)


def batch_norm(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    spatial: int = 1,
    training_mode: int = 0,
) -> Tensor:
    """``γ (x − mean) / √(var + ε) + β`` with the statistics given.

    Raises:
        ValueError: the statistics are to be taken from ``x``, or are not one per channel.
    """
    if training_mode or not spatial:
        raise ValueError("only the inference form with one mean per channel is computed")
    return functional.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)


def layer_norm(
    x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5, outputs: int
) -> tuple[Tensor, ...]:
    """Normalise over the axes from ``axis`` on; the mean and one over the deviation are further results."""
    first = axis % x.dim()
    shape = x.shape[first:]
    fits = scale.shape == shape and (bias is None or bias.shape == shape)
    if fits:
        y = functional.layer_norm(x, shape, scale, bias, epsilon)
    else:
        y = functional.layer_norm(x, shape, None, None, epsilon) * scale
        y = y if bias is None else y + bias
    if outputs == 1:
        return (y,)
    axes = tuple(range(first, x.dim()))
    var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (y, mean, torch.rsqrt(var + epsilon))[:outputs]


def rms_norm(x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5) -> Tensor:
    """``γ x / √(mean x² + ε)`` over the axes from ``axis`` on."""
    axes = tuple(range(axis % x.dim(), x.dim()))
    return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon) * scale


def instance_norm(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Normalise every channel of every image over its pixels."""
    return functional.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def group_norm(x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5) -> Tensor:
    """Normalise groups of channels; scale and bias are one per channel (opset 21)."""
    return functional.group_norm(x, num_groups, scale, bias, epsilon)


def group_norm_by_group(x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5) -> Tensor:
    """Normalise groups of channels; scale and bias are one per group (opset 18)."""
    size = x.shape[1] // num_groups
    return group_norm(
        x, scale.repeat_interleave(size), bias.repeat_interleave(size), num_groups=num_groups, epsilon=epsilon
    )


def lp_norm(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """``x / ‖x‖ₚ`` along an axis; zeros stay zeros."""
    norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


def local_response_norm(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """Divide by a power of the mean square of the neighbouring channels."""
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = functional.pad(x.square(), [0, 0] * (x.dim() - 2) + [before, after])
    total = squares.unfold(1, size, 1).sum(-1)
    return x / (bias + alpha / size * total) ** beta
