"""A module that runs another one under autocast, so that an export has the casts in its graph."""

import torch
from torch import Tensor, nn


class Autocast(nn.Module):
    """``module`` with its products in FP16 on one kind of device; an export records a context inside ``forward`` only."""

    def __init__(self, module: nn.Module, device_type: str) -> None:
        super().__init__()
        self.module = module
        self.device_type = device_type

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map what the module maps; products give FP16, so float32 is given back explicitly."""
        with torch.autocast(self.device_type, dtype=torch.float16):
            outputs = self.module(image)
        if isinstance(outputs, Tensor):
            return _wide(outputs)
        return tuple(_wide(output) for output in outputs)


def _wide(output: Tensor) -> Tensor:
    """Return FP16 as float32, anything else as it is: uint8 label maps stay what they are."""
    return output.float() if output.dtype == torch.float16 else output
