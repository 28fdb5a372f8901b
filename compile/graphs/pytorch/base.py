"""What the table says of an ONNX operator, and the types its functions share."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

Ints: TypeAlias = Sequence[int]
Floats: TypeAlias = Sequence[float]
Result: TypeAlias = Tensor | Sequence[Tensor]


class Operator(NamedTuple):
    """One operator from opset ``since`` on: the function that computes it, and how a node becomes a call of it.

    Inputs are passed by position, attributes by name. ``attributes`` names those the function takes (its defaults are
    ONNX's), ``ignored`` those that say nothing about the result here; a node with any other is refused. The inputs at
    the places ``static`` are passed as Python numbers, and must be constants. With ``counts`` the function
    takes ``outputs``, the number of results that the node names.
    """

    function: Callable[..., Result]
    attributes: str = ""
    static: tuple[int, ...] = ()
    ignored: str = ""
    since: int = 1
    counts: bool = False
