"""Merge a layer norm's affine part into every linear that reads it.

    before   y = W (w ⊙ n̂ + β) + b          n̂ = (x − mean)/√(var + ε)
    after    y = W' n̂ + b'                   W' = W·diag(w),  b' = b + W β

It must hold for *all* readers at once: LN1 feeds qkv and the skills inserted at the attention, LN2 feeds fc1 and the
skills inserted at the MLP; a dynamic gate reads GAP(n), which is linear too. Refused where
- windows are padded: zeros are padded after LN1, so a padded token reads b, and would read b' after the fold;
- the readers' new biases would take more parameters than the affine part frees;
- the norm feeds the residual stream (patch embedding), or the tasks' own streams too (MTLoRA's last blocks);
- a reader is not a plain linear yet, or was composed already.
"""

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from compile.folds.base import Candidate, Step, downsamplers_of
from compile.folds.composed import ComposedStage
from compile.folds.gamma import GammaStage
from tdss.adapters.tdss import DynamicGate, SkillBank, Tdss
from tdss.backbones.swin import PatchMerging, SwinBlock, SwinStage
from tdss.backbones.vit import Vit, VitBlock
from tdss.linears import bias_of, linear_at, linear_of, set_module
from tdss.model import MultiTaskModel

PADDED = "windows are padded with zeros after the norm"


class _Readers(NamedTuple):
    norm: str
    linears: tuple[str, ...]
    obstacle: str | None


class FoldLayerNorm:
    """Every layer norm's affine part into its readers."""

    name = "layer_norm"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every layer norm of the backbone with the decision for it."""
        for readers in _all_readers(model):
            norm = model.get_submodule(readers.norm)
            if not isinstance(norm, nn.LayerNorm) or not norm.elementwise_affine:
                continue
            touches = (readers.norm, *readers.linears)
            obstacle = readers.obstacle or _composed(model, readers.norm) or _adapted(model, readers.linears)
            obstacle = obstacle or _too_dear(model, norm, readers.linears)
            if obstacle:
                yield Candidate(readers.norm, "kept", obstacle, touches)
            else:
                count = len(readers.linears)
                reason = "its only reader is linear" if count == 1 else f"all its {count} readers are linear"
                yield Candidate(readers.norm, "folded", reason, touches)

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Scale each reader's columns, give it a bias, and drop the affine part."""
        readers = next((entry.linears for entry in _all_readers(model) if entry.norm == step.module), ())
        norm = model.get_submodule(step.module)
        if not isinstance(norm, nn.LayerNorm) or not readers:
            raise TypeError(f"{step.module} is no LayerNorm that linears read")
        for path, linear in [(path, linear_at(model, path)) for path in readers]:
            set_module(model, path, _absorb(linear, norm))
        plain = nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)
        set_module(model, step.module, plain)


def _absorb(linear: nn.Linear, norm: nn.LayerNorm) -> nn.Linear:
    shift, bias = linear.weight @ norm.bias, bias_of(linear)
    return linear_of(linear.weight * norm.weight, shift if bias is None else bias + shift)


def _composed(model: MultiTaskModel, norm: str) -> str | None:
    """Refuse a block's norm where the skills that read it are out of sight, in the modules of a composed stage."""
    stage, _, inside = norm.replace("backbone", "adapter", 1).partition(".blocks.")
    if not inside or not isinstance(model.adapter, Tdss):
        return None
    composed = isinstance(model.get_submodule(stage), ComposedStage | GammaStage)
    return "the skills that read it were composed already" if composed else None


def _adapted(model: MultiTaskModel, linears: tuple[str, ...]) -> str | None:
    others = [path for path in linears if not isinstance(model.get_submodule(path), nn.Linear)]
    return f"{others[0]} is no plain linear" if others else None


def _too_dear(model: MultiTaskModel, norm: nn.LayerNorm, linears: tuple[str, ...]) -> str | None:
    freed = 2 * norm.weight.numel()
    added = sum(linear_at(model, path).out_features for path in linears if linear_at(model, path).bias is None)
    return f"new biases take {added} parameters, the affine part frees {freed}" if added > freed else None


def _all_readers(model: MultiTaskModel) -> Iterator[_Readers]:
    if not isinstance(model.backbone, Vit):
        yield _Readers("backbone.patch_embed.norm", (), "it feeds the residual stream")
    for path, module in model.backbone.named_modules(prefix="backbone"):
        if isinstance(module, SwinBlock) and isinstance(module.mlp, nn.Identity):
            own = "it norms the tasks' own streams too"
            yield _Readers(f"{path}.norm1", (f"{path}.attn.qkv",), None if module.padded == module.size else PADDED)
            yield _Readers(f"{path}.norm2", (), own)
        elif isinstance(module, SwinBlock | VitBlock):
            pads = isinstance(module, SwinBlock) and module.padded != module.size
            padded = PADDED if pads else None
            yield _Readers(f"{path}.norm1", (f"{path}.attn.qkv", *_bank_readers(model, path, "attention")), padded)
            yield _Readers(f"{path}.norm2", (f"{path}.mlp.fc1", *_bank_readers(model, path, "mlp")), None)
        elif isinstance(module, PatchMerging):
            readers = (f"{path}.reduction", *_own_readers(model, path))
            yield _Readers(f"{path}.norm", readers, None)


def _own_readers(model: MultiTaskModel, merging: str) -> tuple[str, ...]:
    """Return the downsamplers that read the norm of a merging, after a fold took the reduction out of their path."""
    stage = model.get_submodule(merging.rpartition(".")[0])
    if not isinstance(stage, SwinStage) or stage.reduces_streams:
        return ()
    return downsamplers_of(model, merging.rpartition(".")[0])


def _bank_readers(model: MultiTaskModel, block: str, site: str) -> Iterator[str]:
    path = f"{block.replace('backbone', 'adapter', 1)}.banks.{site}"
    try:
        bank = model.get_submodule(path)
    except AttributeError:
        return
    if isinstance(bank, SkillBank):
        yield f"{path}.down"
        yield from (f"{name}.logits" for name, gate in bank.named_modules(prefix=path) if isinstance(gate, DynamicGate))
