"""The journal of a run: what every image showed, line by line, so that a killed run goes on where it stopped.

It is in the bundle's folder ``journal/`` under the run's key. The key is made of all that decides an image's figures:
the bundle's manifest, the session's facts, the images' source and the code that measures. A run with another key
never reads it. It is an append-only log (bundle/base/append_log.py), one image a line; a float's shortest form restores it
exactly. When the report is written the journal is removed, so a second run measures everything anew.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bundle.base.append_log import AppendLog
from bundle.base.isolated import ROOT
from bundle.formats.contents import JOURNAL
from bundle.judging.evaluate_image import ImageResult

FOLDER = JOURNAL
_DIGITS = 16
_PACKAGE = Path(__file__).parents[1]


def run_key(**facts: object) -> str:
    """Return the key of a run from the facts that decide it and the source of this package, 16 hexadecimal digits.

    The device runtime is one file, and counts as the source.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for path in [ROOT] if ROOT.is_file() else sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:_DIGITS]


class Journal:
    """The journal of one run; ``seen`` holds what an earlier run of the same key left, by image id."""

    def __init__(self, bundle: Path, key: str) -> None:
        """Read what is there; nothing is written before the first ``add``."""
        self.path = bundle / FOLDER / f"{key}.jsonl"
        self._log = AppendLog(self.path)
        entries = map(json.loads, self._log.entries)
        self.seen: dict[str, dict[str, ImageResult]] = {
            str(entry["id"]): {str(name): _unpack(row) for name, row in entry["tasks"].items()} for entry in entries
        }

    def add(self, identifier: str, seen: Mapping[str, ImageResult]) -> None:
        """Append one image; when this returns the line is on the disk."""
        rows = {name: _pack(one) for name, one in seen.items()}
        self._log.add(json.dumps({"id": identifier, "tasks": rows}, separators=(",", ":"), allow_nan=False))

    def remove(self) -> None:
        """Delete the journal, and its folder if no other run has a journal there."""
        self.path.unlink(missing_ok=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()


def _pack(seen: ImageResult) -> dict[str, object]:
    numbers = [seen.agreement, seen.change, seen.full_change, *seen.energies.tolist()]
    return {
        "figures": {
            name: [list(array.shape), _plain(array.reshape(-1).tolist())] for name, array in seen.figures.items()
        },
        "finite": seen.finite,
        "numbers": _plain(numbers),
    }


def _plain(numbers: list[float]) -> list[float | None]:
    """Return numbers as JSON has them: null for NaN, which NumPy reads as NaN again."""
    return [None if math.isnan(number) else number for number in numbers]


def _unpack(row: Mapping[str, object]) -> ImageResult:
    figures, numbers = row["figures"], row["numbers"]
    if not isinstance(figures, dict) or not isinstance(numbers, list):  # the line's hash says that we wrote it
        raise TypeError("a journal line of another version")
    alike, change, exact, *energies = (math.nan if number is None else float(number) for number in numbers)
    return ImageResult(
        figures={name: np.array(values, dtype=np.float64).reshape(shape) for name, (shape, values) in figures.items()},
        finite=bool(row["finite"]),
        agreement=alike,
        change=change,
        full_change=exact,
        energies=np.array(energies),
    )
