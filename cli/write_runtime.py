"""``tdss runtime``: make the one file that a device needs beside a bundle's archive."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from device_runtime.write import RUNTIME, write_runtime


def main(
    out: Annotated[Path, typer.Option(help="The file to write; its hash is written beside it.")] = Path(RUNTIME),
    as_json: Annotated[bool, typer.Option("--json", help="Print the path, the size and the hash as JSON.")] = False,
) -> None:
    """Write the device runtime: the one file a device needs beside an archive.

    The same source is the same bytes on each machine. A device starts it: python3 tdss-runtime.pyz judge NAME.zip

    Example: tdss runtime --out tdss-runtime.pyz
    """
    answer = write_runtime(out)
    print_answer(dumps(answer.value) if as_json else answer.text)
