"""The analysis before any rewrite: what of a model is static, and by which right.

    static by construction   it never sees the image (a learned gate, a batch norm's statistics)
    static by value          it could see the image, and its weights or its input path are zero
    nearly static            over the calibration images it hardly matters that it sees them: putting its mean in its place
                             changes no output by more than ``NEARLY``
    dynamic                  anything else

Judged is what a module answers for an image. That a projection answers another thing for each image does not keep its
matrix from being merged: compile/folds/ says what is, this says what could be without one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeAlias

from torch import Tensor, nn

from bundle.frozen import Frozen
from compile.folds.gates import DeadBank, constant_of, is_static
from compile.folds.static_value import dead_reason
from compile.spread import Outputs, Spread, measure_effect, measure_spread, run_all
from tdss.adapters.tdss import DynamicGamma, DynamicGate, SkillBank, StaticGate, Tsai
from tdss.model import MultiTaskModel

Kind: TypeAlias = Literal["adapter", "gate", "norm", "projection"]
Verdict: TypeAlias = Literal["static by construction", "static by value", "nearly static", "dynamic"]
NEARLY = 0.01  # the relative change of any output that a nearly static module's mean may cause
WORTH_TRYING = 0.1  # the effect of a module other than a gate is measured where its spread is below this
EFFECT_IMAGES = 4


class Finding(Frozen):
    """What one module is, and the numbers for it; see compile/spread.py. None was not measured."""

    module: str
    kind: Kind
    verdict: Verdict
    reason: str
    mean: float | None = None
    spread: float | None = None
    effect: float | None = None


def analyse(model: MultiTaskModel, images: Sequence[Tensor], progress: Callable[[str], None]) -> tuple[Finding, ...]:
    """Judge every adapter, gate, norm and projection of a float32 model on images ``[1, 3, H, W]``.

    A single image's answer is its own mean, so with fewer than two only what needs none is told apart. ``progress`` gets
    the name of a module before its effect is measured.
    """
    listed = list(_listed(model))
    if len(images) < 2:
        return tuple(_by_weights(model, path, kind) for path, kind in listed)
    spreads = measure_spread(model, images, [path for path, _ in listed])
    few = images[:EFFECT_IMAGES]
    reference = run_all(model, few)
    return tuple(
        _measured(model, _by_weights(model, path, kind), spreads.get(path), few, reference, progress)
        for path, kind in listed
    )


def _listed(model: MultiTaskModel) -> Iterator[tuple[str, Kind]]:
    for path, module in model.named_modules():
        if isinstance(module, SkillBank | DeadBank | Tsai):
            yield path, "adapter"
        elif isinstance(module, StaticGate | DynamicGate | DynamicGamma):
            yield path, "gate"
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            yield path, "norm"
        elif isinstance(module, nn.Linear | nn.Conv2d) and not path.endswith(".gate.logits"):
            yield path, "projection"


def _by_weights(model: MultiTaskModel, path: str, kind: Kind) -> Finding:
    """Judge a module by what it is and by its weights."""
    module = model.get_submodule(path)
    verdict: Verdict = "dynamic"
    dead = dead_reason(model, path)
    if isinstance(module, StaticGate):
        verdict, reason = "static by construction", f"learned per task; {_gate_range(module)}"
    elif isinstance(module, nn.BatchNorm2d):
        verdict, reason = "static by construction", "at inference an affine map: its statistics are constants"
    elif dead:
        verdict, reason = "static by value", dead
    else:
        reason = _DYNAMIC[kind] if not isinstance(module, SkillBank) else _bank(module)
    return Finding(module=path, kind=kind, verdict=verdict, reason=reason)


_DYNAMIC: dict[Kind, str] = {
    "adapter": "bridges maps of the image", "gate": "reads the pooled map of the image",
    "norm": "its statistics are those of each token; only its affine part is constant",
    "projection": "a constant matrix on the image's values",
}  # fmt: skip


def _bank(bank: SkillBank) -> str:
    skills = bank.up.in_features // bank.rank
    kind = "static" if is_static(bank.gate) else "dynamic"
    return f"{skills} skills of rank {bank.rank}, {kind} gate"


def _gate_range(gate: nn.Module) -> str:
    values = constant_of(gate)
    return f"weights {float(values.min()):.3f} to {float(values.max()):.3f}"


def _measured(
    model: MultiTaskModel, finding: Finding, spread: Spread | None, images: Sequence[Tensor], reference: Outputs,
    progress: Callable[[str], None],
) -> Finding:  # fmt: skip
    if spread is None:
        return finding.model_copy(
            update={"reason": f"{finding.reason}; runs once per task, so its spread was not measured"}
        )
    numbers: dict[str, float | str] = {"mean": spread.mean, "spread": spread.spread}
    tried = finding.kind == "gate" or spread.spread <= WORTH_TRYING
    if finding.verdict == "dynamic" and tried:
        progress(f"analysis: what {finding.module} changes")
        effect, task = measure_effect(model, images, reference, finding.module, spread.average)
        numbers["effect"] = effect
        if effect <= NEARLY:
            numbers |= {"verdict": "nearly static", "reason": f"{finding.reason}; its mean changes {task} most"}
    return finding.model_copy(update=numbers)
