"""``tdss bundle unpack``: an archive as a bundle again; ``python -m bundle unpack`` is the same on a device."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.transport import commands
from bundle.transport.archive import MAX_BYTES


def main(
    archive: Annotated[Path, typer.Argument(help="A file that pack wrote.")],
    out: Annotated[Path, typer.Option(help="The folder to write; there must be nothing in it.")],
    key: Annotated[Path | None, typer.Option(help="Refuse one that is not signed with this public key.")] = None,
    max_bytes: Annotated[
        int, typer.Option(min=1, max=LIMITS["bundle_bytes"].most, help="Refuse more than this, unpacked.")
    ] = MAX_BYTES,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Unpack an archive, whole and verified, or not at all.

    Example: tdss bundle unpack default-jetson.zip --out default-jetson --key release.pub
    """
    found = commands.unpack(archive, out, key, max_bytes)
    print_answer(dumps(found.value) if as_json else found.text)
