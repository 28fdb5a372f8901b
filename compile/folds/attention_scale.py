"""Merge the attention scale into the query projection.

    before   logits = (s·(W_q n + b_q)) · k
    after    logits = (W'_q n + b'_q) · k        W'_q = s·W_q,  b'_q = s·b_q

One elementwise multiply of a ``[windows, heads, window², head_dim]`` tensor is gone per block, and the scale lies
before the first batched matmul, as TensorRT wants it in an INT8 graph.
"""

from collections.abc import Iterator

import torch
from torch import nn

from compile.folds.base import Candidate, Step
from tdss.backbones.swin import WindowAttention
from tdss.backbones.vit import Attention
from tdss.model import MultiTaskModel


class FoldAttentionScale:
    """s into W_q and b_q of every attention."""

    name = "attention_scale"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every attention; all fold, a scale that is 1 already is kept."""
        for path, module in model.named_modules():
            if isinstance(module, WindowAttention | Attention) and not isinstance(
                module.get_submodule("qkv"), nn.Linear
            ):
                yield Candidate(path, "kept", "its qkv is no plain linear", (path,))
            elif isinstance(module, WindowAttention | Attention) and module.scale == 1.0:
                yield Candidate(path, "kept", "the scale is 1 already", (path,))
            elif isinstance(module, WindowAttention | Attention):
                yield Candidate(path, "folded", f"the scale {module.scale:.6g} is a constant", (path,))

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Scale the query rows and set the scale to 1."""
        attention = model.get_submodule(step.module)
        if not isinstance(attention, WindowAttention | Attention):
            raise TypeError(f"{step.module} is no attention")
        if not isinstance(attention.get_submodule("qkv"), nn.Linear):
            raise TypeError(f"the qkv of {step.module} is no plain linear")
        dim = attention.qkv.in_features
        with torch.no_grad():
            attention.qkv.weight[:dim].mul_(attention.scale)
            attention.qkv.bias[:dim].mul_(attention.scale)
        attention.scale = 1.0
