"""``tdss bundle verify``: hash every file of a bundle again."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bundle.manifest import verify_bundle


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was checked as JSON.")] = False,
) -> None:
    """Hash every file of a bundle and refuse, by name, one that was altered.

    Example: tdss bundle verify build/default/intel
    """
    manifest = verify_bundle(bundle).manifest
    if as_json:
        answer = {"bundle": str(bundle), "model": manifest.name, "target": manifest.target, "files": manifest.files}
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        sys.stdout.write(f"{bundle}: {len(manifest.files)} files are what the build wrote\n")
