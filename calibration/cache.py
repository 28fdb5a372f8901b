"""What a calibration found, kept in a folder with the question it answers, so that no one takes it for another's.

The folder holds the files of the answer and ``key.json``. A folder with another key is refused, and the refusal says
which part of the question differs: statistics of other images, another graph or another scheme are silently wrong.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue, ValidationError

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen, faults
from bundle.formats.artifacts import hash_folder, verify_files, write_text
from bundle.formats.outputs import anything, replacing
from bundle.tasks.preprocess import Preprocess

KEY = "key.json"
SHOWN = 60


class CalibrationKey(Frozen):
    """The question: the graph's sha256, the images' sha256 and ids in order, how they are preprocessed, the scheme, the
    format of the answer, the nodes kept in float, the hash of our code and the versions of the tools that give it."""

    graph: str
    images: str
    ids: tuple[str, ...]
    preprocess: Preprocess
    scheme: dict[str, JsonValue]
    format: str
    kept: tuple[str, ...]
    code: str
    tools: dict[str, str]

    @property
    def digest(self) -> str:
        """A name for the folder of the answer."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:24]


class _Entry(Frozen):
    key: CalibrationKey
    files: dict[str, str]


def look_up(folder: Path, key: CalibrationKey) -> bool:
    """Say whether ``folder`` holds the answer to ``key``; False where it holds nothing.

    Raises:
        ArtifactError: it holds the answer to another question, its key cannot be read, or a file was altered.
    """
    path = folder / KEY
    if not path.is_file():
        return False
    try:
        entry = _Entry.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ArtifactError(
            f"{KEY} of a calibration cache cannot be read",
            expected="the key this version writes",
            got=faults(error),
            where=str(path),
            fix="remove the folder: it is made again",
        ) from error
    differing = differences(entry.key, key)
    if differing:
        raise ArtifactError(
            f"the calibration cache is of another {', another '.join(differing)}",
            expected="; ".join(f"{name} {_show(getattr(key, name))}" for name in differing),
            got="; ".join(f"{name} {_show(getattr(entry.key, name))}" for name in differing),
            where=str(folder),
            fix="name another cache folder, or remove this one: it is made again",
        )
    verify_files(folder, dict(entry.files))
    return True


def differences(one: CalibrationKey, other: CalibrationKey) -> tuple[str, ...]:
    """Return the names of the parts of the question in which two keys differ."""
    return tuple(name for name in CalibrationKey.model_fields if getattr(one, name) != getattr(other, name))


@contextmanager
def keep(folder: Path, key: CalibrationKey) -> Iterator[Path]:
    """Yield an empty temporary folder for the answer's files; it becomes ``folder``, with its key, if the block ends well."""
    with replacing(folder, anything) as temporary:
        yield temporary
        entry = _Entry(key=key, files=hash_folder(temporary))
        write_text(temporary / KEY, entry.model_dump_json(indent=2) + "\n")


def _show(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
