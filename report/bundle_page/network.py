"""A network of linear maps as inline SVG: boxes in columns by how deep they lie, arrows from what is read to its reader."""

from html import escape
from typing import NamedTuple

from bundle.formats.fold import FoldBox, FoldNet

WIDTH, HEIGHT = 206, 38  # of a box, pixels
GAP, STEP = 44, 12  # between columns and between rows
LETTERS = 26  # of a label that fits


class Place(NamedTuple):
    """The upper left corner of a box, pixels."""

    x: int
    y: int


def draw_network(net: FoldNet, spoken: str) -> str:
    """Return the drawing; ``spoken`` is what a screen reader says instead."""
    places = _places(net)
    width = max((place.x for place in places), default=0) + WIDTH
    height = max((place.y for place in places), default=0) + HEIGHT
    return "".join(
        [
            f'<svg class="network" role="img" aria-label="{escape(spoken)}" width="{width + 2}" height="{height + 2}" viewBox="-1 -1 {width + 2} {height + 2}">',
            *(_arrow(places[source], places[target], gates=gates) for source, target, gates in net.arrows),
            *(_box(box, place) for box, place in zip(net.boxes, places, strict=True)),
            "</svg>",
        ]
    )


def _places(net: FoldNet) -> list[Place]:
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
    return [Place(depth * (WIDTH + GAP), int(rows[number]) * (HEIGHT + STEP)) for number, depth in enumerate(depths)]


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def _arrow(start: Place, end: Place, *, gates: bool) -> str:
    x, y, to_x, to_y = start.x + WIDTH, start.y + HEIGHT // 2, end.x, end.y + HEIGHT // 2
    bend = (to_x - x) // 2
    kind = "arrow gates" if gates else "arrow"
    path = f"M{x},{y}C{x + bend},{y} {to_x - bend},{to_y} {to_x},{to_y}m-6,-4l6,4l-6,4"
    return f'<path class="{kind}" d="{path}"/>'


def _box(box: FoldBox, place: Place) -> str:
    label = box.label if len(box.label) <= LETTERS else f"…{box.label[1 - LETTERS :]}"
    size = f"{box.channels} × {box.positions}" + (f", {box.count} alike" if box.count > 1 else "")
    return (
        f'<g class="{box.kind}"><title>{escape(box.label)}: {box.channels} channels × {box.positions} positions</title>'
        f'<rect x="{place.x}" y="{place.y}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>'
        f'<text x="{place.x + 7}" y="{place.y + 16}">{escape(label)}</text>'
        f'<text class="size" x="{place.x + 7}" y="{place.y + 31}">{escape(size)}</text></g>'
    )
