"""What one does with a bundle on any machine: each command's answer, for people and as a value for scripts.

``python -m bundle`` and ``tdss bundle`` print these; they need NumPy and pydantic only.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from bundle.formats.contents import ENGINES, HASHED, MANIFEST
from bundle.formats.engines import engine_files
from bundle.formats.manifest import Bundle, verify_bundle
from bundle.judging import wording
from bundle.judging.choice import pick
from bundle.transport import archive, signature


class Answer(NamedTuple):
    """A command's answer: lines for people, and the same as a JSON object."""

    text: str
    value: dict[str, JsonValue]


def verify(folder: Path, key: Path | None) -> Answer:
    """Hash every file of a bundle; with ``key``, ask for its signature too.

    Raises:
        ArtifactError: a file is missing or was altered, by name; or the signature is missing or wrong.
        TargetUnavailable: a key is given and the package cryptography is not installed.
    """
    opened = signature.verify_trusted(folder, key)
    manifest, signed = opened.manifest, _signed(opened, key)
    later, engines, coverage = _later(opened), engine_files(folder), signature.coverage(opened)
    value: dict[str, JsonValue] = {
        "bundle": str(folder),
        "model": manifest.name,
        "target": manifest.target,
        "files": dict(manifest.files),
        "results": list(later),
        "engines": list(engines),
        "signed": signed,
        "signature_checked": key is not None,
        "covered": list(coverage.covered),
        "not_covered": dict(coverage.others),
    }
    counted = [
        f"{len(manifest.files)} files are what the build wrote",
        f"{len(later)} written later are as their hashes say",
    ]
    counted += [f"{len(engines)} engine files too"] if engines else []
    lines = [f"{folder}: {'; '.join(counted)}; {signed}", *coverage_lines(opened)]
    return Answer("".join(f"{line}\n" for line in lines), value)


def coverage_lines(opened: Bundle) -> Iterator[str]:
    """Yield what the signature of a bundle covers and what it does not, in lines; none where it is not signed."""
    covered, others = signature.coverage(opened)
    if covered:
        results = [name for name in covered if name in opened.results]
        yield f"the signature covers: {', '.join([MANIFEST, 'every file it lists', *results])}"
        for name, reason in others.items():
            yield f"the signature does not cover: {name}, {reason}"


def info(folder: Path) -> Answer:
    """Say what a bundle holds, after hashing it.

    Raises:
        ArtifactError: a file is missing or was altered, by name.
    """
    opened = verify_bundle(folder)
    lines = "".join(f"{title:<11}{text}\n" for title, text in facts(opened))
    return Answer(lines, opened.manifest.model_dump(mode="json"))


def pack(folder: Path, out: Path | None) -> Answer:
    """Write a bundle as one archive; without ``out`` beside the folder, as ``<folder>.zip``.

    Raises:
        ArtifactError: a file is missing or was altered, by name.
    """
    path = archive.pack(folder, out if out is not None else folder.resolve().with_name(f"{folder.resolve().name}.zip"))
    size = path.stat().st_size
    return Answer(f"{path}: {size / 1e6:.1f} MB\n", {"archive": str(path), "bytes": size})


def unpack(path: Path, out: Path, key: Path | None, max_bytes: int) -> Answer:
    """Unpack an archive as the folder ``out``, complete and verified, or not at all.

    Raises:
        ArtifactError: the archive is no sound bundle, or not signed with ``key``.
        InputError: there is something at ``out`` already.
        TargetUnavailable: a key is given and the package cryptography is not installed.
    """
    opened = archive.unpack(path, out, key=key, max_bytes=max_bytes)
    value: dict[str, JsonValue] = {
        "bundle": str(out),
        "files": dict(opened.manifest.files),
        "signed": _signed(opened, key),
    }
    return Answer(f"{out}: {opened.manifest.name} for {opened.manifest.target}, every file verified\n", value)


def sign(folder: Path, key: Path) -> Answer:
    """Sign a bundle's manifest with a private key.

    Raises:
        ArtifactError: a file was altered; only a sound bundle is signed.
        InputError: there is no private ed25519 key in the file.
        TargetUnavailable: the package cryptography is not installed.
    """
    path = signature.sign(folder, key)
    return Answer(f"{path}\n", {"signature": str(path)})


def make_keys(path: Path) -> Answer:
    """Make a pair of keys: ``path`` signs, ``<path>.pub`` checks.

    Raises:
        InputError: one of the files is there already.
        TargetUnavailable: the package cryptography is not installed.
    """
    private, public = signature.make_keys(path)
    text = f"{private} signs: keep it secret\n{public} checks: give it to whoever runs the bundle\n"
    return Answer(text, {"private": str(private), "public": str(public)})


def facts(opened: Bundle) -> Iterator[tuple[str, str]]:
    """Yield (title, text) for each line; a title is empty where the line before it goes on."""
    manifest, folder = opened.manifest, opened.folder
    size = manifest.preprocess
    yield "model", f"{manifest.name} for {manifest.target}, {size.width} × {size.height} pixels, io {manifest.io}"
    yield "reference", f"{manifest.reference.framework}, checkpoint {manifest.reference.checkpoint_sha256[:12]}"
    engine, runs = manifest.engine, pick(opened, "").variant
    yield "engine", engine.status + (f": {engine.reason}" if engine.reason else "")
    for title, variant in zip(_once("variants"), manifest.variants, strict=False):
        megabytes = sum((folder / name).stat().st_size for name in variant.files) / 1e6
        marks = (", shipped" if variant.name == manifest.shipped else "") + (
            ", runs here" if variant.name == runs else ""
        )
        yield title, f"{variant.name}: {', '.join(variant.files)}, {megabytes:.1f} MB{marks}"
    for title, (name, channels) in zip(_once("tasks"), manifest.tasks.items(), strict=False):
        yield title, f"{name}: {channels} channels, budget {wording.budget(manifest.budgets[name])}"
    yield "files", f"{len(manifest.files)}, each hashed just now, {_megabytes(opened):.1f} MB"
    added = ", ".join([*_later(opened), *(f"{ENGINES}/{name}" for name in engine_files(folder))])
    yield "added", f"after the build's own files: {added or 'nothing'}"
    yield "signature", _signed(opened, None)


def _megabytes(opened: Bundle) -> float:
    names = [MANIFEST, *opened.manifest.files, *_later(opened)]
    return sum((opened.folder / name).stat().st_size for name in names) / 1e6


def _later(opened: Bundle) -> tuple[str, ...]:
    return tuple(name for name in HASHED if name in opened.results)


def _signed(opened: Bundle, key: Path | None) -> str:
    signed = signature.read_signature(opened)
    if signed is None:
        return "not signed"
    checked = "checked" if key is not None else "not checked: give --key"
    return f"signed with {signed.public_key[:16]}…, {checked}"


def _once(title: str) -> Iterator[str]:
    yield title
    while True:
        yield ""
