"""Where an output may be written: no file of the user's is lost, and no input is written over.

A folder is replaced only if it is empty, or if its *rule* finds nothing in it but what the same stage wrote. A file is
written over only if its *kind* recognises it. Both are asked before any work starts and again when the output takes its
place. Linux exchanges two folders in one step. The old one is checked once more before it is removed, and put back if
something came into it. What cannot be written is an InputError with the path and the system's reason.
"""

import ctypes
import errno
import json
import os
import re
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from bundle.base.errors import ArtifactError, InputError, system_reason
from bundle.base.limits import LIMITS
from bundle.base.zip_entries import UNREADABLE
from bundle.formats.artifacts import SIDECAR, Artifact, load, writing
from bundle.formats.contents import DEVICE_FOLDERS, names_beside
from bundle.formats.manifest import read_manifest

Rule: TypeAlias = Callable[[Path], str]
"""What is in a folder, in words, that whoever replaces it did not write; "" if there is no such thing."""
Kind: TypeAlias = Callable[[Path], bool]
"""Whether a file is an earlier output of the same kind."""

LONGEST_PART = LIMITS["path_part_bytes"].most
LONGEST_NAME = LONGEST_PART - len(f"..{'0' * 32}.tmp")  # bytes of a name beside which its temporary one still fits
LARGEST_READ = LIMITS["json_bytes"].most  # bytes of a file that a kind looks into
_LEFT = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.(?P<kind>tmp|old)")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def nothing(folder: Path) -> str:
    """Return the name of something in the folder: a rule for outputs that replace nothing."""
    return f"{min(path.name for path in folder.iterdir())}, and what else is there"


def anything(folder: Path) -> str:
    """Return "": the rule of a cache's entry, which is named by a hash and made again by whoever asks for it."""
    return ""


def artifact(kind: type[Artifact]) -> Rule:
    """Return the rule of a stage's folder: a complete artifact of this kind, and no file that its record does not list."""

    def rule(folder: Path) -> str:
        try:
            record = load(kind, folder).record
        except ArtifactError as error:
            return error.message
        return unlisted(folder, {SIDECAR, *record.files})

    return rule


def bundle_of(name: str, target: str) -> Rule:
    """Return the rule of a bundle's folder: a bundle of this model and target, what a device writes into it, and no more."""

    def rule(folder: Path) -> str:
        try:
            manifest = read_manifest(folder)
        except ArtifactError as error:
            return error.message
        if (manifest.name, manifest.target) != (name, target):
            return f"a bundle of {manifest.name} for {manifest.target}"
        return unlisted(folder, names_beside(manifest.files), DEVICE_FOLDERS)

    return rule


def only(*names: str) -> Rule:
    """Return the rule of a folder that holds these files and no other."""
    return lambda folder: unlisted(folder, set(names))


def unlisted(folder: Path, names: set[str], folders: tuple[str, ...] = ()) -> str:
    """Name what is in ``folder`` and is none of ``names`` (POSIX paths) nor in one of ``folders``; "" if nothing does."""
    known = names | {parent.as_posix() for name in names for parent in Path(name).parents}
    others = sorted(
        name
        for path in folder.rglob("*")
        if (name := path.relative_to(folder).as_posix()) not in known
        and name.split("/")[0] not in folders
        and not _LEFT.fullmatch(path.name)
    )
    return f"{others[0]}, which is no part of it" if others else ""


def json_object(*keys: str) -> Kind:
    """Return the kind of JSON files that hold an object with these keys, or a list of such objects."""

    def kind(path: Path) -> bool:
        if path.stat().st_size > LARGEST_READ:
            return False
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return False
        rows = content if isinstance(content, list) else [content]
        return rows != [] and all(isinstance(row, dict) and set(keys) <= set(row) for row in rows)

    return kind


def zip_with(*names: str) -> Kind:
    """Return the kind of zip archives (an ``.npz`` is one) that hold members of these names."""

    def kind(path: Path) -> bool:
        try:
            with zipfile.ZipFile(path) as archive:
                return set(names) <= set(archive.namelist())
        except UNREADABLE:
            return False

    return kind


def marked(mark: bytes) -> Kind:
    """Return the kind of files that have ``mark`` in them."""
    return lambda path: path.stat().st_size <= LARGEST_READ and mark in path.read_bytes()


def require_folder(out: Path, rule: Rule, inputs: Iterable[Path] = ()) -> None:
    """Do nothing if ``out`` may be written, or be replaced, as a folder; ``inputs`` are what the same command reads.

    Raises:
        InputError: something is there that the rule does not know, it is a file, the working directory or a mount point,
            it cannot be written, or it is an input, inside one or around one.
    """
    real = _real(out)
    if real == Path.cwd() or real in Path.cwd().parents or os.path.ismount(real):
        raise _refused("the folder you are in cannot be replaced", "a folder of its own", str(real), out)
    _require_apart(real, out, inputs)
    if real.exists() and not real.is_dir():
        raise _refused("there is something here already", "a folder, or nothing", "a file", out)
    foreign = rule(real) if real.is_dir() and any(real.iterdir()) else ""
    if foreign:
        wanted = "no such folder, or an empty one"
        wanted += "" if rule is nothing else ", or what this command wrote there before"
        raise _refused("there is something here already", wanted, foreign, out)


def require_file(out: Path, kind: Kind, inputs: Iterable[Path] = ()) -> None:
    """Do nothing if ``out`` may be written, or be written over, as a file; ``inputs`` are what the same command reads.

    Raises:
        InputError: another kind of file or a folder is there, it cannot be written, or it is an input or inside one.
    """
    real = _real(out)
    _require_apart(real, out, inputs)
    if not real.exists():
        return
    if not real.is_file():
        got = "a folder" if real.is_dir() else "no regular file"
        raise _refused("there is something here already", "a file's name", got, out)
    if real.stat().st_size and not kind(real):
        wanted = "no such file, or one that this command wrote before"
        raise _refused("there is something here already", wanted, "another file", out)


def require_container(out: Path) -> None:
    """Do nothing if folders can be made in ``out``, which is kept with all that is in it.

    Raises:
        InputError: it is a file, or nothing can be written there.
    """
    _require_apart(_real(out / "any"), out, ())


def _real(out: Path) -> Path:
    """Return where ``out`` really is, links followed.

    Raises:
        InputError: no file or folder can have this name, and a temporary one beside it.
    """
    lengths = [len(os.fsencode(part)) for part in out.parts]
    if "\0" in str(out) or max(lengths, default=0) > LONGEST_PART or len(os.fsencode(out.name)) > LONGEST_NAME:
        got = "a zero byte" if "\0" in str(out) else f"{max(lengths)} bytes"
        raise _refused("this cannot be the name of an output", f"at most {LONGEST_NAME} bytes", got, out)
    return Path(os.path.realpath(out))


def _require_apart(real: Path, out: Path, inputs: Iterable[Path]) -> None:
    """Do nothing if ``real``, where ``out`` is, is apart from every input and can be written."""
    for path in inputs:
        other = Path(os.path.realpath(path))
        if real == other or other in real.parents or real in other.parents:
            how = "is" if real == other else "is inside" if other in real.parents else "holds"
            raise _refused(f"the output {how} an input", f"a path apart from {path}", str(out), out)
    _probe(next((folder for folder in real.parents if os.path.lexists(folder)), real), out)


def _probe(folder: Path, out: Path) -> None:
    """Write a file without a name into ``folder``, to see that it can be written."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _refused(
            "the output cannot be written", "a folder that can be written", f"{folder}: {system_reason(error)}", out
        ) from error


def _refused(message: str, expected: str, got: str, where: Path) -> InputError:
    return InputError(
        message, expected=expected, got=got, where=str(where), fix="name another output, or move away what is there"
    )


@contextmanager
def replacing(out: Path, rule: Rule) -> Iterator[Path]:
    """Yield an empty temporary folder that takes the place of ``out`` when the block ends without an error.

    What a killed run left of ``out`` is swept away first. Where two folders cannot be exchanged, the old one is first
    renamed to ``.<name>.<hex>.old``. A kill between the two renames leaves it there, and the next run puts it back.

    Raises:
        InputError: ``out`` may not be replaced, see ``require_folder``; or the system refuses to write.
    """
    real = _real(out)
    sweep(real.parent, rule, real.name)
    require_folder(out, rule)
    temporary = real.with_name(f".{real.name}.{uuid.uuid4().hex}.tmp")
    try:
        with reporting(out, temporary):
            real.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            require_folder(out, rule)
            _replace_folder(temporary, real, out, rule)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(temporary: Path, real: Path, out: Path, rule: Rule) -> None:
    """Put ``temporary`` where ``real`` is; the old folder is removed only if the rule still knows all that is in it."""
    if not real.exists() or not any(real.iterdir()):
        os.rename(temporary, real)  # the system refuses this where a folder is not empty
        return
    old = temporary.with_suffix(".old")
    if _exchange(temporary, real):
        os.rename(temporary, old)
    else:
        os.rename(real, old)
        os.rename(temporary, real)
    foreign = rule(old)
    if foreign:
        os.rename(real, temporary)
        os.rename(old, real)
        raise _refused("something came here in the meantime", "the folder as it was", foreign, out)
    shutil.rmtree(old)


@contextmanager
def overwriting(out: Path, kind: Kind) -> Iterator[Path]:
    """Yield a temporary name; the file written there takes the place of ``out`` when the block ends without an error.

    Raises:
        InputError: ``out`` may not be written over, see ``require_file``; or the system refuses to write.
    """
    require_file(out, kind)
    real = _real(out)
    real.parent.mkdir(parents=True, exist_ok=True)
    with writing(real) as temporary, reporting(out, temporary):
        yield temporary
        require_file(out, kind)


def overwrite(out: Path, text: str, kind: Kind) -> None:
    """Write ``text`` as the file ``out``; raises as ``overwriting`` does."""
    with overwriting(out, kind) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def reporting(out: Path, inside: Path) -> Iterator[None]:
    """Turn the system's refusal to write below ``inside``, or into a file without a name, into an error that names ``out``.

    Raises:
        InputError: the system refused.
    """
    try:
        yield
    except OSError as error:
        name = error.filename2 or error.filename
        if name is None and error.errno not in _NO_SPACE:
            raise
        if name is not None and inside not in (Path(os.fsdecode(name)), *Path(os.fsdecode(name)).parents):
            raise
        raise InputError(
            "the output could not be written",
            expected="a folder that can be written, with space left",
            got=system_reason(error),
            where=str(out),
            fix="free space there, or name another output; what was there before is unchanged",
        ) from error


def refusal(folder: Path) -> str:
    """Ask the system why a library could not write into ``folder``: write a megabyte; "" if it takes that."""
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(bytes(1 << 20))
    except OSError as error:
        return system_reason(error)
    return ""


def sweep(folder: Path, rule: Rule, name: str = "") -> None:
    """Remove what killed runs left in ``folder``, of ``name`` only if it is given; a folder caught between two renames is put back.

    An old folder whose place is taken is removed only if the rule knows all that is in it.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        left = _LEFT.fullmatch(path.name)
        if left is None or left["name"] != (name or left["name"]):
            continue
        if left["kind"] == "tmp":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif not (folder / left["name"]).exists():
            os.rename(path, folder / left["name"])
        elif not rule(path):
            shutil.rmtree(path)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step, renameat2(2); False where libc or the file system has no such call."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EXDEV):
        return False
    raise OSError(code, os.strerror(code), str(other))
