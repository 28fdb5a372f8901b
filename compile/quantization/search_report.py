"""What ``sensitivity.json`` holds: what the search tried, what each layer costs; read without an ONNX library."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen
from bundle.tasks.dataset import FolderDataset
from compile.quantization.accuracy import Standing
from compile.stage.config import SearchConfig

SENSITIVITY = "sensitivity.json"
NOTHING_DB = 200.0
"""The SQNR where there is no difference at all; its negative is that of an output with nothing of the reference's in it."""


class LayerSensitivity(Frozen):
    """One layer: its share of the graph's MACs, and for each task the SQNR in dB and the relative drop it causes alone."""

    name: str
    macs_share: float
    sqnr_db: dict[str, float]
    drop: dict[str, float]

    def noise(self, task_name: str) -> float:
        """The layer's noise power at a task's output, relative to the output's power."""
        return float(10.0 ** (-self.sqnr_db[task_name] / 10.0))


class Step(Frozen):
    """One graph that was tried: how many layers were in float, their share of the MACs, SmoothQuant or not, how each task stood.

    ``noise`` is Σ difference² / Σ reference² at each task's output, on a few of the images.
    ``held``: every interval lies within ± ``margin`` of its budget; ``passed``: every task's verdict is a pass; ``near``:
    every task passes, or its drop alone lies within ± ``margin`` of its budget while the images cannot tell.
    """

    returned: int
    macs_share: float
    tasks: dict[str, Standing]
    held: bool
    passed: bool = False  # these two are not in files of before 0603
    near: bool = False
    smooth: bool = False
    noise: dict[str, float] = Field(default_factory=dict)  # none in files of before 0608

    @property
    def level(self) -> int:
        """How good it is: 3 held, 2 passed, 1 near, 0 none of these."""
        return 3 if self.held else 2 if self.passed else int(self.near)


class SearchReport(Frozen):
    """What ``sensitivity.json`` holds: why there is a mixed or smoothed graph or none, which layers are in float, what each costs.

    ``images`` are those each layer was measured on, ``trial_images`` those each graph of ``steps`` was tried on. ``enough`` is the
    share of the MACs in float with which every task is foreseen to pass; None: not asked, or plain INT8 passes on these images.
    """

    schema_version: int = 1
    outcome: str
    images: int
    trial_images: int
    config: SearchConfig
    budgets: dict[str, float]
    never_quantized_share: float
    steps: tuple[Step, ...]
    returned: tuple[str, ...]
    layers: tuple[LayerSensitivity, ...]
    enough: float | None = None


class Terms(NamedTuple):
    """What a search is asked: the labelled folder of the calibration images, the budgets, how far to go."""

    dataset: FolderDataset
    budgets: dict[str, float]
    seed: int
    config: SearchConfig


def read_sensitivity(path: Path) -> SearchReport:
    """Read ``sensitivity.json``.

    Raises:
        ArtifactError: it holds something else.
    """
    try:
        return SearchReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ArtifactError(
            f"{path.name} cannot be read", expected="what the search of this version writes", got=str(error),
            where=str(path), fix="build the bundle again",
        ) from error  # fmt: skip


def costliest(rows: Sequence[LayerSensitivity], task_name: str, count: int) -> tuple[tuple[str, float], ...]:
    """Return the layers with most noise at a task's output, each with its part of all layers' noise there."""
    total = sum(row.noise(task_name) for row in rows)
    ranked = sorted(rows, key=lambda row: -row.noise(task_name))[:count]
    return tuple((row.name, row.noise(task_name) / total if total else 0.0) for row in ranked)
