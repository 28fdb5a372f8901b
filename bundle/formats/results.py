"""Results: what a judgement writes into a bundle later, each file sealed by itself and tied to its bundle.

``manifest.json`` cannot hash these files, for they are written again on every device. So each one ends in two keys,

      "bundle": "<seal of the manifest>",
      "seal": "<sha256 of the file's name, a zero byte, and its bytes with these 64 digits zeroed>"
    }

and ``report.html`` has both as ``<meta name="…" content="…">`` behind ``<head>``. One file is replaced at a time,
atomically, and whoever reads it can tell whether it is whole (docs/decisions/0105). A file that was sent back alone
still carries the seal, and says which bundle it belongs to. ``signature.json`` (bundle/transport/signature.py) is sealed likewise.
"""

import hashlib
import re
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from bundle.base.errors import ArtifactError
from bundle.base.frozen import faults
from bundle.base.limits import read_limited
from bundle.formats.artifacts import write_text
from bundle.formats.seals import MANIFEST, UNSEALED, read_sealed_manifest

RESULTS = ("regression.json", "bench.json", "choice.json", "report.html")
SIGNATURE = "signature.json"
SEALED = (*RESULTS, SIGNATURE)  # every file of a bundle that carries a seal, besides the manifest
_HEAD = "<head>\n"
_JSON = re.compile(rb',?\n  "bundle": "([0-9a-f]{64})",\n  "seal": "([0-9a-f]{64})"\n(?=}\n\Z)')
_HTML = re.compile(
    rb'(?<=<head>\n)<meta name="bundle" content="([0-9a-f]{64})">\n<meta name="seal" content="([0-9a-f]{64})">\n'
)
ReadT = TypeVar("ReadT")


def write_result(folder: Path, name: str, text: str) -> Path:
    """Write the result ``name`` with its seal, atomically, and return its path.

    A folder without manifest.json, a stage's artifact or a folder of collected results, gets the text as it is.

    Raises:
        ArtifactError: the manifest was altered, or ``text`` is no JSON object or page that can carry a seal.
    """
    path = folder / name
    write_text(path, seal_result(name, text, read_sealed_manifest(folder).seal) if _is_bundle(folder) else text)
    return path


def seal_result(name: str, text: str, bundle: str) -> str:
    """Return ``text`` with the manifest's seal and its own in it.

    Raises:
        ArtifactError: ``text`` is no JSON object, or no page with ``<head>`` on a line of its own.
    """
    blank = _tied(name, text, bundle).encode()
    found = _pattern(name).search(blank)
    if found is None:
        raise ArtifactError(
            f"{name} cannot carry a seal",
            expected="a JSON object, or a page with <head> on a line of its own",
            got=repr(text[:60]),
            where=name,
            fix="this is a mistake in the program: report it",
        )
    start, end = found.span(2)
    return (blank[:start] + _digits(name, blank, (start, end)).encode() + blank[end:]).decode()


def _tied(name: str, text: str, bundle: str) -> str:
    if name.endswith(".html"):
        metas = f'<meta name="bundle" content="{bundle}">\n<meta name="seal" content="{UNSEALED}">\n'
        return text.replace(_HEAD, _HEAD + metas, 1)
    plain = text.strip()
    if not (plain.startswith("{") and plain.endswith("}")):
        return text
    body = plain[:-1].rstrip()
    comma = "" if body == "{" else ","
    return f'{body}{comma}\n  "bundle": "{bundle}",\n  "seal": "{UNSEALED}"\n}}\n'


def read_result(folder: Path, name: str) -> str:
    """Return a result's text as it was given to ``write_result``.

    Raises:
        FileNotFoundError: there is none.
        ArtifactError: it was altered or cut short, or it belongs to another bundle.
    """
    if _is_bundle(folder) and (folder / name).exists():
        return text_of(name, read_tied(folder, name, read_sealed_manifest(folder).seal))
    return open_result(folder / name, name)


def open_result(path: Path, name: str) -> str:
    """Return the text of the result ``name`` that lies at ``path``, wherever that is; its seal, if any, is checked.

    Raises:
        FileNotFoundError: there is none.
        ArtifactError: it was altered.
    """
    content = read_limited(path, "json_bytes")
    found = _pattern(name).search(content)
    if found is None:
        return content.decode("utf-8", errors="replace")
    _require_seal(content, found, path, name)
    return text_of(name, content)


def text_of(name: str, content: bytes) -> str:
    """Return the text that a sealed file with these bytes was made of."""
    return _pattern(name).sub(b"\n" if name.endswith(".json") else b"", content, count=1).decode()


def read_results(folder: Path, bundle: str) -> dict[str, bytes]:
    """Read every sealed file that is there, once, and check it against its seal and the manifest's; return the bytes.

    Raises:
        ArtifactError: one was altered or cut short, or it belongs to another bundle; it is named.
    """
    return {name: read_tied(folder, name, bundle) for name in SEALED if (folder / name).exists()}


def read_tied(folder: Path, name: str, bundle: str) -> bytes:
    """Read one result and check it; ``bundle`` is the manifest's seal. What is returned are the bytes that were checked.

    Raises:
        ArtifactError: it was altered or cut short, or it belongs to another bundle; it is named.
    """
    path = folder / name
    content = read_limited(path, "json_bytes") if path.is_file() else b""
    found = _pattern(name).search(content)
    if found is None:
        raise _altered(path, name, "its seal in its place", "none: it was cut short, edited, or written by other means")
    _require_seal(content, found, path, name)
    if found.group(1).decode() != bundle:
        raise ArtifactError(
            f"{name} belongs to another bundle",
            expected=f"a result of bundle {bundle[:16]}…",
            got=f"of bundle {found.group(1).decode()[:16]}…",
            where=str(path),
            fix=_fix(name),
        )
    return content


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


def _is_bundle(folder: Path) -> bool:
    return (folder / MANIFEST).exists()


def _pattern(name: str) -> "re.Pattern[bytes]":
    return _HTML if name.endswith(".html") else _JSON


def _digits(name: str, content: bytes, span: tuple[int, int]) -> str:
    blank = content[: span[0]] + UNSEALED.encode() + content[span[1] :]
    return hashlib.sha256(name.encode() + b"\0" + blank).hexdigest()


def _require_seal(content: bytes, found: "re.Match[bytes]", path: Path, name: str) -> None:
    expected, got = _digits(name, content, found.span(2)), found.group(2).decode()
    if expected != got:
        raise _altered(path, name, f"seal {expected}", f"seal {got}")


def _altered(path: Path, name: str, expected: str, got: str) -> ArtifactError:
    return ArtifactError(f"{name} was altered", expected=expected, got=got, where=str(path), fix=_fix(name))


def _fix(name: str) -> str:
    makers = {
        "regression.json": "run pytest tests/regression --bundle on the bundle, or tdss regress",
        "report.html": "run tdss report on the bundle",
        SIGNATURE: "sign the bundle again",
    }
    return f"copy {name} again; or delete it, then {makers.get(name, 'build the bundle again')}"


def read_json(folder: Path, name: str, kind: TypeAdapter[ReadT], expected: str) -> ReadT | None:
    """Return the value of a bundle's JSON file, or None if there is no such file; a result's seal is checked.

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
