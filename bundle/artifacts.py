"""Typed, frozen, hashed artifacts: what one stage hands to the next.

On disk an artifact is a folder: its files beside one ``artifact.json``. The folder is written under a
temporary name and renamed, so a killed run leaves the old artifact or the new one, never half of one.
Loading hashes every file again. Each stage has a type of its own, so a type checker rejects
``quantize(exported)``.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import JsonValue, ValidationError

from bundle.errors import ArtifactError
from bundle.frozen import Frozen

SIDECAR = "artifact.json"


class TensorSpec(Frozen):
    """One input or output of a graph: name, NumPy dtype name and static shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Record(Frozen):
    """What ``artifact.json`` holds. ``files`` maps a path relative to the folder to its sha256."""

    schema_version: Literal[1] = 1
    kind: str
    files: dict[str, str]
    parent: str | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    settings: dict[str, JsonValue]
    tools: dict[str, str]

    @property
    def sha256(self) -> str:
        """The artifact's identity: the hash of its files' names and hashes."""
        lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(f"{self.kind}\n{lines}".encode()).hexdigest()


class Artifact(Frozen):
    """A loaded artifact: the folder it lies in and its verified record."""

    kind: ClassVar[str] = "artifact"
    folder: Path
    record: Record

    @property
    def sha256(self) -> str:
        """The identity of the files, see ``Record.sha256``."""
        return self.record.sha256

    def file(self, name: str) -> Path:
        """Return the path of the artifact's file ``name``.

        Raises:
            ArtifactError: the record names no such file.
        """
        if name not in self.record.files:
            raise ArtifactError(
                f"this {self.kind} artifact has no file {name!r}", expected=f"one of {sorted(self.record.files)}",
                got=repr(name), where=str(self.folder), fix="build the artifact again",
            )
        return self.folder / name


class Folded(Artifact):
    """A model whose static parts are merged: config.toml, plan.json, model.safetensors, fold.json."""

    kind: ClassVar[str] = "folded"


class Exported(Artifact):
    """The folded model as ONNX, opset 20, static shapes: model.onnx."""

    kind: ClassVar[str] = "exported"


class Simplified(Artifact):
    """The exported graph after simplification and the target's passes: model.onnx."""

    kind: ClassVar[str] = "simplified"


class Quantized(Artifact):
    """Every precision variant of the graph in the target's own format, with the recipe of each."""

    kind: ClassVar[str] = "quantized"


class Engine(Artifact):
    """What a device loads: built here, or deferred to the device with the reason in ``settings``."""

    kind: ClassVar[str] = "engine"


ArtifactT = TypeVar("ArtifactT", bound=Artifact)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream.read)


def _digest(read: Callable[[int], bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def hash_folder(folder: Path) -> dict[str, str]:
    """Hash every file below ``folder`` but the sidecar; keys are POSIX paths relative to it, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SIDECAR)
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that takes ``folder``'s place when the block ends without an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
            os.replace(folder, old)
            os.replace(temporary, folder)
            shutil.rmtree(old)
        else:
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def verify_files(folder: Path, files: dict[str, str]) -> None:
    """Hash ``files`` below ``folder`` again.

    Raises:
        ArtifactError: a file is missing, or its bytes are not those that were recorded; it is named.
    """
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(
                f"{name} is missing", expected="the file", got="no file", where=str(folder),
                fix="copy the whole folder again, or build it again",
            )
        got = hash_file(path)
        if got != expected:
            raise ArtifactError(
                f"{name} was altered", expected=f"sha256 {expected}", got=f"sha256 {got}", where=str(path),
                fix="copy the file again, or build the folder again",
            )


def load(kind: type[ArtifactT], folder: Path) -> ArtifactT:
    """Read and verify the artifact in ``folder``.

    Raises:
        ArtifactError: there is none, it is of another kind or schema, or a file was altered.
    """
    sidecar = folder / SIDECAR
    try:
        record = Record.model_validate_json(sidecar.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactError(
            f"no {kind.kind} artifact here", expected=SIDECAR, got="no such file", where=str(folder),
            fix="run the stage that makes it",
        ) from error
    except ValidationError as error:
        raise ArtifactError(
            f"{SIDECAR} cannot be read", expected="schema_version 1", got=str(error), where=str(sidecar),
            fix="build the artifact again with this version of the project",
        ) from error
    if record.kind != kind.kind:
        raise ArtifactError(
            f"this is no {kind.kind} artifact", expected=kind.kind, got=record.kind, where=str(folder),
            fix=f"give the folder that the stage before this one wrote",
        )
    verify_files(folder, record.files)
    return kind(folder=folder, record=record)
