"""What ``sensitivity.json`` holds: what the search for a mixed graph tried, and what each layer costs when it is quantized."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter

from bundle.base.frozen import Frozen
from bundle.base.limits import Count
from bundle.base.nullable_float import NullableFloat
from bundle.formats.results import read_json
from bundle.judging.verdict import MINIMUM_IMAGES, Verdict


class TaskDrop(Frozen):
    """The result of one task: its relative drop, the drop's interval, and the verdict that the budget gives it.

    A drop is infinite where only the reference has a metric, and NaN where it has none; a file says null for both.
    ``labelled_images`` is the number of images that count for the metric; None in files of before it was recorded.
    """

    drop: NullableFloat
    interval: tuple[NullableFloat, NullableFloat]
    verdict: Verdict
    labelled_images: int | None = None

    @property
    def defined(self) -> bool:
        """False where the reference's metric is undefined or 0 on these images, so that nothing is decided about it."""
        return bool(np.isfinite(self.drop)) or self.verdict != "inconclusive"

    @property
    def thin(self) -> bool:
        """True where something is decided on fewer images than the judgement of a bundle would ask for."""
        return self.defined and self.labelled_images is not None and self.labelled_images < MINIMUM_IMAGES


class SearchConfig(Frozen):
    """How mixed precision is searched where plain INT8 breaks a budget on the calibration images.

    A task holds if its drop's interval is within ± ``margin`` of its budget. At most ``limit`` of the MACs stay in
    float. Each layer's sensitivity is measured on ``images`` images.
    """

    enabled: bool = True
    margin: Annotated[float, Field(gt=0, le=1)] = 0.5
    limit: Annotated[float, Field(ge=0, le=1)] = 0.1
    images: Count = 3


SENSITIVITY = "sensitivity.json"


NOTHING_DB = 200.0


class LayerSensitivity(Frozen):
    """One layer: its share of the graph's MACs, and for each task the SQNR in dB and the relative drop it causes alone."""

    name: str
    macs_share: float
    sqnr_db: dict[str, float]
    drop: dict[str, NullableFloat]

    def noise(self, task_name: str) -> float:
        """The layer's noise power at a task's output, relative to the output's power."""
        return float(10.0 ** (-self.sqnr_db[task_name] / 10.0))


class Step(Frozen):
    """One graph that was tried: how many layers were in float, their share of the MACs, SmoothQuant or not, and the result of each task.

    ``noise`` is Σ difference² / Σ reference² at each task's output, on a few of the images.
    ``broken``: the tasks whose interval is not within ± ``margin`` of the budget. ``passed``: every task's verdict is a
    pass. ``near``: every task passes, or its drop alone is within ± ``margin`` of its budget while the images cannot tell.
    """

    layers_in_float: int
    macs_share: float
    tasks: dict[str, TaskDrop]
    broken: tuple[str, ...]
    passed: bool
    near: bool
    smooth: bool
    noise: dict[str, float]

    @property
    def held(self) -> bool:
        """Every interval is within ± ``margin`` of its budget."""
        return not self.broken

    @property
    def level(self) -> int:
        """How good it is: 3 held, 2 passed, 1 near, 0 none of these."""
        return 3 if self.held else 2 if self.passed else int(self.near)


SearchResult = Literal[
    "switched_off", "no_int8_graph", "no_labels", "int8_holds", "smooth_holds", "mixed", "no_layer_fits", "undecidable"
]


class Forecast(Frozen):
    """One task with all layers in float that may be: the share of plain INT8's noise that is left, and the drop's interval."""

    noise_left: float
    interval: tuple[NullableFloat, NullableFloat]


class SearchReport(Frozen):
    """What ``sensitivity.json`` holds: how the search ended, which layers are in float, what each costs.

    ``images`` are those each layer was measured on, ``trial_images`` those each graph of ``steps`` was tried on. Plain
    INT8 is the first step, the graph that was taken the last. ``unlabelled`` is the number of calibration images that lack
    a label. ``forecast`` has the tasks that no mixed graph could decide. ``enough`` is the predicted share of the MACs
    in float with which every task passes. None: not asked, or plain INT8 passes on these images.
    """

    schema_version: Literal[2] = 2
    result: SearchResult
    config: SearchConfig
    budgets: dict[str, float]
    images: int = 0
    trial_images: int = 0
    never_quantized_share: float = 0.0
    steps: tuple[Step, ...] = ()
    layers_in_float: tuple[str, ...] = ()
    layers: tuple[LayerSensitivity, ...] = ()
    enough: float | None = None
    calibration_images: int = 0
    unlabelled: int = 0
    forecast: dict[str, Forecast] = Field(default_factory=dict)


def costliest(rows: Sequence[LayerSensitivity], task_name: str, count: int) -> tuple[tuple[str, float], ...]:
    """Return the layers with most noise at a task's output, each with its part of all layers' noise there."""
    total = sum(row.noise(task_name) for row in rows)
    ranked = sorted(rows, key=lambda row: -row.noise(task_name))[:count]
    return tuple((row.name, row.noise(task_name) / total if total else 0.0) for row in ranked)


def read_sensitivity(folder: Path) -> SearchReport | None:
    """Read ``sensitivity.json`` of a folder; None if there is none.

    Raises:
        ArtifactError: the file is there and holds something else.
    """
    return read_json(folder, SENSITIVITY, TypeAdapter(SearchReport), "what the search of this version writes")
