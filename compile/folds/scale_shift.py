"""Merge a gain and a shift per channel into the linear before them.

    before   y = γ ⊙ (W x + b) + β
    after    y = W' x + b'            W' = diag(γ)·W,  b' = γ ⊙ b + β

As SSF has them after every linear of a frozen backbone. For several tasks with γ_t and β_t of their own on one shared W (as
VMT-Adapter has) this holds for a one-task build only: else one thin product becomes one dense product per task.
"""

from collections.abc import Iterator

import torch
from torch import nn

from compile.folds.base import Candidate, Step
from tdss.adapters.lora import ScaledLinear
from tdss.linears import set_module
from tdss.model import MultiTaskModel


class FoldScaleShift:
    """γ and β of every scaled linear into it."""

    name = "scale_shift"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every scaled linear."""
        for path, module in model.named_modules():
            if isinstance(module, ScaledLinear):
                yield Candidate(path, "folded", "the gain and the shift are constants after a linear", (path,))

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Put the merged linear in the place of both."""
        module = model.get_submodule(step.module)
        if not isinstance(module, ScaledLinear):
            raise TypeError(f"{step.module} is no ScaledLinear")
        linear = module.linear
        with torch.no_grad():
            shifted = module.shift if "bias" not in linear.state_dict() else module.gain * linear.bias + module.shift
            linear.weight = nn.Parameter(module.gain[:, None] * linear.weight)
            linear.bias = nn.Parameter(shifted.clone())
        set_module(model, step.module, linear)
