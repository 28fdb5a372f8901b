"""Typed, frozen, hashed artifacts: what one stage hands to the next.

On disk an artifact is a folder: its files beside one ``artifact.json``. The folder is written under a temporary name
and renamed. A killed run so leaves the old artifact or the new one, never half of one.
Loading hashes every file again. Each stage has a type of its own, so a type checker rejects
``quantize(exported)``.
"""

import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, TypeVar

from pydantic import JsonValue, ValidationError, field_validator

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen, faults
from bundle.base.limits import read_limited

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

    @field_validator("files")
    @classmethod
    def _lie_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if not inside(name):
                raise ValueError(f"{name!r} is no plain path inside the folder")
        return files

    @property
    def sha256(self) -> str:
        """The artifact's identity: the hash of its files' names and hashes."""
        lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(f"{self.kind}\n{lines}".encode()).hexdigest()


class Artifact(Frozen):
    """A loaded artifact: its folder and its verified record."""

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
                f"this {self.kind} artifact has no file {name!r}",
                expected=f"one of {sorted(self.record.files)}",
                got=repr(name),
                where=str(self.folder),
                fix="build the artifact again",
            )
        return self.folder / name


class Imported(Artifact):
    """A checkpoint that import wrote: a published backbone, everything else untrained."""

    kind: ClassVar[str] = "imported"


class Exported(Artifact):
    """The checkpoint as ONNX, opset 20, static shapes: model.onnx; fold.json records what was done to the module before."""

    kind: ClassVar[str] = "exported"


class Simplified(Artifact):
    """The exported graph after simplification, or the folded one after the target's rewrites: model.onnx."""

    kind: ClassVar[str] = "simplified"


class Folded(Artifact):
    """The simplified graph whose linear maps are composed where that pays: model.onnx, fold.json."""

    kind: ClassVar[str] = "folded"


class Quantized(Artifact):
    """Every precision variant of the graph in the target's own format, with the recipe of each."""

    kind: ClassVar[str] = "quantized"


class Engine(Artifact):
    """What a device loads: built here, or deferred to the device with the reason in ``settings``."""

    kind: ClassVar[str] = "engine"


ArtifactT = TypeVar("ArtifactT", bound=Artifact)


def inside(name: str) -> bool:
    """Say whether ``name`` is a plain relative POSIX path, so that it cannot lead out of the folder it is joined to."""
    path = PurePosixPath(name)
    return str(path) == name != "." and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def hash_folder(folder: Path) -> dict[str, str]:
    """Hash every file below ``folder`` but the sidecar; keys are POSIX paths relative to it, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SIDECAR)
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, never half."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; the file written there replaces it when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_record(folder: Path, record: Record) -> None:
    """Write the record that makes ``folder`` an artifact."""
    (folder / SIDECAR).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def verify_files(folder: Path, files: Mapping[str, str]) -> None:
    """Hash ``files`` below ``folder`` again.

    Raises:
        ArtifactError: a file is missing, or its bytes are not those that were recorded; it is named.
    """
    for name, expected in files.items():
        _require_there(folder, name)
        _require_hash(folder, name, expected, hash_file(folder / name))


def read_file(folder: Path, name: str, expected: str) -> bytes:
    """Read a file below ``folder`` whose sha256 is known; the bytes that are returned are those that were hashed.

    Raises:
        ArtifactError: the file is missing, or its bytes are not those that were recorded; it is named.
    """
    _require_there(folder, name)
    content = (folder / name).read_bytes()
    _require_hash(folder, name, expected, hashlib.sha256(content).hexdigest())
    return content


def _require_there(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise ArtifactError(
            f"{name} is missing",
            expected="the file",
            got="no file",
            where=str(folder),
            fix="copy the folder again with every file, or build it again",
        )


def _require_hash(folder: Path, name: str, expected: str, got: str) -> None:
    if got != expected:
        raise ArtifactError(
            f"{name} was altered",
            expected=f"sha256 {expected}",
            got=f"sha256 {got}",
            where=str(folder / name),
            fix="copy the file again, or build the folder again",
        )


def load(kind: type[ArtifactT], folder: Path) -> ArtifactT:
    """Read and verify the artifact in ``folder``.

    Raises:
        ArtifactError: there is none, it is of another kind or schema, or a file was altered.
    """
    sidecar = folder / SIDECAR
    try:
        record = Record.model_validate_json(read_limited(sidecar, "json_bytes"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactError(
            f"no {kind.kind} artifact here",
            expected=SIDECAR,
            got="no such file",
            where=str(folder),
            fix="run the stage that makes it",
        ) from error
    except ValidationError as error:
        raise ArtifactError(
            f"{SIDECAR} cannot be read",
            expected="schema_version 1",
            got=faults(error),
            where=str(sidecar),
            fix="build the artifact again with this version of the project",
        ) from error
    if record.kind != kind.kind:
        raise ArtifactError(
            f"this is no {kind.kind} artifact",
            expected=kind.kind,
            got=record.kind,
            where=str(folder),
            fix="give the folder that the stage before this one wrote",
        )
    verify_files(folder, record.files)
    return kind(folder=folder, record=record)
