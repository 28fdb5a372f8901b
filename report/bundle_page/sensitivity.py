"""What each layer costs when it is quantized: sensitivity.json of a build, and how the page shows it."""

from pathlib import Path

from bundle.base.frozen import Frozen
from bundle.judging import wording
from bundle.judging.sensitivity import LayerSensitivity, SearchReport, read_sensitivity
from bundle.judging.sentences import search_ended
from report.drawing.charts import bar

SHOWN = 20
SMOOTHED = "With SmoothQuant and no layer in float not every task held. "
NOTHING = "This bundle has no sensitivity.json: no layer was measured alone."


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


def sensitivity_view(folder: Path) -> SensitivityView:
    """Return the layers that cost most: by their largest share of any task's noise over all layers quantized alone."""
    search = read_sensitivity(folder)
    if search is None:
        return SensitivityView(summary=NOTHING)
    if not search.layers:
        return SensitivityView(summary=f"The search on the calibration images: {search_ended(search)}.")
    tasks = list(dict.fromkeys(task for layer in search.layers for task in layer.sqnr_db))
    totals = {task: sum(layer.noise(task) for layer in search.layers) or 1.0 for task in tasks}
    rated = sorted(((_worst(layer, totals), layer) for layer in search.layers), key=lambda pair: -pair[0][1])
    shown = rated[:SHOWN]
    summary = (
        f"{search_ended(search)}. {_smoothed(search)}Each of {wording.plural(len(search.layers), 'layer')} was quantized alone on "
        f"{wording.plural(search.images, 'image')}"
        + (f"; the {len(shown)} that cost most:" if len(shown) < len(search.layers) else ":")
    )
    return SensitivityView(
        summary=summary, rows=tuple(_row(layer, worst, search.layers_in_float) for worst, layer in shown)
    )


def _smoothed(search: SearchReport) -> str:
    """Say what became of SmoothQuant, which is tried before layers go back to float; nothing where it was not."""
    tried = [step for step in search.steps if step.smooth]
    return SMOOTHED if tried and not any(step.held for step in tried) else ""


def _worst(layer: LayerSensitivity, totals: dict[str, float]) -> tuple[str, float]:
    """Return the task of whose noise the layer makes the largest share, and that share."""
    shares = {task: layer.noise(task) / total for task, total in totals.items()}
    name = max(shares, key=shares.__getitem__, default="")
    return name, shares.get(name, 0.0)


def _row(layer: LayerSensitivity, worst: tuple[str, float], in_float: tuple[str, ...]) -> LayerRow:
    name, share = worst
    sqnr, drop = layer.sqnr_db.get(name), layer.drop.get(name)
    text = f"{100 * share:.1f}% of the noise of {name}"
    return LayerRow(
        name=layer.name,
        macs=f"{100 * layer.macs_share:.2f}%",
        task=name,
        share=f"{100 * share:.1f}%",
        sqnr="–" if sqnr is None else f"{sqnr:.1f} dB",
        drop=wording.percent(drop),
        kept="float" if layer.name in in_float else "INT8",
        svg=bar(share, "shipped", f"{layer.name}: {text}", height=12),
    )
