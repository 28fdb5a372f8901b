"""Who made this bundle: an optional, detached ed25519 signature in ``signature.json``.

What is signed is a list in the format of ``sha256sum``, behind a prefix of its own. It holds the digest of
``manifest.json``, which lists every file of the build, and of each result that was there. What a device writes later has a hash
but no signature: ``coverage`` names it. ``cryptography`` does the arithmetic; it is needed only to sign, and where a
signature is asked for.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field, ValidationError

from bundle.base.errors import ArtifactError, InputError, not_installed
from bundle.base.frozen import faults
from bundle.formats.artifacts import write_text
from bundle.formats.contents import ENGINES, MANIFEST, RESULTS, SIGNATURE
from bundle.formats.engines import engine_files
from bundle.formats.hash_files import Digest
from bundle.formats.manifest import Bundle, load_bundle, verify_bundle
from bundle.formats.results import Result

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PREFIX = b"tdss bundle, version 2\0"
LATER, CHANGED, BUILT = "written after it was signed", "changed after it was signed", "built on a device"


class Signature(Result):
    """What ``signature.json`` holds: the public key it was made with and the signature, both as hex digits.

    ``results`` has the sha256 of each result that was there when the bundle was signed.
    """

    schema_version: Literal[3] = 3
    algorithm: Literal["ed25519"] = "ed25519"
    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
    results: dict[str, Digest]


class Coverage(NamedTuple):
    """The files of a bundle that are as they were signed, and why each other file is not."""

    covered: tuple[str, ...]
    others: dict[str, str]


def make_keys(path: Path) -> tuple[Path, Path]:
    """Write a new private key as ``path`` (PEM, readable by its owner only) and its public key as ``<path>.pub``.

    Raises:
        InputError: one of the two files is there already.
        TargetUnavailable: the package cryptography is not installed.
    """
    require_library()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_path = path.with_name(f"{path.name}.pub")
    for taken in (path, public_path):
        if taken.exists():
            raise InputError(
                "a key is never written over",
                expected="no such file",
                got="a file",
                where=str(taken),
                fix="give another name",
            )
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        try:
            stream.write(private)
            stream.flush()
            write_text(public_path, public.decode())
        except OSError:
            path.unlink()  # half a pair is none
            raise
    return path, public_path


def sign(folder: Path, key: Path) -> Path:
    """Sign the bundle in ``folder`` with the private key in the file ``key``; return the path of ``signature.json``.

    Raises:
        ArtifactError: a file of the bundle was altered: only a sound bundle is signed.
        InputError: there is no private ed25519 key in the file.
        TargetUnavailable: the package cryptography is not installed.
    """
    private = _private_key(key)
    bundle = load_bundle(folder)
    results = {name: _digest(bundle.results[name]) for name in RESULTS if name in bundle.results}
    made = private.sign(message(bundle, results))
    signature = Signature(
        public_key=private.public_key().public_bytes_raw().hex(), signature=made.hex(), results=results
    )
    return bundle.write(SIGNATURE, signature)


def message(bundle: Bundle, results: Mapping[str, str]) -> bytes:
    """Return the bytes that are signed: ``PREFIX`` and a line for the manifest and for each result, by name."""
    rows = {MANIFEST: _digest(bundle.content), **results}
    return PREFIX + "".join(f"{digest}  {name}\n" for name, digest in sorted(rows.items())).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def coverage(bundle: Bundle) -> Coverage:
    """Say which files the signature of an opened bundle covers; it covers none of a bundle that is not signed.

    Raises:
        ArtifactError: signature.json is of another schema.
    """
    signature = read_signature(bundle)
    if signature is None:
        return Coverage((), {})
    covered, others = [MANIFEST, *bundle.manifest.files], {}
    for name in (name for name in RESULTS if name in bundle.results):
        if signature.results.get(name) == _digest(bundle.results[name]):
            covered.append(name)
        else:
            others[name] = CHANGED if name in signature.results else LATER
    return Coverage(tuple(covered), others | {f"{ENGINES}/{name}": BUILT for name in engine_files(bundle.folder)})


def load_trusted(folder: Path, key: Path | None) -> Bundle:
    """Open a bundle as ``load_bundle`` does; with ``key``, only if it is signed with that key.

    Raises:
        ArtifactError: a file was altered, or the bundle is unsigned or not signed with the key.
        InputError: there is no public ed25519 key in the file ``key``.
        TargetUnavailable: a key is given and the package cryptography is not installed.
    """
    return _trusted(load_bundle(folder), key)


def verify_trusted(folder: Path, key: Path | None) -> Bundle:
    """Open a bundle as ``verify_bundle`` does, complete; with ``key``, only if it is signed with that key.

    Raises:
        ArtifactError: a file is missing or was altered, or the bundle is unsigned or not signed with the key.
        InputError: there is no public ed25519 key in the file ``key``.
        TargetUnavailable: a key is given and the package cryptography is not installed.
    """
    return _trusted(verify_bundle(folder), key)


def _trusted(bundle: Bundle, key: Path | None) -> Bundle:
    if key is not None:
        require_signature(bundle, key)
    return bundle


def require_signature(bundle: Bundle, key: Path) -> None:
    """Do nothing if an opened bundle is signed with the public key in the file ``key``: the bytes that were opened.

    Raises:
        ArtifactError: it is unsigned, signed with another key, or the signature does not hold.
        InputError: there is no public ed25519 key in the file.
        TargetUnavailable: the package cryptography is not installed.
    """
    trusted, folder = _public_key(key), bundle.folder
    from cryptography.exceptions import InvalidSignature

    signature = read_signature(bundle)
    if signature is None:
        raise _unsigned(folder, "this bundle is not signed", f"{SIGNATURE}, made with the key of {key}", "none")
    if signature.public_key != trusted.public_bytes_raw().hex():
        expected = f"public key {trusted.public_bytes_raw().hex()}"
        raise _unsigned(folder, "this bundle is signed with another key", expected, signature.public_key)
    try:
        trusted.verify(bytes.fromhex(signature.signature), message(bundle, signature.results))
    except InvalidSignature as error:
        raise _unsigned(
            folder, f"the signature in {SIGNATURE} does not hold", "a signature of this manifest", "of something else"
        ) from error


def read_signature(bundle: Bundle) -> Signature | None:
    """Return the signature of an opened bundle; None where there is none. This checks its form, not that it holds.

    Raises:
        ArtifactError: it is of another schema.
    """
    if SIGNATURE not in bundle.results:
        return None
    try:
        return Signature.model_validate_json(bundle.results[SIGNATURE])
    except ValidationError as error:
        raise _unsigned(bundle.folder, f"{SIGNATURE} cannot be read", "schema_version 3", faults(error)) from error


def require_library() -> None:
    """Do nothing if the package cryptography can be imported.

    Raises:
        TargetUnavailable: it is not installed.
    """
    try:
        import cryptography.exceptions  # noqa: F401
    except ImportError as error:
        raise not_installed("a signature", "cryptography", extra="sign", where="this Python", error=error) from error


def require_private_key(path: Path) -> None:
    """Do nothing if the file holds a private ed25519 key.

    Raises:
        InputError: it does not.
        TargetUnavailable: the package cryptography is not installed.
    """
    _private_key(path)


def _private_key(path: Path) -> "Ed25519PrivateKey":
    require_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = _read_key(path, "private", partial(load_pem_private_key, password=None))
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private", type(key).__name__)
    return key


def _public_key(path: Path) -> "Ed25519PublicKey":
    require_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = _read_key(path, "public", load_pem_public_key)
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public", type(key).__name__)
    return key


def _read_key(path: Path, kind: str, read: Callable[[bytes], object]) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return read(path.read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(path, kind, faults(error)) from error


def _no_key(path: Path, kind: str, got: str) -> InputError:
    return InputError(
        f"this is no {kind} key",
        expected=f"a {kind} ed25519 key as PEM, without a password",
        got=got,
        where=str(path),
        fix="python -m bundle keygen makes a pair: KEY signs, KEY.pub checks",
    )


def _unsigned(folder: Path, message: str, expected: str, got: str) -> ArtifactError:
    return ArtifactError(
        message,
        expected=expected,
        got=got,
        where=str(folder),
        fix="ask whoever built the bundle for one that they signed",
    )
