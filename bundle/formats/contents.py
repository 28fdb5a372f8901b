"""Which files a bundle may hold: a closed list, so that nothing in it can be imported, whatever its name or the archive's.

A manifest lists the graphs and the files of ``LISTED``, each by a plain name without a folder. Beside them lie the
manifest, the results, the signature, and the two folders that a device fills. Everything else is refused by name.
"""

import os
import re
from collections.abc import Collection
from pathlib import Path

from bundle.base.errors import ArtifactError
from bundle.formats.engines import ENGINES
from bundle.formats.results import SEALED
from bundle.formats.seals import MANIFEST

VECTORS = "vectors.npz"
JOURNAL = "journal"
LISTED = (VECTORS, "fold.json", "sensitivity.json", "ranges.json", "lint.json", "proof.json")
WRITTEN_LATER = (ENGINES, JOURNAL)  # folders that a device fills: what lies there is never listed, nor in an archive
EXPECTED = f"graphs (NAME.onnx, NAME.xml, NAME.bin), {', '.join(LISTED)}, results"
_GRAPH = re.compile(r"[a-z0-9][a-z0-9_-]*(\.emulation)?\.(onnx|xml|bin)")
_UNFINISHED = re.compile(
    r"\..+\.[0-9a-f]{32}\.tmp"
)  # what a killed run left of a file that bundle/formats/artifacts.py wrote
_KEPT = {
    ENGINES: re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.(engine|json|cache)(\.sha256)?"),
    JOURNAL: re.compile(r"[0-9a-f]+\.jsonl"),
}


def listable(name: str) -> bool:
    """Say whether a manifest may list a file of this name."""
    return name in LISTED or _GRAPH.fullmatch(name) is not None


def check_contents(folder: Path, listed: Collection[str]) -> None:
    """Do nothing if there is only what the manifest lists, results, and what a device writes.

    Raises:
        ArtifactError: there is something else; it is named.
    """
    named = {MANIFEST, *SEALED, *listed}
    for name in sorted(set(os.listdir(folder)) - named):
        path = folder / name
        if name in _KEPT and path.is_dir():
            others = (other for other in sorted(os.listdir(path)) if not _KEPT[name].fullmatch(other))
            _require_unfinished(folder, [f"{name}/{other}" for other in others])
        else:
            _require_unfinished(folder, [name])


def _require_unfinished(folder: Path, names: list[str]) -> None:
    for name in names:
        if not (_UNFINISHED.fullmatch(Path(name).name) and (folder / name).is_file()):
            raise ArtifactError(
                f"{name} is no file of a bundle",
                expected=f"what {MANIFEST} lists, results, {' and '.join(WRITTEN_LATER)}",
                got=name,
                where=str(folder),
                fix="move it out of the bundle, or copy the bundle again",
            )
