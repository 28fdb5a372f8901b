"""Replace a gate that could depend on the image, and does not: its weights or its input path are zero.

    before   g_t = softmax((z_t + V_t·GAP(n)) / τ)          γ_t = sigmoid(W_t·GAP[G ; D_t])
    after    V = 0:                    g_t = softmax(z_t / τ)                 W = 0:  γ_t = sigmoid(0) = 1/2
             n = LN(x) with w = 0:     GAP(n) = β, so g_t = softmax((z_t + V_t·β) / τ)

The gate network and its pooling are gone, and the composition sees a static gate.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from compile.folds.base import Candidate, Step
from compile.folds.gates import ConstantGate
from tdss.adapters.tdss import DynamicGamma, DynamicGate, Tsai, normalise_gate
from tdss.linears import set_module
from tdss.model import MultiTaskModel

NORMS = {"attention": "norm1", "mlp": "norm2"}


class FoldStaticValue:
    """Every dynamic gate and γ whose value is a constant."""

    name = "static_value"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every dynamic gate and γ with zero weights or a dead input path."""
        for path, module in model.named_modules():
            if isinstance(module, DynamicGate) or (isinstance(module, Tsai) and module.gate is not None):
                reason = dead_reason(model, path if isinstance(module, DynamicGate) else f"{path}.gate")
                if reason:
                    yield Candidate(path, "folded", reason, (path,))

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Put a constant in the gate's place."""
        module = model.get_submodule(step.module)
        if isinstance(module, Tsai) and module.gate is not None:
            freeze_gamma(module, torch.full((len(module.gate.weight),), 0.5))
        elif isinstance(module, DynamicGate):
            set_module(model, step.module, ConstantGate(_constant(model, step.module, module)))
        else:
            raise TypeError(f"{step.module} is no gate that depends on the image")


def freeze_gamma(tsai: Tsai, gamma: Tensor) -> None:
    """Make γ a constant: ``gamma`` holds values in 0…1, ``[tasks·dim]`` or ``[tasks, dim]``."""
    kind = tsai.bridge.weight
    logits = torch.logit(gamma.to(kind.dtype).view(-1, tsai.bridge.out_features))
    tsai.gate, tsai.weight = None, nn.Parameter(logits.to(kind.device))


def dead_reason(model: MultiTaskModel, path: str) -> str:
    """Say why a module answers the same for every image: "" where its weights are no reason to."""
    module = model.get_submodule(path)
    if isinstance(module, DynamicGate):
        norm = _input_norm(model, path)
        if not module.logits.weight.any():
            return "its weights V are zero"
        return "its input path is dead: the norm before it has zero weights" if norm is not None and _flat(norm) else ""
    if isinstance(module, nn.LayerNorm):
        return "its weights are zero: it answers its bias" if _flat(module) else ""
    if isinstance(module, nn.Linear | nn.Conv2d | DynamicGamma):
        return "its weights are zero" if not module.weight.any() else ""
    return ""


def _flat(norm: nn.LayerNorm) -> bool:
    return norm.elementwise_affine and not bool(norm.weight.any())


def _input_norm(model: MultiTaskModel, path: str) -> nn.LayerNorm | None:
    """Return the norm whose output a gate at ``adapter.stages.S.blocks.B.banks.SITE.gate`` pools."""
    parts = path.split(".")
    if "banks" not in parts:
        return None
    place = parts.index("banks")
    norm = model.get_submodule(".".join(["backbone", *parts[1:place], NORMS[parts[place + 1]]]))
    return norm if isinstance(norm, nn.LayerNorm) else None


def _constant(model: MultiTaskModel, path: str, gate: DynamicGate) -> Tensor:
    norm = _input_norm(model, path)
    logits: Tensor = gate.logits.bias
    if norm is not None and norm.elementwise_affine:
        logits = logits + gate.logits.weight @ norm.bias  # V·β: 0 where V is, else the pooled norm is β
    rows = logits.detach().view(gate.tasks, -1)
    return normalise_gate(rows, temperature=gate.config.temperature, top_k=gate.config.top_k)
