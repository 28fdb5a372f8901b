"""How far a graph's answers fall behind the float graph's on labelled images, task by task.

What the search for mixed precision asks again and again, on calibration images only; ``bundle.judging.run`` judges the
bundle, on others. Held in memory: the images and labels, and of the reference the metric's array for each image.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from bundle.base.frozen import Frozen
from bundle.formats.image_hash import hash_labelled
from bundle.formats.io_forms import prediction
from bundle.formats.stored_maps import kept, kept_output
from bundle.judging.sensitivity import TaskDrop
from bundle.judging.verdict import Rule, judge
from bundle.tasks.agreement import energy
from bundle.tasks.dataset import FolderDataset, decode_label
from bundle.tasks.metrics import Floats, Metric
from bundle.tasks.spec import Array
from bundle.tasks.table import task
from compile.stage.graph_info import GraphInfo

Infer: TypeAlias = Callable[[Mapping[str, Array]], Mapping[str, Array]]
Measured: TypeAlias = dict[str, Floats]
RESAMPLES = 2_000
METRIC, OUTPUT, ANSWER = "metric_", "output_", "answer_"


class Seen(NamedTuple):
    """What images show of a graph, by task: the metric's arrays, float64 ``[N, …]``, and energies, float64 ``[N, ENERGIES]``."""

    metrics: Measured
    energies: Measured


class LabelledImage(NamedTuple):
    """One image as the graph takes it, and its decoded labels by task."""

    feed: dict[str, Array]
    labels: dict[str, Array]


class AccuracyEvaluator:
    """Images and what the reference makes of them; tasks of ``agreement`` are compared with its answers, others with labels."""

    def __init__(
        self,
        samples: Sequence[LabelledImage],
        info: GraphInfo,
        budgets: Mapping[str, float],
        seed: int,
        agreement: tuple[str, ...] = (),
    ) -> None:
        self.samples = tuple(samples)
        self.info = info
        self.budgets = dict(budgets)
        self.seed = seed
        self.agreement = agreement
        self.rows = {name: task(name).by_agreement() if name in agreement else task(name) for name in info.tasks}
        self._metrics: dict[str, Metric] = {name: row.judge(info.tasks[name]) for name, row in self.rows.items()}
        self._answers: list[dict[str, Array]] = []
        self._reference: Measured = {}
        self._outputs: list[dict[str, Array]] = []

    def set_reference(self, infer: Infer) -> None:
        """Measure the float graph, which every drop and all noise is relative to."""
        self._outputs, self._answers = [], []

        def remembered(feed: Mapping[str, Array]) -> Mapping[str, Array]:
            outputs = infer(feed)
            self._outputs.append({name: kept_output(outputs[name]).copy() for name in self._metrics})
            self._answers.append({name: self._stored(name, outputs[name][0]) for name in self.agreement})
            return outputs

        self._reference = self.measure(remembered)

    def see(self, infer: Infer) -> Seen:
        """Return what ``measure`` does, and how far each output is from the float graph's; of every seventh row and column."""
        energies: dict[str, list[Floats]] = {name: [] for name in self._metrics}
        references = iter(self._outputs)

        def compared(feed: Mapping[str, Array]) -> Mapping[str, Array]:
            outputs = infer(feed)
            for name, one in next(references).items():
                energies[name].append(energy(one, kept_output(outputs[name])))
            return outputs

        measured = self.measure(compared)
        return Seen(measured, {name: np.stack(rows) for name, rows in energies.items()})

    def measure(self, infer: Infer) -> Measured:
        """Return each task's metric array for each image, float64 ``[N, …]``; NaN where an output is not finite."""
        rows: dict[str, list[Floats]] = {name: [] for name in self._metrics}
        for index, sample in enumerate(self.samples):
            outputs = infer(sample.feed)
            for name in rows:
                rows[name].append(self._measure(name, outputs[name][0], index))
        return {name: np.stack(arrays) for name, arrays in rows.items()}

    def first(self, count: int) -> "AccuracyEvaluator":
        """Return an evaluator of the first images only, without a reference."""
        return AccuracyEvaluator(self.samples[:count], self.info, self.budgets, self.seed, self.agreement)

    def only(self, indices: Sequence[int]) -> "AccuracyEvaluator":
        """Return an evaluator of these images only, without a reference."""
        chosen = [self.samples[index] for index in indices]
        return AccuracyEvaluator(chosen, self.info, self.budgets, self.seed, self.agreement)

    def kept_reference(self) -> dict[str, Array]:
        """Return what ``set_reference`` measured, as arrays for a file."""
        answers = {ANSWER + name: np.stack([one[name] for one in self._answers]) for name in self.agreement}
        outputs = {OUTPUT + name: np.stack([one[name] for one in self._outputs]) for name in self._metrics}
        return {METRIC + name: rows for name, rows in self._reference.items()} | outputs | answers

    def restore_reference(self, arrays: Mapping[str, Array]) -> None:
        """Take what ``kept_reference`` gave in place of ``set_reference``; without outputs and answers only ``judge`` is possible."""
        self._reference = {name: np.asarray(arrays[METRIC + name], np.float64) for name in self._metrics}
        self._outputs, self._answers = (
            [{name: arrays[key + name][index] for name in names} for index in range(len(self.samples))]
            for key, names in ((OUTPUT, self._metrics), (ANSWER, self.agreement))
        )

    @property
    def reference(self) -> Measured:
        """The float graph's metric arrays, empty until ``set_reference``."""
        return self._reference

    def metric(self, name: str, measured: Floats) -> float:
        """Return a task's metric over all images."""
        return self._metrics[name].reduce(measured.sum(axis=0))

    def judge(self, measured: Measured) -> dict[str, TaskDrop]:
        """Judge what ``measure`` returned against the reference, by the rule that judges the bundle but for its minimum of images.

        A verdict here only ranks graphs; on fewer images than that rule asks for, the intervals are the best there is.
        """
        return {name: self._judge(name, measured[name]) for name in self._metrics}

    def _measure(self, name: str, output: Array, index: int) -> Floats:
        if not np.isfinite(output).all():
            return np.full(self._metrics[name].shape, np.nan)
        if name in self.agreement:
            return self._metrics[name].per_image(self._stored(name, output), self._answers[index][name])
        return self._metrics[name].per_image(self._prediction(name, output), self.samples[index].labels[name])

    def _prediction(self, name: str, output: Array) -> Array:
        return prediction(self.info.io, self.rows[name], output)

    def _stored(self, name: str, output: Array) -> Array:
        """Return a prediction as the vectors of a bundle keep it, which is what an agreement compares."""
        kind = self.rows[name].kind
        return kind.expand(kind.compact(kept(kind, self._prediction(name, output))))

    def _judge(self, name: str, measured: Floats) -> TaskDrop:
        rule = Rule(
            self._metrics[name].reduce_many,
            self.rows[name].direction,
            self.budgets[name],
            self.seed,
            resamples=RESAMPLES,
            minimum=1,
        )
        judged = judge(self._reference[name], measured, rule)
        return TaskDrop(
            drop=judged.drop, interval=judged.interval, verdict=judged.verdict, labelled_images=judged.labelled_images
        )


def noise_of(energies: Measured, count: int) -> dict[str, float]:
    """Return Σ difference² / Σ reference² of each task's output against the float graph's, on the first ``count`` images.

    A label map is taken as its one-hot map. Infinite where the reference is 0 everywhere and the output is not, or where
    the output is not finite.
    """
    sums = {name: rows[:count].sum(axis=0) for name, rows in energies.items()}
    return {name: _ratio(difference, whole) for name, (whole, difference, _, _) in sums.items()}


def _ratio(difference: float, whole: float) -> float:
    if difference == 0:
        return 0.0
    return float(difference / whole) if whole > 0 and np.isfinite(difference) else float("inf")


class LabelledImages(Frozen):
    """Which images a graph is measured on; tasks of ``agreement`` need no labels."""

    info: GraphInfo
    dataset: FolderDataset
    ids: tuple[str, ...]
    agreement: tuple[str, ...]

    def only(self, chosen: range) -> "LabelledImages":
        """Return some of the images, by their places."""
        return self.model_copy(update={"ids": tuple(self.ids[index] for index in chosen)})

    @property
    def sha256(self) -> str:
        """The hash of all files that are read, and of how they are read."""
        files = hash_labelled(self.dataset, self.ids, [name for name in self.info.tasks if name not in self.agreement])
        text = f"{files}\n{self.info.model_dump_json()}\n{self.agreement}"
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self, budgets: Mapping[str, float], seed: int) -> AccuracyEvaluator:
        """Read the images for an evaluator.

        Raises:
            DatasetError: an image or a label is missing or wrong.
        """
        samples = read_labelled(self.dataset, self.ids, self.info, self.agreement)
        return AccuracyEvaluator(samples, self.info, budgets, seed, self.agreement)


def read_labelled(
    dataset: FolderDataset, ids: Sequence[str], info: GraphInfo, unlabelled: tuple[str, ...] = ()
) -> tuple[LabelledImage, ...]:
    """Read images of these ids, and labels of all tasks but the ``unlabelled``.

    Raises:
        DatasetError: an image or a label is missing or wrong.
    """
    return tuple(
        LabelledImage(
            feed=info.feed(dataset.image(identifier), name=identifier),
            labels={
                name: decode_label(name, dataset.encoded_label(name, identifier), dataset.spec)
                for name in info.tasks
                if name not in unlabelled
            },
        )
        for identifier in ids
    )


def without_labels(dataset: FolderDataset, ids: Sequence[str], tasks: Sequence[str]) -> tuple[str, ...]:
    """Return those of the ids that lack a label for one of the tasks."""
    return tuple(
        identifier for identifier in ids if not all(dataset.label_path(name, identifier).is_file() for name in tasks)
    )


def worst(standing: Mapping[str, TaskDrop]) -> tuple[str, float]:
    """Return the task with the largest relative drop, and the drop: infinite where an output is no number; an undefined one comes last."""
    losses = {name: _loss(one) for name, one in standing.items()}
    name = max(losses, key=lambda one: np.nan_to_num(losses[one], nan=-np.inf, posinf=np.inf))
    return name, losses[name]


def _loss(one: TaskDrop) -> float:
    return float("inf") if np.isnan(one.drop) and one.verdict == "regression" else one.drop
