"""A table on the terminal cannot be steered by the names in it."""

from io import StringIO

import pytest
from rich.table import Table
from rich.text import Text

from compile.stage.console import EscapingConsole

HOSTILE = "task\x1b[2J\u202e\x9b8m"
SHOWN = "task\\u001b[2J\\u202e\\u009b8m"


@pytest.mark.parametrize("styled", [False, True])
def test_a_cell_a_title_and_a_line_are_escaped_and_styles_stay(styled: bool) -> None:
    stream = StringIO()
    console = EscapingConsole(file=stream, width=80, color_system="standard" if styled else None, legacy_windows=False)
    table = Table("name", title=Text(HOSTILE))
    table.add_row(Text(HOSTILE, style="bold red"))
    console.print(table)
    console.print(HOSTILE, markup=False, highlight=False)
    drawn = stream.getvalue()
    assert drawn.count(SHOWN) == 2 and "task\\u001" in drawn.splitlines()[-3]
    assert "\u202e" not in drawn and "\x1b[2J" not in drawn and "\x9b" not in drawn
    assert ("\x1b[1;31m" in drawn) is styled
