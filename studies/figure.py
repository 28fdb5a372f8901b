"""Figures of several panels, without a display: the only module of this package that imports matplotlib."""

from pathlib import Path
from typing import TYPE_CHECKING

from bundle.base.errors import not_installed
from bundle.base.font_cache import font_cache_apart
from bundle.formats.outputs import overwriting
from report.drawing.image_encoding import PICTURES, SOFTWARE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
DOTS_PER_INCH = 110


def panels(count: int, inches: tuple[float, float]) -> "tuple[Figure, list[Axes]]":
    """Return a figure of ``count`` panels of (width, height) inches, at most three to a row, and the panels in order.

    Raises:
        TargetUnavailable: matplotlib is not installed.
    """
    try:
        with font_cache_apart():
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
    except ImportError as error:
        raise not_installed("a figure", "matplotlib", extra="host", where="studies.figure", error=error) from error
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(inches[0] * columns, inches[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)[:count]


def save(figure: "Figure", out: Path) -> None:
    """Write a figure as a PNG, and its folder where there is none.

    Raises:
        InputError: something else than such a picture is at ``out``, or the system refuses to write.
    """
    with overwriting(out, PICTURES) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png", metadata={"Software": SOFTWARE})
