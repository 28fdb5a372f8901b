"""Which files a bundle may hold: a closed list, so that nothing in it can be imported, whatever its name or the archive's.

A manifest lists the graphs and the files of ``LISTED``, each by a plain name without a folder. The other files are the
manifest, the results and the signature, each with its hash, and two folders that a device fills. Anything else is refused by name.
"""

import os
import re
from collections.abc import Collection
from pathlib import Path

from bundle.base.errors import ArtifactError
from bundle.formats.hash_files import SUFFIX, with_hashes

MANIFEST = "manifest.json"
RESULTS = ("regression.json", "bench.json", "choice.json", "report.html")
SIGNATURE = "signature.json"
VECTORS = "vectors.npz"
ENGINES, JOURNAL = "engines", "journal"
HASHED = (*RESULTS, SIGNATURE)  # written after the manifest, which so cannot list them: each has its hash beside it
LISTED = (VECTORS, "fold.json", "sensitivity.json", "ranges.json", "lint.json", "proof.json")
DEVICE_FOLDERS = (ENGINES, JOURNAL)  # a device fills them: the manifest lists no file of theirs, an archive holds none
EXPECTED = f"graphs (NAME.onnx, NAME.xml, NAME.bin), {', '.join(LISTED)}, results"
_GRAPH = re.compile(r"[a-z0-9][a-z0-9_-]*(\.emulation)?\.(onnx|xml|bin)")
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")  # what a killed run left (bundle/formats/artifacts.py writes it)
_KEPT = {
    ENGINES: re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]*\.(engine|json|cache)({re.escape(SUFFIX)})?"),
    JOURNAL: re.compile(r"[0-9a-f]+\.jsonl"),
}


def listable(name: str) -> bool:
    """Say whether a manifest may list a file of this name."""
    return name in LISTED or _GRAPH.fullmatch(name) is not None


def names_beside(listed: Collection[str]) -> set[str]:
    """Return the names of all files that a bundle may hold outside the folders of a device, given those its manifest lists."""
    return {*with_hashes(MANIFEST, *HASHED), *listed}


def check_contents(folder: Path, listed: Collection[str]) -> None:
    """Do nothing if there is only what the manifest lists, results, and what a device writes.

    Raises:
        ArtifactError: there is something else; it is named.
    """
    for name in sorted(set(os.listdir(folder)) - names_beside(listed)):
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
                expected=f"what {MANIFEST} lists, results, {' and '.join(DEVICE_FOLDERS)}",
                got=name,
                where=str(folder),
                fix="move it out of the bundle, or copy the bundle again",
            )
