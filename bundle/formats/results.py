"""Results: what a judgement writes into a bundle later, each with its hash beside it and tied to its bundle.

``manifest.json`` cannot list these files, for each device writes them again. So each has a hash file
(bundle/formats/hash_files.py), and names its bundle: ``bundle`` is the sha256 of the manifest. In ``report.html``
that is ``<meta name="bundle" content="…">``. A result that was sent back alone so says which bundle it belongs to.
``signature.json`` (bundle/transport/signature.py) is kept likewise. See docs/decisions/0124.
"""

from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen, faults
from bundle.base.limits import read_limited
from bundle.formats.contents import HASHED, MANIFEST, RESULTS, SIGNATURE
from bundle.formats.hash_files import SUFFIX, Digest, require_hash, write_hashed

ReadT = TypeVar("ReadT")


class Result(Frozen):
    """A JSON file that is written into a bundle later; ``bundle`` is the sha256 of its manifest, null outside a bundle."""

    bundle: Digest | None = None

    def text(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def write_result(folder: Path, name: str, value: Result, bundle: str) -> Path:
    """Write a result of the bundle whose manifest has the sha256 ``bundle``, with its hash, and return its path."""
    write_hashed(folder / name, value.model_copy(update={"bundle": bundle}).text().encode())
    return folder / name


def read_result(folder: Path, name: str) -> bytes:
    """Return a result's bytes; in a bundle they are checked.

    Raises:
        FileNotFoundError: there is none.
        ArtifactError: it was altered or cut short, or it belongs to another bundle.
    """
    if (folder / MANIFEST).exists() and (folder / name).exists():
        return read_tied(folder, name, read_manifest_bytes(folder)[1])
    return open_result(folder / name)


def open_result(path: Path) -> bytes:
    """Return the bytes of a result wherever it is; if a hash file is beside it, it is checked.

    Raises:
        FileNotFoundError: there is none.
        ArtifactError: it was altered.
    """
    content = read_limited(path, "json_bytes")
    if not path.with_name(f"{path.name}{SUFFIX}").is_file():
        return content
    return require_hash(path, content, name=path.name, fix=f"ask for {path.name} and its hash again")


def read_results(folder: Path, bundle: str) -> dict[str, bytes]:
    """Read every result and the signature, if it is there, once; check it against its hash and its bundle.

    Raises:
        ArtifactError: one was altered or cut short, or it belongs to another bundle; it is named.
    """
    return {name: read_tied(folder, name, bundle) for name in HASHED if (folder / name).exists()}


def read_tied(folder: Path, name: str, bundle: str) -> bytes:
    """Read one result and check it; ``bundle`` is the manifest's sha256. What is returned are the bytes that were checked.

    Raises:
        ArtifactError: it was altered or cut short, or it belongs to another bundle; it is named.
    """
    path = folder / name
    read = read_limited(path, "json_bytes") if path.is_file() else None
    content = require_hash(path, read, name=name, fix=_fix(name))
    named = _bundle_of(name, content, bundle)
    if named != bundle:
        raise ArtifactError(
            f"{name} belongs to another bundle",
            expected=f"a result of bundle {bundle[:16]}…",
            got=f"of bundle {named[:16]}…" if named else "one that names no bundle",
            where=str(path),
            fix=_fix(name),
        )
    return content


def _bundle_of(name: str, content: bytes, bundle: str) -> str:
    """Return the sha256 of the manifest that a result names; "" if it names none, or a page another one than ``bundle``."""
    if name.endswith(".html"):
        return bundle if f'<meta name="bundle" content="{bundle}">'.encode() in content else ""
    try:
        value = from_json(content)
    except ValueError:
        return ""
    named = value.get("bundle") if isinstance(value, dict) else None
    return named if isinstance(named, str) else ""


def require_results(folder: Path, names: tuple[str, ...], there: Collection[str]) -> None:
    """Check that the results a bundle was shipped with are among those that are ``there``.

    Raises:
        ArtifactError: one is missing; it is named.
    """
    for name in names:
        if name not in there:
            raise ArtifactError(
                f"{name} is missing",
                expected="the result the bundle was shipped with",
                got="no file",
                where=str(folder),
                fix=_fix(name),
            )


def read_manifest_bytes(folder: Path) -> tuple[bytes, str]:
    """Read ``manifest.json``, check it against its hash, and return its bytes and their sha256.

    Raises:
        ArtifactError: there is no manifest, or it was altered.
    """
    path = folder / MANIFEST
    try:
        content = read_limited(path, "manifest_bytes")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        got = (
            "a file"
            if folder.is_file()
            else f"a folder without {MANIFEST}"
            if folder.is_dir()
            else "no such file or folder"
        )
        unpack = (
            f"; an archive is unpacked first: python -m bundle unpack {folder} --out FOLDER" if folder.is_file() else ""
        )
        raise ArtifactError(
            "no bundle here",
            expected=f"a folder with {MANIFEST}",
            got=got,
            where=str(folder),
            fix=f"give the folder build/<model>/<target> that a build wrote{unpack}",
        ) from error
    fix = f"copy the bundle again, {MANIFEST}{SUFFIX} too; a bundle of format 1 has none: build it again"
    return require_hash(path, content, name=MANIFEST, fix=fix), sha256(content).hexdigest()


def _fix(name: str) -> str:
    makers = {
        "regression.json": "run pytest tests/regression --bundle on the bundle, or tdss regress",
        "report.html": "run tdss report on the bundle",
        SIGNATURE: "sign the bundle again",
    }
    return f"copy {name} and its hash again; or delete both, then {makers.get(name, 'build the bundle again')}"


def read_json(folder: Path, name: str, kind: TypeAdapter[ReadT], expected: str) -> ReadT | None:
    """Return the value of a bundle's JSON file, or None if there is no such file; a result is checked.

    Raises:
        ArtifactError: the file is there and holds something else than ``expected`` says.
    """
    path = folder / name
    if not path.is_file():
        return None
    try:
        return kind.validate_json(read_result(folder, name) if name in RESULTS else path.read_bytes())
    except ValidationError as error:
        raise ArtifactError(
            f"{path.name} cannot be read",
            expected=expected,
            got=faults(error),
            where=str(path),
            fix="build the bundle again with this version of the project",
        ) from error
