"""Which source files a stage's answer depends on: the closure of its imports over the project's own packages.

A module that runs in a process of its own is named by a string, ``python -m compile.graphs.onnxsim_worker``; it counts too.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bundle", "tdss", "targets", "calibration", "report", "compile", "studies")
DOTTED = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+")


def code_hash(*modules: str) -> str:
    """Return the sha256 over the sources of ``modules`` and of everything of ours they import, wherever they do it.

    Raises:
        ModuleNotFoundError: one of ``modules`` is no file of ours.
    """
    missing = [module for module in modules if _file(module) is None]
    if missing:
        raise ModuleNotFoundError(f"there is no source of {', '.join(missing)}")
    digest = hashlib.sha256()
    for path in source_files(*modules):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def source_files(*modules: str) -> tuple[Path, ...]:
    """Return the files of ``modules`` and of what they import or name, themselves or through others, sorted."""
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        path = _file(waiting.pop())
        if path is not None and path not in found:
            found.add(path)
            waiting.extend(_imports(path))
    return tuple(sorted(found))


def _file(module: str) -> Path | None:
    """Return the file of a module of ours; None for another's, or where the last part is a name inside a module."""
    if module.partition(".")[0] not in PACKAGES:
        return None
    path = ROOT / module.replace(".", "/")
    candidates = (path / "__init__.py", path.parent / f"{path.name}.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """Return the modules a file may run: each ``import a.b``, each ``from a import b`` as a and a.b, each string "a.b"."""
    return tuple(_names(ast.parse(path.read_bytes())))


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.fullmatch(node.value):
            yield node.value
