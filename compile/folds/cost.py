"""What a module costs: parameters, multiply-accumulates and bytes moved, counted on the traced shapes of one image.

The model runs once on the meta device, where nothing is computed, and every operator is seen with its shapes:

    MACs    matrix products ``[m, k]·[k, n]``: m·k·n; convolutions: outputs × (channels / groups) × kernel area
    bytes   what every operator reads and writes as float32, before a runtime fuses anything; views move nothing

Bytes before fusion are an upper bound that shrinks by the same operators in every runtime; they rank rewrites of one model,
they are no memory traffic of a device.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from math import prod
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

BYTES_PER_VALUE = 4  # float32
MACS_PER_BYTE = 8  # the balance of a small CPU or an embedded GPU: where both change, one byte weighs this many MACs
ModuleT = TypeVar("ModuleT", bound=nn.Module)
_UNMOVED = ("_unsafe_view", "empty", "detach", "alias")  # no view by its schema, and yet nothing is read


class Cost(NamedTuple):
    """What one module or model costs for one image."""

    macs: int
    moved: int  # bytes
    params: int

    @property
    def weight(self) -> int:
        """One number to compare two ways of computing the same: bytes moved, each MAC as ``1 / MACS_PER_BYTE`` bytes."""
        return self.moved + self.macs // MACS_PER_BYTE


class Trace(NamedTuple):
    """MACs and bytes by module path for one image, each with everything inside it."""

    macs: Mapping[str, int]
    moved: Mapping[str, int]
    total: Cost

    def of(self, model: nn.Module, modules: Sequence[str]) -> Cost:
        """Return the sum over modules of ``model``, none of which may hold another; one that ran nothing counts 0."""
        return Cost(
            macs=sum(self.macs.get(module, 0) for module in modules),
            moved=sum(self.moved.get(module, 0) for module in modules),
            params=count_params(model, modules),
        )


def trace_cost(model: nn.Module, shape: Sequence[int]) -> Trace:
    """Trace ``model`` for one image of ``shape`` = ``[batch, 3, H, W]`` (the batch is taken as 1); nothing is computed."""
    ghost = ghost_of(model)
    dtype = next(ghost.parameters()).dtype
    counter = _Counter()
    with torch.no_grad(), counter.tracker, counter:
        ghost(torch.empty((1, *shape[1:]), dtype=dtype, device="meta"))
    root = f"{type(model).__name__}"
    macs, moved = (_by_path(counts, root) for counts in (counter.macs, counter.moved))
    return Trace(macs, moved, Cost(macs.get("", 0), moved.get("", 0), count_params(model, [""])))


def ghost_of(model: ModuleT) -> ModuleT:
    """Return a copy of ``model`` on the meta device: shapes and no values; the tensors themselves are never copied."""
    tensors = (*model.parameters(), *model.buffers())
    memo: dict[int, Any] = {id(tensor): _ghost(tensor) for tensor in tensors}
    return deepcopy(model, memo)


def count_params(model: nn.Module, modules: Sequence[str]) -> int:
    """Count the parameters and statistics (batch norm's mean and variance) that ``modules`` hold; "" is all of it."""
    return sum(_size(model.get_submodule(module)) for module in modules)


def _ghost(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


def _size(module: nn.Module) -> int:
    tensors = list(module.state_dict().values())
    return sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())


def _by_path(counts: Counter[str], root: str) -> dict[str, int]:
    inside = {name.removeprefix(f"{root}."): count for name, count in counts.items() if name.startswith(f"{root}.")}
    return {**inside, "": counts["Global"]}


class _Counter(TorchDispatchMode):
    """Adds up what every operator costs, for each module that is running when it is called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tracker = ModuleTracker()
        self.macs: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        known = _SHAPES.get(name)
        out = known(args) if known and not kwargs else func(*args, **(kwargs or {}))
        macs = _MACS[name](args, out) if name in _MACS else 0
        moved = 0 if func.is_view or name in _UNMOVED else _values((args, out)) * BYTES_PER_VALUE
        for path in self.tracker.parents:
            self.macs[path] += macs
            self.moved[path] += moved
        return out


def _joined(args: Any) -> Tensor:
    """Return an empty tensor of the shape that two operands broadcast to."""
    left, right = args[0], args[1]
    shape = torch.broadcast_shapes(left.shape, right.shape) if isinstance(right, Tensor) else left.shape
    return torch.empty(shape, dtype=left.dtype, device="meta")


def _like(args: Any) -> Tensor:
    return torch.empty(args[0].shape, dtype=args[0].dtype, device="meta")


def _norm(args: Any) -> tuple[Tensor, Tensor, Tensor]:
    rows = torch.empty((*args[0].shape[: -len(args[1])], *(1,) * len(args[1])), dtype=args[0].dtype, device="meta")
    return _like(args), rows, rows


def _resized(args: Any) -> Tensor:
    return torch.empty((*args[0].shape[:2], *args[1]), dtype=args[0].dtype, device="meta")


# PyTorch's own shape functions for these walk through Python decompositions: seconds per trace of a large model.
_SHAPES: dict[str, Callable[[Any], Any]] = {
    "add": _joined, "mul": _joined, "gelu": _like, "relu": _like, "sigmoid": _like, "_softmax": _like, "clone": _like,
    "native_layer_norm": _norm, "upsample_bilinear2d": _resized,
}  # fmt: skip


def _values(nest: Any) -> int:
    if isinstance(nest, Tensor):
        return nest.numel()
    return sum(map(_values, nest)) if isinstance(nest, list | tuple) else 0


def _product(left: Tensor, right: Tensor) -> int:
    return int(prod(left.shape) * right.shape[-1])


def _convolution(args: Any, out: Any) -> int:
    return int(prod(out.shape) * prod(args[1].shape[1:]))


_MACS: dict[str, Callable[[Any, Any], int]] = {
    "mm": lambda args, out: _product(args[0], args[1]),
    "bmm": lambda args, out: _product(args[0], args[1]),
    "addmm": lambda args, out: _product(args[1], args[2]),
    "baddbmm": lambda args, out: _product(args[1], args[2]),
    "convolution": _convolution,
}
