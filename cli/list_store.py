"""``tdss store list``: what the stage store holds."""

import time
from pathlib import Path
from typing import Annotated

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from compile.stage import prune

STORE = Path("build/.store")


def main(
    store: Annotated[Path, typer.Option(help="The stage store: OUT/.store of a build.")] = STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries as JSON.")] = False,
) -> None:
    """List what the stage store holds: stage, key, kind, size and last use; the least recently used first.

    Example: tdss store list --store build/.store
    """
    entries = prune.entries(store)
    if as_json:
        print_answer(dumps([entry.model_dump() for entry in entries]))
    else:
        print_answer("\n".join(prune.rows(entries, time.time())))
