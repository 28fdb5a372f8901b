"""``tdss serve-files``: configuration with which another framework runs a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.transport.signature import load_trusted
from serving.table import Framework
from serving.write import write_serving


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    framework: Annotated[Framework, typer.Option("--for", help="What is to run the bundle.")],
    out: Annotated[Path, typer.Option(help="The folder to write; there must be nothing else in it.")],
    variant: Annotated[str, typer.Option(help="The variant to serve. Default: the chosen one.")] = "",
    key: Annotated[Path | None, typer.Option(help="Refuse a bundle not signed with this public key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write the files with which a serving framework runs a bundle, and say in which precision it will really run.

    Example: tdss serve-files build/default/intel --for triton --out served
    """
    answer = write_serving(load_trusted(bundle, key), framework, out, variant=variant)
    print_answer(dumps(answer.value, indent=2) if as_json else answer.text)
