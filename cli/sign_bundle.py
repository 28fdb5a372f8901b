"""``tdss bundle sign``: say who built a bundle; ``python -m bundle sign`` is the same on a device."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.transport import commands


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    key: Annotated[Path, typer.Option(help="The private key to sign with.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Sign a bundle's manifest with a private key; verify, unpack and regress check it with --key.

    Example: tdss bundle sign build/default/jetson --key release
    """
    found = commands.sign(bundle, key)
    print_answer(dumps(found.value) if as_json else found.text)
