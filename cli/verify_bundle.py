"""``tdss bundle verify``: hash every file of a bundle again; ``python -m bundle verify`` is the same on a device."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.transport import commands


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    key: Annotated[Path | None, typer.Option(help="Refuse one that is not signed with this public key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Hash every file of a bundle and refuse, by name, one that was altered.

    Example: tdss bundle verify build/default/intel --key release.pub
    """
    found = commands.verify(bundle, key)
    print_answer(dumps(found.value) if as_json else found.text)
