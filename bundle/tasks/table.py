"""The task table: what a dense-prediction task is, as data. Adding a task is one row.

Channels, class names and palettes are not here: they belong to a dataset's spec.
"""

from typing import Literal, TypeAlias

from bundle.base.errors import ConfigError
from bundle.base.frozen import Frozen

Direction: TypeAlias = Literal["higher", "lower"]
Activation: TypeAlias = Literal["argmax", "sigmoid", "unit", "relu"]


class Task(Frozen):
    """One row: how a raw output becomes a prediction, and how a prediction is judged.

    ``activation`` turns the raw ``[channels, height, width]`` output into the prediction:
    ``argmax`` a label map, ``sigmoid`` a probability map, ``unit`` unit vectors and
    ``relu`` a non-negative map in metres. ``budget`` is the largest tolerated drop of the
    metric, relative to the reference (0.01 is MLPerf's 99 % rule).
    """

    name: str
    activation: Activation
    metric: str
    direction: Direction
    budget: float
    channels: int | None  # None: one channel per class of the dataset's spec
    empty_class: int | None = None  # argmax: an image that shows this class alone does not count (no people: no parts)


TASKS: tuple[Task, ...] = (
    Task(name="semseg", activation="argmax", metric="miou", direction="higher", budget=0.01, channels=None),
    Task(
        name="human_parts",
        activation="argmax",
        metric="miou",
        direction="higher",
        budget=0.01,
        channels=None,
        empty_class=0,
    ),
    Task(name="saliency", activation="sigmoid", metric="max_f", direction="higher", budget=0.01, channels=1),
    Task(
        name="normals", activation="unit", metric="mean_angular_error_deg", direction="lower", budget=0.01, channels=3
    ),
    Task(name="depth", activation="relu", metric="rmse_m", direction="lower", budget=0.01, channels=1),
    Task(name="edge", activation="sigmoid", metric="ods_f", direction="higher", budget=0.01, channels=1),
)


def task(name: str) -> Task:
    """Return the row called ``name``.

    Raises:
        ConfigError: no row has this name.
    """
    for row in TASKS:
        if row.name == name:
            return row
    known = ", ".join(row.name for row in TASKS)
    raise ConfigError(
        f"unknown task {name!r}",
        expected=f"one of {known}",
        got=repr(name),
        where="the list of tasks",
        fix="correct the name, or add a row to bundle/tasks/table.py",
    )
