"""``tdss ranges``: how large each tensor of a compiled model got on the calibration images, and what that left in FP32."""

from math import inf, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from bundle.base.errors import ArtifactError
from bundle.base.frozen import faults
from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.formats.contents import MANIFEST
from bundle.formats.manifest import load_bundle

if TYPE_CHECKING:
    from compile.stage.artifacts import Range


def main(
    bundle: Annotated[Path, typer.Argument(help="A jetson bundle, or a folder that quantize wrote.")],
    count: Annotated[
        int, typer.Option(min=1, max=LIMITS["count"].most, help="How many tensors to print, the widest first.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print every tensor as JSON.")] = False,
) -> None:
    """Print the range of each tensor against FP16's, the widest first, and which ones stay in float32.

    Example: tdss ranges build/default/jetson --count 10
    """
    from compile.graphs.passes.convert_to_fp16 import LARGEST
    from compile.graphs.tensor_ranges import HEADROOM, too_wide

    ranges = sorted(read_ranges(bundle), key=lambda row: -inf if isnan(row.largest) else -row.largest)
    wide = too_wide(ranges)
    if as_json:
        rows = [row.model_dump() | {"kept": wide.get(row.tensor, "")} for row in ranges]
        print_answer(dumps(rows))
        return
    lines = [f"{_size(row.largest, LARGEST)}  {_kept(row, wide)}{row.tensor}" for row in ranges]
    head = (
        f"{len(ranges)} tensors, {len(wide)} of them left in float32; FP16 ends at {LARGEST:g}, headroom {HEADROOM:g}"
    )
    print_answer("\n".join([head, *lines[:count]]))


def _size(largest: float, end: float) -> str:
    """Return a magnitude and its part of FP16's range; the file has null for infinity and for NaN."""
    return f"{'not finite':>12}  {'':8}" if isnan(largest) else f"{largest:12.4g}  {largest / end:8.3%}"


def _kept(row: "Range", wide: dict[str, str]) -> str:
    return "float32  " if row.tensor in wide else ""


def _stored(folder: Path) -> bytes:
    """Return the bytes of a bundle's ``ranges.json``.

    Raises:
        ArtifactError: the bundle holds none, as one for intel does, or a file of it was altered.
    """
    from compile.graphs.fp16 import RANGES

    opened = load_bundle(folder)
    if RANGES not in opened.manifest.files:
        raise ArtifactError(
            f"this bundle has no {RANGES}",
            expected="a bundle with FP16 graphs, as one for jetson",
            got=f"a bundle for {opened.manifest.target}",
            where=str(folder),
            fix="name a bundle for jetson",
        )
    return opened.read(RANGES)


def read_ranges(folder: Path) -> tuple["Range", ...]:
    """Read ``ranges.json``.

    Raises:
        ArtifactError: it is missing or holds something else; or a file of the bundle was altered.
    """
    from compile.graphs.fp16 import RANGES, RANGES_FILE

    path = folder / RANGES
    try:
        content = _stored(folder) if (folder / MANIFEST).exists() else path.read_bytes()
        return RANGES_FILE.validate_json(content)
    except (OSError, ValidationError) as error:
        raise ArtifactError(
            f"{RANGES} cannot be read",
            expected="the largest magnitude of each tensor",
            got=faults(error),
            where=str(path),
            fix="give a jetson bundle; build it again if it is an older one",
        ) from error
