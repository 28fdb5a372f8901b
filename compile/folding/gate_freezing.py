"""Freeze gates: approximate, opt-in, searched so that every task stays within its budget against the reference.

    freeze_gate    A gate of the graph becomes its mean over the images. This constant then folds as any other.

    drop_skills    Elements of a gate that weigh little for every reader become zero. What they multiply is not computed.

The search sees calibration images only. Where they have labels, a task's drop is its metric's, relative to the reference.
Where they have none, the reference's own predictions are the labels. Where higher is better, every disagreement counts as a
loss. Where lower is better, the drop is the metric between the two models over the reference's error (``scales``, from the
checkpoint's card). That is a bound: by the triangle inequality no angle or RMSE against true labels can grow by more. The
evaluation images judge the bundle later and choose nothing.

Where fewer images count for a task than a verdict needs, nothing is frozen: what a gate costs it is not known.

Each move is measured alone. Then they are taken in the order of their cost, the least first, while the drop of all moves
together stays within every task's budget.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import onnx_ir as ir

from bundle.formats.fold import FoldRecord
from bundle.formats.io_forms import prediction
from bundle.formats.manifest import default_budgets
from bundle.judging import wording
from bundle.judging.verdict import MINIMUM_IMAGES, labelled
from bundle.tasks.dataset import FolderDataset
from bundle.tasks.metrics import Floats
from bundle.tasks.spec import Array
from bundle.tasks.table import task as task_row
from compile.folding.linear.matrices import Array as Floats64
from compile.folding.linear.matrices import Index
from compile.folding.static_gates import Gate, Measured, find_gates, freeze, mask, measure_gates
from compile.folding.tables import NOTHING, Cost, costs_by_scope
from compile.stage.compare import Outputs, run_model
from compile.stage.config import FreezeOptions
from compile.stage.graph_info import GraphInfo

# Elements of a gate whose mean is below this for every reader may be dropped.
TINY = 0.02
FREEZE, DROP = "freeze_gate", "drop_skills"
Labels: TypeAlias = Mapping[str, Sequence[Array]]
Predictions: TypeAlias = Mapping[str, Sequence[Array]]
Runner: TypeAlias = Callable[[ir.Model], list[Outputs]]


class Move(NamedTuple):
    """One approximate change: of which gate, its mean or the elements to drop, and what it does in words."""

    gate: Gate
    mean: Floats64 | None
    kept: Index  # the elements that stay, where some are dropped
    reason: str

    @property
    def rule(self) -> str:
        """The name of the change in fold.json."""
        return DROP if self.mean is None else FREEZE


class Agreement:
    """Judges a graph against the reference on the same images: by ``labels``, or by its predictions where there are none.

    ``counted`` is the number of images that count for each task's metric.
    """

    def __init__(
        self, model: ir.Model, info: GraphInfo, run: Runner, labels: Labels, scales: Mapping[str, float]
    ) -> None:
        self.info, self.run, self.tasks = info, run, dict(info.tasks)
        predictions = self._predict(model)
        own = {
            task: [task_row(task).kind.pseudo_label(one, made) for one in made] for task, made in predictions.items()
        }
        self.labels: Labels = labels or own
        self.counted: dict[str, int] = {}
        self.best = self._measure(predictions)
        natural = {task: scales.get(task, task_row(task).kind.natural_error(predictions[task])) for task in self.tasks}
        self.scales = {task: max(self.best[task], 1e-12) for task in self.tasks} if labels else natural

    def drops(self, model: ir.Model) -> dict[str, float]:
        """Return each task's relative drop; positive is worse."""
        got = self._measure(self._predict(model))
        return {task: self._drop(task, got[task]) for task in self.tasks}

    def _drop(self, task: str, got: float) -> float:
        if task_row(task).direction == "lower":
            return (got - self.best[task]) / self.scales[task]
        return (self.best[task] - got) / max(self.best[task], 1e-12)

    def _predict(self, model: ir.Model) -> Predictions:
        found: dict[str, list[Array]] = {task: [] for task in self.tasks}
        for outputs in self.run(model):
            for task, made in found.items():
                output = outputs[task][0]
                made.append(prediction(self.info.io, task_row(task), output))
        return found

    def _measure(self, predictions: Predictions) -> dict[str, float]:
        found: dict[str, float] = {}
        for task, channels in self.tasks.items():
            judge = task_row(task).judge(channels)
            pairs = zip(predictions[task], self.labels[task], strict=True)
            parts: list[Floats] = [judge.per_image(made, label) for made, label in pairs]
            self.counted.setdefault(task, labelled(np.stack(parts), np.stack(parts)))
            found[task] = float(judge.reduce(np.sum(parts, axis=0)))
        return found


def freeze_gates(
    model: ir.Model, info: GraphInfo, options: FreezeOptions, progress: Callable[[str], None], *, threads: int
) -> tuple[ir.Model, list[FoldRecord]]:
    """Return a copy of a float32 graph with every gate frozen and skill dropped that the budgets allow, and each decision.

    Raises:
        DatasetError: an image or a label cannot be read, or the data has other classes than the tasks have channels.
    """
    feeds = [info.feed(image, name=name) for name, image in options.images.read()]
    labels = {} if options.labels is None else read_labels(options.labels, options.images.paths, info.tasks)
    if not labels:
        progress("freeze: not every calibration image has its labels: the reference's predictions take their place")
    budgets = default_budgets(dict(info.tasks), strict=False)
    budgets |= {task: budget for task, budget in options.budgets.items() if task in info.tasks}
    gates = find_gates(model)
    moves = list(_moves(gates, measure_gates(model, gates, feeds, threads=threads), len(feeds)))
    agreement = Agreement(model, info, lambda graph: run_model(graph, feeds, threads=threads), labels, options.scales)
    few = {task: count for task, count in agreement.counted.items() if count < MINIMUM_IMAGES}
    if few:
        reason = f"refuses to freeze: on too few labelled images ({_counts(few)}); {MINIMUM_IMAGES} are needed to know what it costs"
        return model, _records(model, model, [_Decided(move, {}, reason, taken=False) for move in moves])
    frozen, decided = _search(model, moves, agreement, budgets, progress)
    return frozen, _records(model, frozen, decided)


class _Decided(NamedTuple):
    move: Move
    drops: dict[str, float]
    reason: str
    taken: bool


def _search(
    model: ir.Model,
    moves: Sequence[Move],
    agreement: Agreement,
    budgets: Mapping[str, float],
    progress: Callable[[str], None],
) -> tuple[ir.Model, list[_Decided]]:
    """Measure each move alone, then take them in the order of what they cost while all together stay within every budget."""
    alone: list[tuple[Move, dict[str, float]]] = []
    for number, move in enumerate(moves, 1):
        alone.append((move, agreement.drops(_apply(model, [move]))))
        progress(f"freeze: {move.gate.tensor} costs {_worst(alone[-1][1], budgets)} ({number} of {len(moves)})")
    alone.sort(key=lambda tried: _share(tried[1], budgets))
    taken: list[Move] = []
    decided = []
    for move, drops in alone:
        together = agreement.drops(_apply(model, [*taken, move])) if _share(drops, budgets) <= 1 else drops
        takes = _share(drops, budgets) <= 1 and _share(together, budgets) <= 1
        if takes:
            taken.append(move)
        reason = f"{move.reason}; costs {_worst(drops, budgets)}" if takes else _refusal(drops, together, budgets)
        decided.append(_Decided(move, drops, reason, takes))
    return _apply(model, taken), decided


def read_labels(dataset: FolderDataset, paths: Sequence[Path], tasks: Mapping[str, int]) -> Labels:
    """Return every image's labels, decoded, by task; nothing where an image has none for a task.

    Raises:
        DatasetError: a label is wrong, or the data has other classes than ``tasks`` have channels.
    """
    if not all(dataset.label_path(task, path.stem).is_file() for task in tasks for path in paths):
        return {}
    dataset.require_channels(tasks)
    return {task: [dataset.label(task, path.stem) for path in paths] for task in tasks}


def _moves(gates: Sequence[Gate], measured: Mapping[str, Measured], images: int) -> Iterator[Move]:
    """Yield every gate with its mean, and every gate with elements of tiny weight."""
    for gate in gates:
        mean = measured[gate.tensor].mean
        yield Move(gate, mean, np.zeros(0, np.int64), f"frozen to its mean over {images} images")
        kept = gate.heavy(mean, TINY)
        if 0 < kept.size < mean.size:  # among very many skills none need weigh much
            reason = f"{mean.size - kept.size} of its {mean.size} weights are below {TINY} for every reader"
            yield Move(gate, None, kept, reason)


def _apply(model: ir.Model, moves: Sequence[Move]) -> ir.Model:
    """Return a copy with the moves made: a gate that loses skills loses them before it becomes a constant."""
    for move in moves:
        if move.mean is None:
            model = mask(model, move.gate.tensor, move.kept)
    return freeze(model, {move.gate.tensor: move.mean for move in moves if move.mean is not None})


def _counts(few: Mapping[str, int]) -> str:
    return ", ".join(f"{task} {count}" for task, count in few.items())


def _share(drops: Mapping[str, float], budgets: Mapping[str, float]) -> float:
    """Return the largest drop in units of its task's budget; a drop that is not a number counts as infinite."""
    return max(drop / budgets[task] if np.isfinite(drop) else float("inf") for task, drop in drops.items())


def _worst(drops: Mapping[str, float], budgets: Mapping[str, float]) -> str:
    task = max(drops, key=lambda name: drops[name] / budgets[name])
    return f"{wording.percent(drops[task])} on {task} of {wording.budget(budgets[task])}"


def _refusal(drops: Mapping[str, float], together: Mapping[str, float], budgets: Mapping[str, float]) -> str:
    if _share(drops, budgets) > 1:
        return f"refuses to freeze: alone it costs {_worst(drops, budgets)}"
    return f"refuses to freeze: with what was taken before it costs {_worst(together, budgets)}"


def _records(model: ir.Model, frozen: ir.Model, decided: Sequence[_Decided]) -> list[FoldRecord]:
    was, now = costs_by_scope(model), costs_by_scope(frozen)
    return [_record(one, _within(was, one.move.gate.module), _within(now, one.move.gate.module)) for one in decided]


def _within(costs: Mapping[str, Cost], module: str) -> Cost:
    """Return what a module and all inside it cost."""
    total = NOTHING
    for scope, cost in costs.items():
        if scope == module or scope.startswith(f"{module}."):
            total = total.plus(cost)
    return total


def _record(one: _Decided, before: Cost, after: Cost) -> FoldRecord:
    move = one.move
    return FoldRecord(
        module=move.gate.module,
        rule=move.rule,
        decision="folded" if one.taken else "kept",
        reason=one.reason,
        exact=False,
        max_abs_error=None,
        params_before=before.params,
        params_after=after.params,
        macs_before=before.macs,
        macs_after=after.macs,
        bytes_before=before.moved,
        bytes_after=after.moved,
        keep=tuple(int(place) for place in move.kept),
        form=move.gate.tensor,
        drops=one.drops,
    )
