"""Merge LayerScale into the linear before it.

    before   y = λ ⊙ (W x + b)
    after    y = W' x + b'        W' = diag(λ)·W,  b' = λ ⊙ b

λ is a constant at inference; d parameters and one elementwise multiply per branch are gone.
"""

from collections.abc import Iterator

import torch
from torch import nn

from compile.folds.base import Candidate, Step
from tdss.backbones.vit import LayerScale, VitBlock
from tdss.linears import set_module
from tdss.model import MultiTaskModel

BRANCHES = (("scale1", "attn.proj"), ("scale2", "mlp.fc2"))


class FoldLayerScale:
    """λ of every branch of a vision transformer into the branch's last linear."""

    name = "layer_scale"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every LayerScale that is still there."""
        for path, block in model.named_modules():
            if not isinstance(block, VitBlock):
                continue
            for scale, linear in BRANCHES:
                if isinstance(block.get_submodule(scale), LayerScale):
                    yield _candidate(f"{path}.{scale}", f"{path}.{linear}", block.get_submodule(linear))

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Scale the rows of the branch's last linear and put an identity in the scale's place."""
        block, _, name = step.module.rpartition(".")
        scale, linear = model.get_submodule(step.module), None
        if name in dict(BRANCHES):
            linear = model.get_submodule(f"{block}.{dict(BRANCHES)[name]}")
        if not isinstance(scale, LayerScale) or not isinstance(linear, nn.Linear):
            raise TypeError(f"{step.module} is no LayerScale after a Linear")
        with torch.no_grad():
            linear.weight.mul_(scale.gain[:, None])
            linear.bias.mul_(scale.gain)
        set_module(model, step.module, nn.Identity())


def _candidate(scale: str, path: str, linear: nn.Module) -> Candidate:
    if isinstance(linear, nn.Linear):
        return Candidate(scale, "folded", "the gain is a constant after a linear", (scale, path))
    return Candidate(scale, "kept", f"{path} is no plain linear", (scale, path))
