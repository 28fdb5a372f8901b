"""What a module costs: parameters, and multiply-accumulates counted by PyTorch on the traced shapes of one image."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


class Macs(NamedTuple):
    """Multiply-accumulates by module path for one image; matmuls and convolutions only."""

    by_module: Mapping[str, int]
    total: int

    def of(self, modules: Sequence[str]) -> int:
        """Return the sum over modules, none of which may hold another; a module that ran no matmul counts 0."""
        return sum(self.by_module.get(module, 0) for module in modules)


def count_macs(model: nn.Module, batch: Tensor) -> Macs:
    """Count on the meta device, for one image of ``batch``'s shape; nothing is computed."""
    ghost = deepcopy(model).to("meta")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        ghost(torch.empty((1, *batch.shape[1:]), dtype=batch.dtype, device="meta"))
    root = type(model).__name__
    counts = {name: sum(operations.values()) // 2 for name, operations in counter.get_flop_counts().items()}
    inside = {name.removeprefix(f"{root}."): macs for name, macs in counts.items() if name.startswith(f"{root}.")}
    return Macs(by_module=inside, total=counts["Global"])


def count_params(model: nn.Module, modules: Sequence[str]) -> int:
    """Count the parameters and statistics (batch norm's mean and variance) that ``modules`` hold."""
    return sum(_size(model.get_submodule(module)) for module in modules)


def _size(module: nn.Module) -> int:
    tensors = list(module.state_dict().values())
    return sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())
