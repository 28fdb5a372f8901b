"""What each layer costs when it is quantized: sensitivity.json of a build, and how the page shows it."""

from pathlib import Path

from pydantic import ConfigDict, TypeAdapter

from bundle.base.frozen import Frozen
from report import wording
from report.drawing.charts import bar
from report.facts import read_json

SENSITIVITY = "sensitivity.json"
SHOWN = 20
SMOOTHED = "With SmoothQuant and no layer in float not every task held. "
NOTHING = "This bundle has no sensitivity.json: no layer was measured alone."


class _Part(Frozen):
    """A part of the file: what the page does not show is not read."""

    model_config = ConfigDict(extra="ignore")


class Layer(_Part):
    """One layer quantized alone: its share of the MACs, each task's SQNR in dB and relative drop."""

    name: str
    macs_share: float
    sqnr_db: dict[str, float | None]
    drop: dict[str, float | None]

    def noise(self, task: str) -> float:
        """The layer's noise power at a task's output, relative to the output's power."""
        value = self.sqnr_db.get(task)
        return 0.0 if value is None else float(10.0 ** (-value / 10.0))


class Step(_Part):
    """One graph that the search tried: whether SmoothQuant made it, and whether every task held."""

    held: bool
    smooth: bool = False


class Sensitivity(_Part):
    """The file: what the search decided, on how many images, which graphs it tried, which layers stay in float, what each costs."""

    outcome: str
    images: int
    steps: tuple[Step, ...] = ()
    returned: tuple[str, ...]
    layers: tuple[Layer, ...]


class LayerRow(Frozen):
    """One layer of the page: the task it costs most, its share of that task's noise as text and as a bar."""

    name: str
    macs: str
    task: str
    share: str
    sqnr: str
    drop: str
    kept: str
    svg: str


class SensitivityView(Frozen):
    """The section; without rows ``summary`` is the reason."""

    summary: str
    rows: tuple[LayerRow, ...] = ()


def read_sensitivity(folder: Path) -> Sensitivity | None:
    """Read ``sensitivity.json`` of a bundle; None if there is none.

    Raises:
        ArtifactError: the file is there and holds something else.
    """
    return read_json(folder, SENSITIVITY, TypeAdapter(Sensitivity), "outcome, images, returned and layers")


def sensitivity_view(folder: Path) -> SensitivityView:
    """Return the layers that cost most: by their largest share of any task's noise over all layers quantized alone."""
    found = read_sensitivity(folder)
    if found is None:
        return SensitivityView(summary=NOTHING)
    if not found.layers:
        return SensitivityView(summary=f"The search on the calibration images: {found.outcome.rstrip('.')}.")
    tasks = list(dict.fromkeys(task for layer in found.layers for task in layer.sqnr_db))
    totals = {task: sum(layer.noise(task) for layer in found.layers) or 1.0 for task in tasks}
    rated = sorted(((_worst(layer, totals), layer) for layer in found.layers), key=lambda pair: -pair[0][1])
    shown = rated[:SHOWN]
    summary = (
        f"{found.outcome.rstrip('.')}. {_smoothed(found)}Each of {wording.plural(len(found.layers), 'layer')} was quantized alone on "
        f"{wording.plural(found.images, 'image')}"
        + (f"; the {len(shown)} that cost most:" if len(shown) < len(found.layers) else ":")
    )
    return SensitivityView(
        summary=summary, rows=tuple(_row(layer, worst, found.returned) for worst, layer in shown)
    )  # fmt: skip


def _smoothed(found: Sensitivity) -> str:
    """Say what became of SmoothQuant, which is tried before layers go back to float; nothing where it was not."""
    tried = [step for step in found.steps if step.smooth]
    return SMOOTHED if tried and not any(step.held for step in tried) else ""


def _worst(layer: Layer, totals: dict[str, float]) -> tuple[str, float]:
    """Return the task of whose noise the layer makes the largest share, and that share."""
    shares = {task: layer.noise(task) / total for task, total in totals.items()}
    name = max(shares, key=shares.__getitem__, default="")
    return name, shares.get(name, 0.0)


def _row(layer: Layer, worst: tuple[str, float], returned: tuple[str, ...]) -> LayerRow:
    name, share = worst
    sqnr, drop = layer.sqnr_db.get(name), layer.drop.get(name)
    said = f"{100 * share:.1f}% of the noise of {name}"
    return LayerRow(
        name=layer.name, macs=f"{100 * layer.macs_share:.2f}%", task=name, share=f"{100 * share:.1f}%",
        sqnr="–" if sqnr is None else f"{sqnr:.1f} dB", drop=wording.percent(drop),
        kept="float" if layer.name in returned else "INT8", svg=bar(share, "shipped", f"{layer.name}: {said}", height=12),
    )  # fmt: skip
