"""Merge a low-rank update into the linear that reads the same input.

    before   y = W x + b + s·B (A x)
    after    y = W' x + b              W' = W + s·B A

The product is formed in the fold stage's float64 copy and rounded once. Kept where W and the update read different
streams: in MTLoRA's last blocks y_t = W0 x_s + s·B_t A_t x_t is [W0 | s·B_t A_t] on two inputs, thin as it is and a dense
matrix per task if merged; and y_s shares W0 x_s with all of them.
"""

from collections.abc import Iterator

import torch
from torch import nn

from compile.folds.base import Candidate, Step
from tdss.adapters.lora import LoraLinear
from tdss.adapters.mtlora import TaskLinear
from tdss.linears import set_module
from tdss.model import MultiTaskModel


class FoldLowRank:
    """Every LoRA whose linear reads what it reads."""

    name = "low_rank"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every low-rank update."""
        for path, module in model.named_modules():
            if isinstance(module, LoraLinear):
                rank = module.update.down.shape[0]
                yield Candidate(path, "folded", f"rank {rank}, W and B·A read the same input", (path,))
            elif isinstance(module, TaskLinear):
                yield Candidate(
                    path, "kept", "W reads the shared stream for every task, the updates their own", (path,)
                )

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Put the merged linear in the place of both."""
        module = model.get_submodule(step.module)
        if not isinstance(module, LoraLinear):
            raise TypeError(f"{step.module} is no LoraLinear")
        linear, update = module.linear, module.update
        with torch.no_grad():
            linear.weight = nn.Parameter(linear.weight + update.scale * (update.up @ update.down))
        set_module(model, step.module, linear)
