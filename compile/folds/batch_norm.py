"""Merge an inference batch norm into the 1×1 convolution before it.

    before   y = a ⊙ (W x + b − μ) + β     a = w / √(σ² + ε),  b = 0 where the convolution has no bias
    after    y = W' x + b'                 W' = diag(a)·W,  b' = β + a ⊙ (b − μ)

The four vectors of the norm become one bias.
"""

from collections.abc import Iterator

import torch
from torch import nn

from compile.folds.base import Candidate, Step
from tdss.decoders.hrnet import HrnetHead
from tdss.model import MultiTaskModel


class FoldBatchNorm:
    """The decoder heads' batch norms into their ``mix`` convolutions."""

    name = "batch_norm"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every head that still has its norm."""
        for path, module in model.named_modules():
            if isinstance(module, HrnetHead) and isinstance(module.norm, nn.BatchNorm2d):
                touches = (f"{path}.mix", f"{path}.norm")
                if module.norm.track_running_stats:
                    reason = "running statistics are constants at inference"
                    yield Candidate(f"{path}.norm", "folded", reason, touches)
                else:
                    reason = "its statistics are each batch's own: it tracks no running ones"
                    yield Candidate(f"{path}.norm", "kept", reason, touches)

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Replace ``mix`` by a convolution with bias, and the norm by an identity."""
        head = model.get_submodule(step.module.rpartition(".")[0])
        if not isinstance(head, HrnetHead) or not isinstance(head.get_submodule("norm"), nn.BatchNorm2d):
            raise TypeError(f"{step.module} is not the norm of an HrnetHead")
        norm, mix = head.norm, head.mix
        if norm.running_mean is None or norm.running_var is None:
            raise TypeError(f"{step.module} tracks no running statistics")
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        merged = nn.Conv2d(mix.in_channels, mix.out_channels, 1, device=mix.weight.device, dtype=mix.weight.dtype)
        merged.weight = nn.Parameter((mix.weight * gain[:, None, None, None]).detach())
        shift = -norm.running_mean if mix.bias is None else mix.bias - norm.running_mean
        merged.bias = nn.Parameter((norm.bias + gain * shift).detach())
        head.mix = merged
        head.norm = nn.Identity()  # type: ignore[assignment]
