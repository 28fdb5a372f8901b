"""A network of linear maps as inline SVG: boxes in columns by their depth, arrows from what is read to its reader."""

from html import escape
from typing import NamedTuple

from bundle.formats.fold import FoldBox, FoldNet

WIDTH, HEIGHT = 206, 38  # of a box, pixels
GAP, STEP = 44, 12  # between columns and between rows
LETTERS = 26  # of a label that fits


class Corner(NamedTuple):
    """The upper left corner of a box, pixels."""

    x: int
    y: int


def draw_network(net: FoldNet, spoken: str) -> str:
    """Return the drawing; ``spoken`` is what a screen reader reads."""
    corners = _corners(net)
    width = max((corner.x for corner in corners), default=0) + WIDTH
    height = max((corner.y for corner in corners), default=0) + HEIGHT
    return "".join(
        [
            f'<svg class="network" role="img" aria-label="{escape(spoken)}" width="{width + 2}" height="{height + 2}" viewBox="-1 -1 {width + 2} {height + 2}">',
            *(_arrow(corners[source], corners[target], gates=gates) for source, target, gates in net.arrows),
            *(_box(box, corner) for box, corner in zip(net.boxes, corners, strict=True)),
            "</svg>",
        ]
    )


def _corners(net: FoldNet) -> list[Corner]:
    """Put each box one column after the last that it reads; in a column, in the order of what they read."""
    depths = [0] * len(net.boxes)
    for _ in net.boxes:
        for source, target, _gates in net.arrows:
            depths[target] = min(max(depths[target], depths[source] + 1), len(net.boxes))
    rows: dict[int, float] = {}
    for depth in sorted(set(depths)):
        column = [number for number, one in enumerate(depths) if one == depth]
        column.sort(
            key=lambda number: (_mean([rows[a] for a, b, _ in net.arrows if b == number and a in rows]), number)
        )
        rows |= {number: float(row) for row, number in enumerate(column)}
    return [Corner(depth * (WIDTH + GAP), int(rows[number]) * (HEIGHT + STEP)) for number, depth in enumerate(depths)]


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def _arrow(start: Corner, end: Corner, *, gates: bool) -> str:
    x, y, to_x, to_y = start.x + WIDTH, start.y + HEIGHT // 2, end.x, end.y + HEIGHT // 2
    bend = (to_x - x) // 2
    kind = "arrow gates" if gates else "arrow"
    path = f"M{x},{y}C{x + bend},{y} {to_x - bend},{to_y} {to_x},{to_y}m-6,-4l6,4l-6,4"
    return f'<path class="{kind}" d="{path}"/>'


def _box(box: FoldBox, corner: Corner) -> str:
    label = box.label if len(box.label) <= LETTERS else f"…{box.label[1 - LETTERS :]}"
    size = f"{box.channels} × {box.positions}" + (f", {box.count} alike" if box.count > 1 else "")
    return (
        f'<g class="{box.kind}"><title>{escape(box.label)}: {box.channels} channels × {box.positions} positions</title>'
        f'<rect x="{corner.x}" y="{corner.y}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>'
        f'<text x="{corner.x + 7}" y="{corner.y + 16}">{escape(label)}</text>'
        f'<text class="size" x="{corner.x + 7}" y="{corner.y + 31}">{escape(size)}</text></g>'
    )
