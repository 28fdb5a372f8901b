"""The task table: what a dense-prediction task is. Adding a task is one row; its kind is a class of bundle/tasks/kinds/.

A model may have several tasks of a row: ``semseg-lanes`` is a task like ``semseg``, with classes and labels of its own.

Channels, class names and palettes are not here: they belong to a dataset's spec.
"""

import re
from collections.abc import Iterable

from bundle.base.errors import ConfigError
from bundle.base.frozen import Frozen
from bundle.tasks.kinds.depth import Depth
from bundle.tasks.kinds.kind import Kind
from bundle.tasks.kinds.label_map import LabelMap
from bundle.tasks.kinds.probability import Probability
from bundle.tasks.kinds.unit_vector import UnitVector
from bundle.tasks.metrics import Direction, MaxF, MaxThresholdIou, Metric, OdsF


class Task(Frozen):
    """One row: the kind of its answer, and the largest tolerated drop of the gating metric.

    ``budget`` is relative to the reference (0.01 is MLPerf's 99 % rule). ``agreement``: there are no labels to judge by,
    and the metric compares an answer with the reference's own.
    """

    name: str
    kind: Kind
    budget: float
    agreement: bool = False

    @property
    def channels(self) -> int | None:
        """Channels of the raw output; None: one per class of the dataset's spec."""
        return self.kind.channels

    def figures(self, channels: int) -> tuple[Metric, ...]:
        """Return the metrics of an output with ``channels`` channels: the one that gates, then those that are only reported."""
        return (self.kind.agreement_metric(channels),) if self.agreement else self.kind.figures(channels)

    def by_agreement(self) -> "Task":
        """Return the same task as it is judged without labels."""
        return self.model_copy(update={"agreement": True, "budget": self.kind.agreement_budget})

    def judge(self, channels: int) -> Metric:
        """Return the metric that gates, of an output with ``channels`` channels."""
        return self.figures(channels)[0]

    @property
    def metric(self) -> str:
        """The name of the metric that gates."""
        return self.judge(self.channels or 2).name

    @property
    def direction(self) -> Direction:
        """Which way of that metric is better."""
        return self.judge(self.channels or 2).direction


TASKS: tuple[Task, ...] = (
    Task(name="semseg", kind=LabelMap(), budget=0.01),
    Task(name="human_parts", kind=LabelMap(empty_class=0), budget=0.01),
    Task(name="saliency", kind=Probability(metrics=(MaxF(), MaxThresholdIou())), budget=0.01),
    Task(name="normals", kind=UnitVector(), budget=0.01),
    Task(name="depth", kind=Depth(), budget=0.01),
    Task(name="edge", kind=Probability(metrics=(OdsF(),), thin=True), budget=0.01),
)


_SUFFIX = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")


def find_task(name: str) -> Task | None:
    """Return the row called ``name``; of ``ROW-suffix`` the row, under that name. None: there is no such row."""
    base, dash, suffix = name.partition("-")
    row = next((one for one in TASKS if one.name == base), None)
    if row is None or not dash:
        return row
    return row.model_copy(update={"name": name}) if _SUFFIX.fullmatch(suffix) else None


def tasks_among(names: Iterable[str]) -> list[Task]:
    """Return the tasks among some names, in the order of the table."""
    order = [row.name for row in TASKS]
    found = filter(None, map(find_task, names))
    return sorted(found, key=lambda row: (order.index(row.name.partition("-")[0]), row.name))


def task(name: str) -> Task:
    """Return the task called ``name``: see ``find_task``.

    Raises:
        ConfigError: no row has this name.
    """
    if row := find_task(name):
        return row
    known = ", ".join(row.name for row in TASKS)
    raise ConfigError(
        f"unknown task {name!r}",
        expected=f"one of {known}; or one of them with a suffix, as semseg-lanes",
        got=repr(name),
        where="the list of tasks",
        fix="correct the name, or add a row to bundle/tasks/table.py",
    )
