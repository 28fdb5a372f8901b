"""``tdss bundle info``: what a bundle holds, from its manifest."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from bundle.manifest import Manifest, load_bundle


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Say what a bundle holds: tasks, variants, the engine, budgets; its files are hashed first.

    Example: tdss bundle info build/default/intel --json
    """
    opened = load_bundle(bundle)
    if as_json:
        sys.stdout.write(opened.manifest.model_dump_json() + "\n")
        return
    for title, text in facts(opened.manifest, opened.folder):
        sys.stdout.write(f"{title:<11}{text}\n")


def facts(manifest: Manifest, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (title, text) for each line; a title is empty where the line before it goes on."""
    size = manifest.preprocess
    yield "model", f"{manifest.name} for {manifest.target}, {size.width} × {size.height} pixels, io {manifest.io}"
    yield "reference", f"{manifest.reference.framework}, checkpoint {manifest.reference.checkpoint_sha256[:12]}"
    engine = manifest.engine
    yield "engine", engine.status + (f": {engine.reason}" if engine.reason else "")
    for title, variant in zip(_once("variants"), manifest.variants, strict=False):
        megabytes = sum((folder / name).stat().st_size for name in variant.files) / 1e6
        shipped = ", shipped" if variant.name == manifest.shipped else ""
        yield title, f"{variant.name}: {', '.join(variant.files)}, {megabytes:.1f} MB{shipped}"
    for title, (name, channels) in zip(_once("tasks"), manifest.tasks.items(), strict=False):
        yield title, f"{name}: {channels} channels, budget {manifest.budgets[name]:.2%}"
    yield "files", f"{len(manifest.files)}, each hashed just now"


def _once(title: str) -> Iterator[str]:
    yield title
    while True:
        yield ""
