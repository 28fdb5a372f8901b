"""Write the files of one framework into a folder, whole or not at all."""

import json
from pathlib import Path

from pydantic import JsonValue

from bundle.base.strict_json import dumps
from bundle.formats.manifest import Bundle
from bundle.formats.outputs import replacing, require_folder, unlisted
from bundle.transport.commands import Answer
from serving.offer import CLASSES, classes_json, offer
from serving.table import FRAMEWORKS, Framework

RECORD = "serving.json"


def written_before(folder: Path) -> str:
    """Return what is in the folder that ``write_serving`` did not write, "" if there is nothing."""
    try:
        listed = json.loads((folder / RECORD).read_bytes())["files"]
        return unlisted(folder, {RECORD, *map(str, listed)})
    except (OSError, ValueError, KeyError, TypeError):
        return f"no {RECORD} of tdss serve-files"


def write_serving(bundle: Bundle, framework: Framework, out: Path, *, variant: str) -> Answer:
    """Write what ``framework`` needs to run a variant ("": the chosen one) into the folder ``out``, and say what will run.

    Raises:
        InputError: the framework cannot run this bundle, or something else is at ``out``.
        ArtifactError: there is no such variant, or a file was altered.
    """
    require_folder(out, written_before, [bundle.folder])
    one = offer(bundle, variant)
    made = FRAMEWORKS[framework](one)
    files = {**made.files, CLASSES: classes_json(one)}
    record: dict[str, JsonValue] = {
        "framework": framework,
        "model": bundle.manifest.name,
        "bundle": bundle.sha256,
        "variant": one.variant.name,
        "runs": made.runs,
        "notes": list(made.notes),
        "files": [*sorted(files)],
    }
    with replacing(out, written_before) as folder:
        for name, held in {**files, RECORD: dumps(record, indent=2) + "\n"}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(held if isinstance(held, bytes) else held.encode())
    lines = [
        f"{out}: {len(files)} files for {framework}",
        f"runs: {made.runs}",
        *(f"note: {one}" for one in made.notes),
    ]
    return Answer("".join(f"{line}\n" for line in lines), {"out": str(out), **record})
