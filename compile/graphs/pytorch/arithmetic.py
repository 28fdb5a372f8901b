"""Operators that work element by element, in ONNX's words."""

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Divide; integers are cut towards zero."""
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def power(base: Tensor, exponent: Tensor) -> Tensor:
    """Raise to a power; the result has the base's type."""
    return torch.pow(base, exponent).to(base.dtype)


def modulo(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """Return the remainder: of the divisor's sign, or with ``fmod`` of the dividend's."""
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)


def add_all(*terms: Tensor) -> Tensor:
    """Sum any number of tensors."""
    return reduce(torch.add, terms)


def mean_of_all(*terms: Tensor) -> Tensor:
    """Average any number of tensors."""
    return add_all(*terms) / len(terms)


def least(*terms: Tensor) -> Tensor:
    """Take the least of any number of tensors."""
    return reduce(torch.minimum, terms)


def greatest(*terms: Tensor) -> Tensor:
    """Take the greatest of any number of tensors."""
    return reduce(torch.maximum, terms)


def clip(x: Tensor, min: Tensor | float | None = None, max: Tensor | float | None = None) -> Tensor:
    """Limit to ``[min, max]``; where the two cross, ``max`` wins."""
    if min is None and max is None:
        return x
    return torch.clamp(x, min, max)  # type: ignore[arg-type]  # both are tensors, or both are numbers


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """``x Φ(x)``."""
    return functional.gelu(x, approximate=approximate)


def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """``max(0, min(1, α x + β))``."""
    return torch.clamp(alpha * x + beta, 0, 1)


def hard_swish(x: Tensor) -> Tensor:
    """``x max(0, min(1, x / 6 + 1/2))``."""
    return functional.hardswish(x)


def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x σ(α x)``."""
    return x * torch.sigmoid(alpha * x)


def mish(x: Tensor) -> Tensor:
    """``x tanh(log(1 + eˣ))``."""
    return functional.mish(x)


def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """``x`` above zero, ``α x`` below."""
    return functional.leaky_relu(x, alpha)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """``x`` above zero, ``slope x`` below; the slope broadcasts to ``x``."""
    return torch.where(x < 0, slope * x, x)


def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x`` above zero, ``α (eˣ − 1)`` below."""
    return functional.elu(x, alpha)


def selu(x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:
    """``γ x`` above zero, ``γ α (eˣ − 1)`` below."""
    return gamma * functional.elu(x, alpha)


def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x`` above zero, ``α (e^(x / α) − 1)`` below."""
    return functional.celu(x, alpha)


def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x`` above α, else zero."""
    return torch.where(x > alpha, x, torch.zeros_like(x))


def softplus(x: Tensor) -> Tensor:
    """``log(1 + eˣ)``, without a threshold beyond which it is taken for ``x``."""
    return torch.logaddexp(x, torch.zeros_like(x))


def softsign(x: Tensor) -> Tensor:
    """``x / (1 + |x|)``."""
    return x / (1 + x.abs())


def cast(x: Tensor, *, to: torch.dtype) -> Tensor:
    """Change the type."""
    return x.to(to)


def cast_like(x: Tensor, like: Tensor) -> Tensor:
    """Change the type to that of another tensor."""
    return x.to(like.dtype)


def identity(x: Tensor) -> Tensor:
    """Return what came."""
    return x


def dropout(x: Tensor, ratio: float = 0.5, training_mode: bool = False, *, outputs: int) -> tuple[Tensor, ...]:
    """Return what came, and that nothing was dropped.

    Raises:
        ValueError: the operator is to drop something.
    """
    if training_mode:
        raise ValueError("only the inference form, which drops nothing, is computed")
    return (x, torch.ones_like(x, dtype=torch.bool))[:outputs]


def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Say which elements are infinite, of the signs asked for."""
    negative, positive = torch.isneginf(x), torch.isposinf(x)
    both = negative | positive
    if detect_negative and detect_positive:
        return both
    return negative if detect_negative else positive & bool(detect_positive)
