"""Every module imports where only its room's own base is installed; what is heavy or optional is asked for later."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.source import ROOMS, ROOT, library

CORE = ("numpy", "pydantic")
ALLOWED = {
    "bundle": CORE,
    "calibration": CORE,
    "report": CORE,
    "targets": CORE,
    "tdss": (*CORE, "torch", "safetensors"),
    "compile": (*CORE, "typer", "rich", "torch", "safetensors"),
    "cli": CORE,
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


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_bare(room: str) -> None:
    modules = [module_name(path) for path in library() if path.relative_to(ROOT).parts[0] == room]
    # compile/_path.py is for scripts only: it changes sys.path, and ends the process outside the environment.
    modules = [name for name in modules if name != "compile._path"]
    payload = json.dumps([str(ROOT), [*ROOMS, *ALLOWED[room]], modules])
    result = subprocess.run([sys.executable, "-c", PROBE, payload], capture_output=True, text=True, check=True, cwd="/")
    assert json.loads(result.stdout) == {}


def test_the_probe_refuses_what_is_not_allowed() -> None:
    payload = json.dumps([str(ROOT), [*ROOMS, "numpy"], ["bundle.frozen"]])
    result = subprocess.run([sys.executable, "-c", PROBE, payload], capture_output=True, text=True, check=True, cwd="/")
    assert "pydantic" in json.loads(result.stdout)["bundle.frozen"]
