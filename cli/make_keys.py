"""``tdss bundle keygen``: a pair of keys to sign with; ``python -m bundle keygen`` is the same on a device."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.transport import commands


def main(
    path: Annotated[Path, typer.Argument(metavar="KEY", help="The private key to write; KEY.pub is written too.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Make a pair of ed25519 keys: KEY signs, KEY.pub checks.

    Example: tdss bundle keygen release
    """
    found = commands.make_keys(path)
    print_answer(dumps(found.value) if as_json else found.text)
