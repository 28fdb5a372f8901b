"""The project's own source files, and what they import, read without running them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "bundle",
    "calibration",
    "cli",
    "compile",
    "device_runtime",
    "examples",
    "fleet",
    "labelled_folder",
    "predict",
    "report",
    "serving",
    "studies",
    "targets",
    "tdss",
)


def library() -> list[Path]:
    """Every Python file of the packages, without the tests."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def everything() -> list[Path]:
    """Every Python file of the packages and of the tests."""
    return library() + sorted((ROOT / "tests").rglob("*.py"))


def device_side() -> list[Path]:
    """The files that run on a device, and all that they import of ours: no torch, Python 3.10."""
    targets = ROOT / "targets"
    seeds = [
        *(ROOT / "bundle").rglob("*.py"),
        *(ROOT / "device_runtime").rglob("*.py"),
        *(ROOT / "predict").rglob("*.py"),
        *targets.glob("*/session.py"),
        targets / "__main__.py",
        ROOT / "examples" / "infer.py",
    ]
    return closure([*seeds, *(ROOT / "tests" / "regression").rglob("*.py")])


def closure(paths: list[Path]) -> list[Path]:
    """Return ``paths`` and every file of ours that they import, themselves or through others."""
    found: set[Path] = set()
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(file for name, _ in imports(path) if (file := file_of(name)) is not None)
    return sorted(found)


def file_of(module: str) -> Path | None:
    """Return the file of a module of ours, None for anything else."""
    if module.partition(".")[0] not in (*PACKAGES, "tests"):
        return None
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file as Python 3.11 or newer."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def imports(path: Path) -> tuple[tuple[str, int], ...]:
    """Every module a file may import, anywhere in it, as (dotted name, line)."""
    return tuple(_imports(tree(path)))


def _imports(module: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "", node.lineno)
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def place(path: Path, line: int) -> str:
    """Say where in the repository something stands."""
    return f"{path.relative_to(ROOT)}:{line}"
