"""Linears and other modules by their path: made of a matrix, read, and replaced."""

from torch import Tensor, nn


def linear_of(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Make a linear of a matrix ``[out, in]`` and, where there is one, a bias ``[out]``, in their dtype and on their device."""
    rows, columns = weight.shape
    linear = nn.Linear(columns, rows, bias is not None, device=weight.device, dtype=weight.dtype)
    linear.weight = nn.Parameter(weight.detach())
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach())
    return linear


def bias_of(linear: nn.Linear) -> Tensor | None:
    """Return a linear's bias; None where it has none."""
    bias: Tensor | None = linear.bias
    return bias


def linear_at(model: nn.Module, path: str) -> nn.Linear:
    """Return the linear at the dotted ``path``.

    Raises:
        TypeError: another module is there.
    """
    module = model.get_submodule(path)
    if not isinstance(module, nn.Linear):
        raise TypeError(f"{path} is no Linear")
    return module


def set_module(model: nn.Module, path: str, new: nn.Module) -> None:
    """Put ``new`` in the place of the submodule at the dotted ``path``."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, new)
