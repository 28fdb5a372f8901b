"""What may be imported: the installed packages and our own, and nothing from a working directory.

Python puts the working directory, or an entry of PYTHONPATH, before the installed packages. A bundle's folder in it called
like a package that is not installed would be that package. So a command takes the working directory and this checkout
off ``sys.path`` and imports our packages by their names (``isolate``). What it starts itself runs ``python -I``
(``program``).
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
OURS = (
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
FOUND = (*OURS, "tests")
_ENTER = "import os, sys; sys.path[:] = sys.argv.pop(1).split(os.pathsep); from bundle.base.isolated import isolate; isolate(); "
_RUN = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"


class _Finder:
    """Finds the packages in ``FOUND`` in this checkout, wherever the process was started."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the package's spec; None for any other name."""
        return PathFinder.find_spec(name, [str(ROOT)], target) if name in FOUND else None


def isolate() -> None:
    """Take the working directory and this checkout off ``sys.path``; our own packages are still imported."""
    sys.path[:] = _safe_path()
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def _safe_path() -> list[str]:
    unsafe = {ROOT, Path.cwd().resolve()}
    return [entry for entry in sys.path if entry and Path(entry).resolve() not in unsafe]


def program(code: str, *arguments: str) -> list[str]:
    """Return the command that runs Python code isolated, with what this process may import; ``sys`` is imported."""
    path = os.pathsep.join([*_safe_path(), str(ROOT)])
    return [sys.executable, "-I", "-c", _ENTER + code, path, *arguments]


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules, as ``python -m`` does, but isolated."""
    return program(_RUN, name, *arguments)
