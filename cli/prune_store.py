"""``tdss store prune``: make the stage store smaller; what is removed, a build makes again when it needs it."""

import time
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from bundle.base.errors import InputError
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer, say
from cli.list_store import STORE, entries_of
from compile.stage import prune, shared_prune


def main(
    store: Annotated[str, typer.Option(help="The stage store: OUT/.store of a build, or a URL.")] = STORE,
    max_bytes: Annotated[
        str | None, typer.Option(help="Keep at most this: 2GB, 500MiB, or a number of bytes. Default: no limit.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Remove what was unused for longer: 30d, 12h, 2w. Default: no limit.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the removed entries as JSON.")] = False,
) -> None:
    """Remove entries of the stage store, the least recently used first. It waits while a build uses it.

    Example: tdss store prune --max-bytes 2GB --older-than 30d --dry-run
    """
    if max_bytes is None and older_than is None:
        raise InputError(
            "nothing says what to remove",
            expected="--max-bytes, --older-than or both",
            got="neither",
            where="the command line",
            fix="give one of them, for example --older-than 30d",
        )
    size = inf if max_bytes is None else prune.read_size(max_bytes)
    age = inf if older_than is None else prune.read_age(older_than)
    if dry_run:
        gone = prune.choose(entries_of(store), max_bytes=size, older_than_s=age, now=time.time())
    elif "://" in store:
        gone = shared_prune.prune(store, max_bytes=size, older_than_s=age)
    else:
        gone = prune.prune(Path(store), max_bytes=size, older_than_s=age, say=say)
    if as_json:
        answer = {"removed": [entry.model_dump() for entry in gone], "dry_run": dry_run}
        print_answer(dumps(answer))
        return
    print_answer("\n".join(prune.rows(gone, time.time())))
    print_answer("nothing was removed: --dry-run" if dry_run else "removed")
