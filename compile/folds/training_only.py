"""Remove what acts in training only: stochastic depth.

    before   x + mask/(1 − p) ⊙ f(x) in training, x + f(x) at inference
    after    x + f(x)

Exact at inference. Deep-supervision heads of a checkpoint are not built at all, and a batch norm's step counter leaves
with the norm (compile/folds/batch_norm.py).
"""

from collections.abc import Iterator

from torch import nn

from compile.folds.base import Candidate, Step
from tdss.backbones.swin import DropPath
from tdss.linears import set_module
from tdss.model import MultiTaskModel


class FoldTrainingOnly:
    """Every drop path into an identity."""

    name = "training_only"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every drop path that is still there and could drop."""
        for path, module in model.named_modules():
            if isinstance(module, DropPath) and module.p > 0:
                yield Candidate(path, "folded", f"drops with p = {module.p:g} in training only", (path,))

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Put an identity in its place."""
        if not isinstance(model.get_submodule(step.module), DropPath):
            raise TypeError(f"{step.module} is no DropPath")
        set_module(model, step.module, nn.Identity())
