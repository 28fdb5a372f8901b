"""Run the folds: which candidates are taken, by cost, and the proof that the outputs are the same.

``rewrite`` computes no output: every rule is first applied to a copy without values, whose shapes say what it would cost.

    mode    takes
    all     every exact fold, unless it would add MACs or bytes
    cost    the exact folds that pay: bytes moved + MACs / MACS_PER_BYTE must fall, one of the two may rise
    none    nothing
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from bundle.errors import CheckpointError
from bundle.fold import FoldPart, FoldProof, FoldRecord
from compile.folds.base import Candidate, Fold, Step
from compile.folds.cost import Cost, Trace, ghost_of, trace_cost
from compile.folds.table import FOLDS, fold_named
from tdss.model import MultiTaskModel

FoldMode: TypeAlias = Literal["all", "cost", "none"]
EXACT_RELATIVE = 1e-11  # float64: largest |a − b| of an output over its largest |b|
FLOAT32_RELATIVE = 1e-4  # float32: the order of summation changes; 1e-5 is usual
TASK_SUBSET = "task_subset"
NOTHING = Cost(0, 0, 0)


class Difference(NamedTuple):
    """How far one output of the folded model is from the unfolded one's: max |a − b|, and that over max |b|."""

    max_abs: float
    relative: float


class _Considered(NamedTuple):
    candidate: Candidate
    before: Cost
    after: Cost


def rewrite(
    model: MultiTaskModel, shape: Sequence[int], *, mode: FoldMode, rules: Sequence[Fold] = FOLDS
) -> tuple[MultiTaskModel, list[FoldRecord]]:
    """Return a folded float64 copy of ``model`` and every decision; ``shape`` is the input's ``[batch, 3, H, W]``."""
    folded = deepcopy(model).double().eval()
    records: list[FoldRecord] = []
    if mode != "none":
        trace = trace_cost(folded, shape)
        for rule in rules:
            lines, trace = _run_rule(rule, folded, shape, trace, mode)
            records += lines
    return folded, records


def restrict(
    model: MultiTaskModel, tasks: Sequence[str], shape: Sequence[int]
) -> tuple[MultiTaskModel, list[FoldRecord]]:
    """Return a copy that answers ``tasks`` only, and the line that says what that saves.

    F_t = G + D_t + γ_t ⊙ W_c [G ; mean_t D_t] of the tasks kept is what it was: the mean still runs over every trained task,
    so with TSAI the gates keep all their rows. A task's γ, streams and decoder leave with it; without TSAI its gates' rows too.

    Raises:
        ConfigError: a task is not one of the model's.
    """
    kept = deepcopy(model)
    kept.keep(tasks)
    before, after = trace_cost(model, shape).total, trace_cost(kept, shape).total
    gone = [task for task in model.config.tasks if task not in kept.config.tasks]
    candidate = Candidate(
        "decoders", "folded", f"what only {', '.join(gone)} needs is gone", (), form=",".join(kept.config.tasks)
    )
    return kept, [_record(TASK_SUBSET, _Considered(candidate, before, after))] if gone else []


def apply_steps(model: MultiTaskModel, steps: Sequence[Step]) -> None:
    """Repeat a plan on a fresh model, in place: its shapes become those of the folded one, its values mean nothing."""
    for step in steps:
        if step.rule == TASK_SUBSET:
            model.keep(step.form.split(","))
        else:
            fold_named(step.rule).apply(model, step)


def with_error(records: Sequence[FoldRecord], errors: Mapping[str, float]) -> list[FoldRecord]:
    """Return the lines with the largest absolute difference of any output in every exact rewrite's."""
    worst = float(torch.tensor([*errors.values()], dtype=torch.float64).max())  # NaN if one is
    return [
        line.model_copy(update={"max_abs_error": worst}) if line.decision == "folded" and line.exact else line
        for line in records
    ]


def prove(reference: MultiTaskModel, folded: MultiTaskModel, batch: Tensor) -> FoldProof:
    """Compare the folded float64 model with a float32 reference in both types, on float32 ``[batch, 3, H, W]``.

    Raises:
        CheckpointError: the reference's own output is not finite, or an output of the folded model differs by more than the
            bound of its type.
    """
    precise, plain = run(deepcopy(reference).double(), batch.double()), run(reference, batch)
    for outputs in (precise, plain):
        _require_finite(outputs)
    wide = compare(precise, run(folded, batch.double()))
    _require(wide, EXACT_RELATIVE, "float64")
    narrow = compare(plain, run(deepcopy(folded).float(), batch))
    _require(narrow, FLOAT32_RELATIVE, "float32")
    return FoldProof(
        images=len(batch),
        float64={task: error.relative for task, error in wide.items()},
        float32={task: error.relative for task, error in narrow.items()},
        float64_max_abs={task: error.max_abs for task, error in wide.items()},
        float32_max_abs={task: error.max_abs for task, error in narrow.items()},
    )


def compare(reference: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Difference]:
    """Compare the outputs that ``other`` has; ``reference`` may have more tasks."""
    return {task: _difference(reference[task], got) for task, got in other.items()}


def run(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    """Return the raw outputs by task, ``[batch, channels, H, W]``."""
    with torch.no_grad():
        outputs: dict[str, Tensor] = model(batch)
    return outputs


class Traced(NamedTuple):
    """A model and what it costs."""

    model: MultiTaskModel
    trace: Trace


def part_costs(before: Traced, after: Traced) -> tuple[FoldPart, ...]:
    """Return what the backbone, each adapter stage and each task's decoder cost in either model.

    A task that ``after`` no longer answers costs nothing there. Composing moves downsamplers from the decoders to the
    adapter's stages.
    """
    kept = _parts(after.model)
    return tuple(
        _part(
            part,
            before.trace.of(before.model, [part]),
            after.trace.of(after.model, [part]) if part in kept else NOTHING,
        )
        for part in _parts(before.model)
    )


def _parts(model: MultiTaskModel) -> list[str]:
    stages = [path for path, _ in model.named_modules() if path.startswith("adapter.stages.") and path.count(".") == 2]
    return ["backbone", *stages, *(f"decoders.{task}" for task in model.decoders)]


def _part(part: str, before: Cost, after: Cost) -> FoldPart:
    return FoldPart(
        part=part, macs_before=before.macs, macs_after=after.macs, bytes_before=before.moved,
        bytes_after=after.moved, params_before=before.params, params_after=after.params,
    )  # fmt: skip


def _run_rule(
    rule: Fold, model: MultiTaskModel, shape: Sequence[int], before: Trace, mode: FoldMode
) -> tuple[list[FoldRecord], Trace]:
    """Apply one rule wherever it may and pays; ``before`` is the model's trace, the second result the one after."""
    candidates = list(rule.candidates(model))
    costs = [before.of(model, candidate.touches) for candidate in candidates]
    wanted = [candidate for candidate in candidates if candidate.decision == "folded"]
    if not wanted:
        return [
            _record(rule.name, _Considered(c, cost, cost)) for c, cost in zip(candidates, costs, strict=True)
        ], before
    ghost, after = _try(rule, model, wanted, shape)
    tried = [
        _Considered(candidate, cost, after.of(ghost, candidate.touches) if candidate in wanted else cost)
        for candidate, cost in zip(candidates, costs, strict=True)
    ]
    decided = [_decide(considered, mode) for considered in tried]
    taken = [considered.candidate for considered in decided if considered.candidate.decision == "folded"]
    for candidate in taken:
        rule.apply(model, _step(rule.name, candidate))
    if taken and len(taken) < len(wanted):
        _, after = _try(rule, model, (), shape)
    return [_record(rule.name, considered) for considered in decided], after if taken else before


def _try(
    rule: Fold, model: MultiTaskModel, wanted: Sequence[Candidate], shape: Sequence[int]
) -> tuple[MultiTaskModel, Trace]:
    ghost = ghost_of(model)
    for candidate in wanted:
        rule.apply(ghost, _step(rule.name, candidate))
    return ghost, trace_cost(ghost, shape)


def _step(rule: str, candidate: Candidate) -> Step:
    return Step(rule=rule, module=candidate.module, keep=candidate.keep, form=candidate.form)


def _decide(considered: _Considered, mode: FoldMode) -> _Considered:
    """Refuse a fold that costs more than it saves, with the reason."""
    candidate, before, after = considered
    if candidate.decision == "kept":
        return considered
    added = [
        f"{now - was} {name}"
        for name, was, now in (("MACs", before.macs, after.macs), ("bytes", before.moved, after.moved))
        if now > was
    ]
    if mode == "all":
        reason = f"it would add {' and '.join(added)}" if added else ""
    else:
        reason = "" if after.weight < before.weight else f"it does not pay: {' and '.join(added) or 'nothing is saved'}"
    if not reason:
        return considered
    return _Considered(candidate._replace(decision="kept", reason=reason), before, before)


def _record(rule: str, considered: _Considered) -> FoldRecord:
    candidate, before, after = considered
    return FoldRecord(
        module=candidate.module, rule=rule, decision=candidate.decision, reason=candidate.reason, exact=True,
        max_abs_error=0.0, params_before=before.params, params_after=after.params, macs_before=before.macs,
        macs_after=after.macs, bytes_before=before.moved, bytes_after=after.moved, keep=candidate.keep,
        form=candidate.form,
    )  # fmt: skip


def _difference(want: Tensor, got: Tensor) -> Difference:
    largest = float((got - want).abs().max())
    return Difference(max_abs=largest, relative=largest / max(float(want.abs().max()), 1e-30))


def _require_finite(outputs: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint that gives NaN or infinity before anything was done to it."""
    wrong = [f"{task} {output.dtype}" for task, output in outputs.items() if not output.isfinite().all()]
    if wrong:
        raise CheckpointError(
            "the checkpoint's own output is not finite, before any folding", expected="finite outputs on real images",
            got=f"NaN or infinity in {', '.join(wrong)}", where="the unfolded model",
            fix="the checkpoint itself overflows: train it again, or give a sound one",
        )  # fmt: skip


def _require(errors: Mapping[str, Difference], limit: float, dtype: str) -> None:
    beyond = {task: error.relative for task, error in errors.items() if not error.relative <= limit}
    if beyond:
        raise CheckpointError(
            "folding changed what the model computes", expected=f"relative difference ≤ {limit:g} in {dtype}",
            got=", ".join(f"{error:.3g} on {task}" for task, error in beyond.items()), where="the fold stage's own check",
            fix="build with folding off and report the model's config.toml",
        )  # fmt: skip
