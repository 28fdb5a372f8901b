"""Every module imports where only its package's own base is installed; what is heavy or optional is asked for later."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bundle.base.isolated import OURS
from tests.architecture.source import PACKAGES, ROOT, library

CORE = ("numpy", "pydantic")
COMMAND = ("rich", "typer")
MODEL = (*CORE, "safetensors", "tomli_w", "torch")
TRAIN = (*MODEL, "rich")
# What may be imported at the top of a file, by package; the longest matching name decides.
ALLOWED = {
    "bundle": CORE,
    "calibration": CORE,
    "cli": (*CORE, *COMMAND),  # but tdss --help needs nothing, see tests/cli
    "compile": (*MODEL, *COMMAND, "onnx_ir", "scipy"),
    "device_runtime": CORE,
    "examples": CORE,
    "labelled_folder": CORE,
    "report": (*CORE, "rich"),
    "serving": CORE,
    "studies": (*MODEL, *COMMAND, "onnx_ir", "scipy"),
    "targets": CORE,
    "tdss": MODEL,
    "tdss.train": TRAIN,
    "tdss.training": TRAIN,
}
# Dependencies that the allowed packages may bring in themselves are not ours to judge: only imports from our files are.
PROBE = """
import importlib, json, sys

ROOT, ALLOWED, MODULES = json.loads(sys.argv[1])
sys.path.insert(0, ROOT)


class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ALLOWED:
            return None
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        if frame.f_code.co_filename.startswith(ROOT) and "site-packages" not in frame.f_code.co_filename:
            raise ModuleNotFoundError(f"No module named {name!r} in a bare environment", name=name)
        return None


sys.meta_path.insert(0, Refuse())
failed = {}
for module in MODULES:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        failed[module] = str(error)
print(json.dumps(failed))
"""


def module_name(path: Path) -> str:
    """The dotted name of a file of ours."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def scope(module: str) -> str:
    """The row of ALLOWED that rules a module."""
    return max((name for name in ALLOWED if f"{module}.".startswith(f"{name}.")), key=len)


def refused(allowed: tuple[str, ...], modules: list[str]) -> dict[str, str]:
    """Import ``modules`` in a new process where our files may import ``allowed`` only; what failed, and why."""
    payload = json.dumps([str(ROOT), [*PACKAGES, *allowed], modules])
    result = subprocess.run(
        [sys.executable, "-c", PROBE, payload], capture_output=True, text=True, check=False, cwd="/"
    )
    assert result.returncode == 0, result.stderr
    answer: dict[str, str] = json.loads(result.stdout)
    return answer


@pytest.mark.parametrize("allowed", dict.fromkeys(ALLOWED.values()), ids=" ".join)
def test_imports_bare(allowed: tuple[str, ...]) -> None:
    # compile/_path.py is for scripts only: it changes sys.path, and ends the process outside the environment.
    modules = [module for path in library() if (module := module_name(path)) != "compile._path"]
    assert refused(allowed, [module for module in modules if ALLOWED[scope(module)] == allowed]) == {}


def test_the_probe_refuses_what_is_not_allowed() -> None:
    assert "pydantic" in refused(("numpy",), ["bundle.base.frozen"])["bundle.base.frozen"]


def test_every_package_has_a_row() -> None:
    assert set(PACKAGES) <= set(ALLOWED)


def test_every_package_is_imported_from_this_checkout() -> None:
    assert set(OURS) == set(PACKAGES)
