"""``tdss bundle info``: what a bundle holds; ``python -m bundle info`` is the same on a device."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.transport import commands


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Say what a bundle holds: tasks, variants, the engine, budgets; its files are hashed first.

    Example: tdss bundle info build/default/intel --json
    """
    found = commands.info(bundle)
    print_answer(dumps(found.value) if as_json else found.text)
