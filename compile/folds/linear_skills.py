"""Multiply out skills without an activation: a static bank of linear skills is one matrix.

    before   z += M (A n)        M ``[tasks·narrow, E·r]``, A ``[E·r, dim]``
    after    z += W n            W = M A, ``[tasks·narrow, dim]``

Taken where W has no more entries than M and A together, so neither MACs nor bytes rise; else the two thin products stay. A
dynamic gate, or γ, keeps its bank as it is: M depends on the image, and making W for each image costs a product of its own.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from compile.folds.base import Candidate, Step
from compile.folds.composed import DynamicSource, StaticSource, halve
from compile.folds.gamma import GammaSource
from tdss.linears import linear_of, set_module
from tdss.model import MultiTaskModel


class LinearSource(nn.Module):
    """A bank of linear skills, multiplied out; reads n averaged 2×2 where the decoder halves the map."""

    def __init__(self, weight: Tensor, bias: Tensor | None, *, pooled: bool) -> None:
        super().__init__()
        self.pooled = pooled
        self.mix = linear_of(weight, bias)

    def forward(self, n: Tensor) -> Tensor:
        """Map the block's input ``[batch, height, width, dim]`` to its share of z, ``[batch, …, tasks·narrow]``."""
        return self.mix(halve(n) if self.pooled else n)  # type: ignore[no-any-return]


class FoldLinearSkills:
    """Every composed source with σ = none into one matrix, where that is no larger."""

    name = "linear_skills"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every composed source without an activation."""
        for path, source in model.named_modules():
            if not isinstance(source, StaticSource | DynamicSource | GammaSource):
                continue
            if not isinstance(source.hidden.activation, nn.Identity):
                continue
            if not isinstance(source, StaticSource):
                what = "γ" if isinstance(source, GammaSource) else "the gate"
                yield Candidate(path, "kept", f"{what} depends on the image", (path,))
                continue
            two = source.mix.weight.numel() + source.hidden.down.weight.numel()
            one = source.mix.out_features * source.hidden.down.in_features
            decision = f"one matrix has {one} entries, the two have {two}"
            yield Candidate(path, "folded" if one <= two else "kept", decision, (path,))

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Replace the source by its product."""
        source = model.get_submodule(step.module)
        if not isinstance(source, StaticSource):
            raise TypeError(f"{step.module} is no StaticSource")
        down = source.hidden.down
        with torch.no_grad():
            weight = source.mix.weight @ down.weight
            bias = source.mix.weight @ down.bias if "bias" in down.state_dict() else None
        set_module(model, step.module, LinearSource(weight, bias, pooled=source.hidden.pooled))
