"""The journal of a run: what every image showed, line by line, so that a killed run goes on where it stopped.

It is in the bundle's folder ``journal/`` under the run's key. The key is made of all that decides an image's figures:
the bundle's manifest, the session's facts, the images' source and the code that measures. A run with another key
never reads it. A line is its own sha256, a blank and one image as JSON (a float's shortest form restores it exactly).
Reading stops at the first line that is not whole: what a kill left half written is measured again. When the report is
written the journal is removed, so a second run measures everything anew.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bundle.formats.contents import JOURNAL
from bundle.judging.evaluate_image import ImageResult

FOLDER = JOURNAL
_DIGITS = 16
_PACKAGE = Path(__file__).parents[1]


def run_key(**facts: object) -> str:
    """Return the key of a run from the facts that decide it and the source of this package, 16 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:_DIGITS]


class Journal:
    """The journal of one run; ``seen`` holds what an earlier run of the same key left, by image id."""

    def __init__(self, bundle: Path, key: str) -> None:
        """Read what is there; nothing is written before the first ``add``."""
        self.path = bundle / FOLDER / f"{key}.jsonl"
        self.seen: dict[str, dict[str, ImageResult]] = {}
        self._whole = 0
        for line in self.path.read_bytes().splitlines(keepends=True) if self.path.is_file() else ():
            entry = _read(line)
            if entry is None:
                break
            self.seen |= entry
            self._whole += len(line)

    def add(self, identifier: str, seen: Mapping[str, ImageResult]) -> None:
        """Append one image; when this returns the line is on the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self.path.exists() else "wb") as stream:
            stream.truncate(self._whole)
            stream.seek(self._whole)
            line = _write(identifier, seen)
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        self._whole += len(line)

    def remove(self) -> None:
        """Delete the journal, and its folder if no other run's lies there."""
        self.path.unlink(missing_ok=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()


def _write(identifier: str, seen: Mapping[str, ImageResult]) -> bytes:
    rows = {name: _pack(one) for name, one in seen.items()}
    return sealed_line(json.dumps({"id": identifier, "tasks": rows}, separators=(",", ":"), allow_nan=False).encode())


def sealed_line(text: bytes) -> bytes:
    """Return a journal's line: the digest of ``text``, a blank, ``text`` and a line's end."""
    return hashlib.sha256(text).hexdigest()[:_DIGITS].encode() + b" " + text + b"\n"


def open_line(line: bytes) -> bytes | None:
    """Return the text of a journal's line; None if the line is not whole."""
    digest, _, text = line.partition(b" ")
    whole = line.endswith(b"\n") and hashlib.sha256(text[:-1]).hexdigest()[:_DIGITS].encode() == digest
    return text[:-1] if whole else None


def _read(line: bytes) -> dict[str, dict[str, ImageResult]] | None:
    text = open_line(line)
    if text is None:
        return None
    entry = json.loads(text)
    return {str(entry["id"]): {str(name): _unpack(row) for name, row in entry["tasks"].items()}}


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
