"""Options of a table of targets/judge_options.py as typer takes them."""

from collections.abc import Mapping

import typer
from typer.models import OptionInfo

from targets.judge_options import Option


def asked(table: Mapping[str, Option], name: str) -> OptionInfo:
    """Return an option of a table as typer takes it."""
    row = table[name]
    least, most = row.bounds
    option: OptionInfo = typer.Option(help=f"{row.help[0].upper()}{row.help[1:]}.", min=least, max=most)
    return option
