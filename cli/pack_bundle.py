"""``tdss bundle pack``: a bundle as one file; ``python -m bundle pack`` is the same on a device."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.transport import commands


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    out: Annotated[Path | None, typer.Option(help="The archive to write. Default: beside the bundle.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Write a bundle as one archive, the same bytes each time; engines stay behind.

    Example: tdss bundle pack build/default/jetson --out default-jetson.zip
    """
    found = commands.pack(bundle, out)
    print_answer(dumps(found.value) if as_json else found.text)
