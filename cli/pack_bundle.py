"""``tdss bundle pack``: a bundle as one file; ``python -m bundle pack`` is the same on a device."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bundle import commands


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    out: Annotated[Path | None, typer.Option(help="The archive to write. Default: beside the bundle.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Write a bundle as one archive, the same bytes each time; engines stay behind.

    Example: tdss bundle pack build/default/jetson --out default-jetson.zip
    """
    answer = commands.pack(bundle, out)
    sys.stdout.write(json.dumps(answer.value) + "\n" if as_json else answer.text)
