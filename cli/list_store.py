"""``tdss store list``: what the stage store holds."""

import time
from pathlib import Path
from typing import Annotated

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from compile.stage import prune, shared_prune

STORE = "build/.store"


def entries_of(store: str) -> tuple[prune.Entry, ...]:
    """Return the entries of a store that is named by a folder or a URL.

    Raises:
        InputError: there is no store, or it cannot be reached.
        TargetUnavailable: a package that it needs is not installed.
    """
    return shared_prune.entries(store) if "://" in store else prune.entries(Path(store))


def main(
    store: Annotated[str, typer.Option(help="The stage store: OUT/.store of a build, or a URL.")] = STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries as JSON.")] = False,
) -> None:
    """List what the stage store holds: stage, key, kind, size and last use; the least recently used first.

    Example: tdss store list --store build/.store
    """
    entries = entries_of(store)
    if as_json:
        print_answer(dumps([entry.model_dump() for entry in entries]))
    else:
        print_answer("\n".join(prune.rows(entries, time.time())))
