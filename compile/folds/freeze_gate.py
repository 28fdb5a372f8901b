"""Approximate rewrites: a gate that depends on the image becomes a constant, a skill of tiny weight leaves.

    before   g_t(x) = softmax((z_t + V_t·GAP(n)) / τ)          Δ_t = α Σ_e g_t,e B_e u_e
    after    g_t = its mean over the calibration images         the same sum over the skills in ``keep``

    before   γ_t(x) = sigmoid(W_t·GAP[G ; D_t])
    after    γ_t = sigmoid(w_t), w_t = logit of its mean over the calibration images

A dropped skill's gate still counts in the softmax: the other skills' weights do not grow.

Neither is exact: they are opt-in, and compile/freeze.py measures each on every task before it is taken.
"""

import torch
from torch import Tensor

from compile.folds.base import Step
from compile.folds.dead_skills import FoldDeadSkills
from compile.folds.gates import ConstantGate, PickedGate
from compile.folds.static_value import freeze_gamma
from tdss.adapters.tdss import DynamicGate, Tsai
from tdss.linears import set_module
from tdss.model import MultiTaskModel


class FreezeGate:
    """A dynamic gate, or a TSAI's dynamic γ, into a constant; its value is given to ``freeze`` or loaded."""

    name = "freeze_gate"

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Put a constant of the right shape in its place."""
        module = model.get_submodule(step.module)
        if isinstance(module, Tsai) and module.gate is not None:
            freeze(model, step.module, torch.full((len(module.gate.weight),), 0.5))
            return
        gate = module.gate if isinstance(module, PickedGate) else module
        if not isinstance(gate, DynamicGate):
            raise TypeError(f"{step.module} is no gate that depends on the image")
        freeze(model, step.module, torch.zeros(gate.tasks, gate.config.experts))


class DropSkills(FoldDeadSkills):
    """Skills that are not in the step's ``keep``, whatever they add."""

    name = "drop_skills"


def freeze(model: MultiTaskModel, path: str, values: Tensor) -> None:
    """Make a gate answer ``values`` ``[tasks, experts]``, or a TSAI use γ = ``values`` ``[tasks, dim]``, for every image."""
    module = model.get_submodule(path)
    if isinstance(module, Tsai):
        freeze_gamma(module, values)
        return
    kind = next(module.parameters())
    picked = values[:, list(module.kept)] if isinstance(module, PickedGate) else values
    set_module(model, path, ConstantGate(picked.to(kind.device, kind.dtype)))
