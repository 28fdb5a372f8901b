"""Linears and other modules by their path: made of a matrix, named by patterns, read, replaced, and extended."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn


def matching(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """Return the names that a pattern matches: ``*`` is any text, dots too, ``?`` a character, ``[ab]`` one of these."""
    return {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}


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


def take_over(new: nn.Module, old: nn.Module) -> None:
    """Give the uninitialised ``new`` all that ``old`` holds, under the same names; ``old`` is not used any more.

    A subclass calls it in the place of its base's constructor: it extends a module that is already made and loaded.
    """
    nn.Module.__init__(new)
    for name, value in vars(old).items():
        new.__dict__[name] = value.copy() if isinstance(value, dict) else value
