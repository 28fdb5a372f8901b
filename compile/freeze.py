"""Freeze gates: approximate folds, opt-in, searched so that every task stays within its budget against the reference.

The search sees calibration images only. Where they have labels, a task's drop is its metric's, relative to the reference.
Where they have none, the reference's own predictions are the labels: where higher is better, every disagreement counts as a
loss; where lower is better, the metric between the two models over the reference's error (``scales``, from the checkpoint's
card) is a bound, since by the triangle inequality no angle or RMSE against true labels can grow by more. The
evaluation images judge the bundle later and choose nothing.

Where fewer images count for a task than a verdict needs, nothing is frozen: what a gate costs it is not known.

Each move is measured alone, then they are taken in the order of what they cost, the least first, while every task's
drop of all moves together stays within its budget.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from bundle.dataset import Array, FolderDataset
from bundle.fold import FoldRecord
from bundle.metrics import Floats, metric
from bundle.postprocess import predict
from bundle.tasks import task as task_row
from bundle.verdict import MINIMUM_IMAGES, labelled
from compile.folds.base import Step
from compile.folds.cost import Cost, trace_cost
from compile.folds.freeze_gate import DropSkills, FreezeGate, freeze
from compile.folds.gates import constant_of, is_static
from compile.spread import run
from tdss.adapters.tdss import DynamicGate, SkillBank, Tsai
from tdss.model import MultiTaskModel

TINY = 0.02  # a skill whose mean weight is below this for every task may be dropped
POSITIVE = 0.9  # of a probability map's pixels, those above this quantile are the pseudo label's positives
Labels: TypeAlias = Mapping[str, Sequence[Array]]
RADIAN_DEG = 57.3  # the scale of an angle where no card says how large the reference's error is


class Move(NamedTuple):
    """One approximate rewrite: its step, the gate's mean (None for dropped skills), and what it does in words."""

    step: Step
    values: Tensor | None
    reason: str


class Agreement:
    """Judges a model against the reference on the same images: by ``labels``, or by its predictions where there are none.

    ``counted`` is the number of images that count for each task's metric.
    """

    def __init__(
        self, model: MultiTaskModel, images: Sequence[Tensor], labels: Labels, scales: Mapping[str, float]
    ) -> None:
        self.images, self.tasks = images, dict(model.config.tasks)
        predictions = self._predict(model)
        own = {task: [_label(task, one, made) for one in made] for task, made in predictions.items()}
        self.labels: Labels = labels or own
        self.counted: dict[str, int] = {}
        self.best = self._measure(predictions)
        natural = {task: scales.get(task, _natural(task, predictions[task])) for task in self.tasks}
        self.scales = {task: max(self.best[task], 1e-12) for task in self.tasks} if labels else natural

    def drops(self, model: MultiTaskModel) -> dict[str, float]:
        """Return each task's relative drop; positive is worse."""
        got = self._measure(self._predict(model))
        return {task: self._drop(task, got[task]) for task in self.tasks}

    def _drop(self, task: str, got: float) -> float:
        if task_row(task).direction == "lower":
            return (got - self.best[task]) / self.scales[task]
        return (self.best[task] - got) / max(self.best[task], 1e-12)

    def _predict(self, model: MultiTaskModel) -> dict[str, list[Array]]:
        raw = [run(model, image) for image in self.images]
        return {task: [predict(task_row(task), one[task][0].numpy()) for one in raw] for task in self.tasks}

    def _measure(self, predictions: Mapping[str, list[Array]]) -> dict[str, float]:
        found: dict[str, float] = {}
        for task, channels in self.tasks.items():
            judge = metric(task_row(task), channels)
            pairs = zip(predictions[task], self.labels[task], strict=True)
            parts: list[Floats] = [judge.per_image(prediction, label) for prediction, label in pairs]
            self.counted.setdefault(task, labelled(np.stack(parts), np.stack(parts)))
            found[task] = float(judge.reduce(np.sum(parts, axis=0)))
        return found


def freeze_gates(
    model: MultiTaskModel, images: Sequence[Tensor], *, budgets: Mapping[str, float], labels: Labels,
    scales: Mapping[str, float], progress: Callable[[str], None],
) -> tuple[MultiTaskModel, list[FoldRecord]]:  # fmt: skip
    """Return a copy of a float32 model with every gate frozen and skill dropped that the budgets allow, and each decision.

    ``images`` are ``[1, 3, H, W]``; ``labels`` are decoded, one per image for every task, or empty; ``scales`` are the
    reference's metrics of tasks where lower is better, for images without labels.
    """
    moves = list(_moves(model, images))
    agreement = Agreement(model, images, labels, scales)
    few = {task: count for task, count in agreement.counted.items() if count < MINIMUM_IMAGES}
    if few:
        was = trace_cost(model, images[0].shape)
        reason = f"refuses to freeze: on too few labelled images ({_counts(few)}); {MINIMUM_IMAGES} are needed to know what it costs"
        costs = (was.of(model, [move.step.module]) for move in moves)
        kept = [_record(move, {}, reason, cost, cost, taken=False) for move, cost in zip(moves, costs, strict=True)]
        return deepcopy(model), kept
    alone: list[tuple[Move, dict[str, float]]] = []
    for number, move in enumerate(moves, 1):
        alone.append((move, agreement.drops(_apply(deepcopy(model), move))))
        progress(f"freeze: {move.step.module} costs {_worst(alone[-1][1], budgets)} ({number} of {len(moves)})")
    alone.sort(key=lambda tried: _share(tried[1], budgets))
    frozen, decided = deepcopy(model), []
    for move, drops in alone:
        together = agreement.drops(_apply(deepcopy(frozen), move)) if _share(drops, budgets) <= 1 else drops
        taken = _share(drops, budgets) <= 1 and _share(together, budgets) <= 1
        if taken:
            frozen = _apply(frozen, move)
        reason = f"{move.reason}; costs {_worst(drops, budgets)}" if taken else _refusal(drops, together, budgets)
        decided.append((move, drops, reason, taken))
    was, now = (trace_cost(one, images[0].shape) for one in (model, frozen))
    return frozen, [
        _record(move, drops, reason, was.of(model, [move.step.module]), now.of(frozen, [move.step.module]), taken=taken)
        for move, drops, reason, taken in decided
    ]


def read_labels(dataset: FolderDataset, paths: Sequence[Path], tasks: Mapping[str, int]) -> Labels:
    """Return every image's labels, decoded, by task; nothing where an image has none for a task.

    Raises:
        DatasetError: a label is wrong, or the data has other classes than ``tasks`` have channels.
    """
    if not all((dataset.root / task / f"{path.stem}.png").is_file() for task in tasks for path in paths):
        return {}
    dataset.require_channels(tasks)
    return {task: [dataset.label(task, path.stem) for path in paths] for task in tasks}


def _moves(model: MultiTaskModel, images: Sequence[Tensor]) -> Iterator[Move]:
    """Yield every dynamic gate and γ with its mean, and every bank with skills of tiny weight."""
    means = _gate_means(model, images)
    for path, values in means.items():
        yield Move(Step(rule=FreezeGate.name, module=path), values, f"frozen to its mean over {len(images)} images")
    for path, bank in model.named_modules():
        if not isinstance(bank, SkillBank):
            continue
        weights = constant_of(bank.gate) if is_static(bank.gate) else means[f"{path}.gate"]
        keep = tuple(int(skill) for skill in (weights.amax(0) >= TINY).nonzero())
        dropped = weights.shape[1] - len(keep)
        if dropped and keep:  # among very many skills none need weigh much
            reason = f"{dropped} skills weigh less than {TINY} for every task"
            yield Move(Step(rule=DropSkills.name, module=path, keep=keep), None, reason)


def _gate_means(model: MultiTaskModel, images: Sequence[Tensor]) -> dict[str, Tensor]:
    answers: dict[str, list[Tensor]] = {}

    def listen(path: str) -> Any:
        return lambda module, inputs, output: answers.setdefault(path, []).append(output.detach())

    gates = [path for path, module in model.named_modules() if isinstance(module, DynamicGate)]
    handles = [model.get_submodule(path).register_forward_hook(listen(path)) for path in gates]
    gammas = {path: tsai for path, tsai in model.named_modules() if isinstance(tsai, Tsai) and tsai.gate is not None}
    handles += [tsai.register_forward_hook(_listen_gamma(path, tsai, answers)) for path, tsai in gammas.items()]
    try:
        for image in images:
            run(model, image)
    finally:
        for handle in handles:
            handle.remove()
    return {path: torch.cat(values).mean(0) for path, values in answers.items()}


def _listen_gamma(path: str, tsai: Tsai, answers: dict[str, list[Tensor]]) -> Any:
    def listen(module: nn.Module, inputs: Any, output: Any) -> None:
        generic, adapted, places = inputs
        gammas = tsai.gamma(generic, [adapted[place] for place in places])
        answers.setdefault(path, []).append(torch.stack([gamma.flatten(1) for gamma in gammas], 1))

    return listen


def _apply(model: MultiTaskModel, move: Move) -> MultiTaskModel:
    """Make the move in place and return the model."""
    if move.values is None:
        DropSkills().apply(model, move.step)
    else:
        freeze(model, move.step.module, move.values)
    return model


def _counts(few: Mapping[str, int]) -> str:
    return ", ".join(f"{task} {count}" for task, count in few.items())


def _share(drops: Mapping[str, float], budgets: Mapping[str, float]) -> float:
    """Return the largest drop in units of its task's budget; a drop that is not a number counts as infinite."""
    return max(drop / budgets[task] if np.isfinite(drop) else float("inf") for task, drop in drops.items())


def _worst(drops: Mapping[str, float], budgets: Mapping[str, float]) -> str:
    task = max(drops, key=lambda name: drops[name] / budgets[name])
    return f"{drops[task]:.2%} on {task} of {budgets[task]:.2%}"


def _refusal(drops: Mapping[str, float], together: Mapping[str, float], budgets: Mapping[str, float]) -> str:
    if _share(drops, budgets) > 1:
        return f"refuses to freeze: alone it costs {_worst(drops, budgets)}"
    return f"refuses to freeze: with what was taken before it costs {_worst(together, budgets)}"


def _record(move: Move, drops: dict[str, float], reason: str, before: Cost, after: Cost, *, taken: bool) -> FoldRecord:
    return FoldRecord(
        module=move.step.module, rule=move.step.rule, decision="folded" if taken else "kept", reason=reason,
        exact=False, max_abs_error=None, params_before=before.params, params_after=after.params,
        macs_before=before.macs, macs_after=after.macs, bytes_before=before.moved, bytes_after=after.moved,
        keep=move.step.keep, form=move.step.form, drops=drops,
    )  # fmt: skip


def _label(task: str, prediction: Array, all_of_them: Sequence[Array]) -> Array:
    """Return the reference's prediction as a label: probabilities become 0 or 1, everything else stays."""
    if task_row(task).activation != "sigmoid":
        return prediction
    bound = np.quantile(np.stack(all_of_them), POSITIVE)
    return np.asarray(prediction > bound, dtype=np.uint8)


def _natural(task: str, predictions: Sequence[Array]) -> float:
    """Return a scale for a task's error where the card has none: a radian, or the root mean square of the prediction."""
    if task_row(task).activation == "unit":
        return RADIAN_DEG
    return float(np.sqrt(np.mean(np.square(np.stack(predictions).astype(np.float64))))) or 1.0
