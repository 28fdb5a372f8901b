"""No file hides a module of the standard library, a dependency or a package of ours, and none is a drawer of odds and ends."""

import re
import sys
from itertools import chain

import tomllib

from tests.architecture.source import PACKAGES, ROOT, library

DRAWERS = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}
# The module a distribution is imported as, where the names differ.
IMPORTED_AS = {
    "pillow": "PIL",
    "tensorrt-rtx-cu13": "tensorrt_rtx",
    "torch-tensorrt": "torch_tensorrt",
    "pytest-xdist": "xdist",
}
# Looked up below their package only, and named by the design; _path.py takes the folder of a script off the path.
EXEMPT = {"cli/bundle.py", "report/bundle_page/examples.py", "tdss/adapters/tdss.py"}


def _dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = {re.split(r"[\[<>=!~ ]", line)[0] for line in lines} - {project["name"]}
    return {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}


def test_no_file_hides_another_module() -> None:
    taken = set(sys.stdlib_module_names) | _dependencies() | set(PACKAGES)
    wrong = [
        name
        for path in library()
        if path.stem in taken and (name := path.relative_to(ROOT).as_posix()) not in EXEMPT and path.stem != "__init__"
    ]
    assert wrong == []


def test_no_drawers() -> None:
    assert [str(path) for path in library() if DRAWERS & set(path.stem.split("_"))] == []


def test_dependencies_are_read() -> None:
    assert {"numpy", "torch", "PIL", "openvino", "xdist"} <= _dependencies()
