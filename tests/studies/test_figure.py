"""Panels in rows of three, and a PNG of their size."""

import struct
from pathlib import Path

import pytest

from studies.figure import DOTS_PER_INCH, panels, save


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (4, 3, 2), (6, 3, 2)])
def test_there_is_a_panel_for_each(tmp_path: Path, count: int, columns: int, rows: int) -> None:
    figure, drawn = panels(count, (2.0, 1.0))
    assert len(drawn) == count
    drawn[-1].plot([0, 1], [1, 0])
    save(figure, tmp_path / "new" / "a.png")
    content = (tmp_path / "new" / "a.png").read_bytes()
    assert struct.unpack(">II", content[16:24]) == (2 * columns * DOTS_PER_INCH, rows * DOTS_PER_INCH)
