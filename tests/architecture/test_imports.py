"""Imports run one way: bundle ← {tdss, targets, calibration, report} ← compile ← cli."""

from pathlib import Path

import pytest

from tests.architecture.source import ROOMS, ROOT, device_side, imports, library, place

MAY_IMPORT = {
    "bundle": {"bundle"},
    "tdss": {"bundle", "tdss"},
    "targets": {"bundle", "targets"},
    "calibration": {"bundle", "calibration"},
    "report": {"bundle", "report"},
    "compile": {"bundle", "tdss", "targets", "calibration", "report", "compile"},
    "cli": set(ROOMS) - {"examples"},
    "examples": {"bundle", "examples", "report", "targets"},
}
# Each of these lives in the rooms that own it, and nowhere else.
OWNERS = {
    "torch": {"tdss", "compile"},
    "lightning": {"tdss"},
    "onnx": {"compile", "targets", "report"},
    "onnx_ir": {"compile", "targets"},
    "onnxscript": {"compile"},
    "onnxsim": {"compile"},
    "onnxruntime": {"targets"},
    "openvino": {"targets"},
    "tensorrt": {"targets"},
    "tensorrt_rtx": {"targets"},
    "nncf": {"targets", "compile"},
    "cryptography": {"bundle"},
    "jinja2": {"report"},
    "matplotlib": {"report"},
    "typer": {"cli", "compile"},
    "rich": {"cli", "compile", "report", "tdss"},
}


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def test_every_room_has_its_row() -> None:
    assert set(MAY_IMPORT) == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_one_way(room: str) -> None:
    wrong = [
        f"{place(path, line)} imports {name}"
        for path in library()
        if _room(path) == room
        for name, line in imports(path)
        if name.partition(".")[0] in set(ROOMS) - MAY_IMPORT[room]
    ]
    assert wrong == []


def test_no_module_imports_the_tests() -> None:
    wrong = [place(p, line) for p in library() for name, line in imports(p) if name.partition(".")[0] == "tests"]
    assert wrong == []


@pytest.mark.parametrize("package", OWNERS)
def test_heavy_packages_stay_with_their_owners(package: str) -> None:
    wrong = [
        place(path, line)
        for path in library()
        if _room(path) not in OWNERS[package]
        for name, line in imports(path)
        if name.partition(".")[0] == package
    ]
    assert wrong == []


def test_the_device_side_imports_no_torch() -> None:
    wrong = [place(p, line) for p in device_side() for name, line in imports(p) if name.partition(".")[0] == "torch"]
    assert wrong == []


def test_regression_knows_bundle_and_targets_only() -> None:
    others = set(ROOMS) - {"bundle", "targets"}
    wrong = [
        f"{place(path, line)} imports {name}"
        for path in (ROOT / "tests" / "regression").rglob("*.py")
        for name, line in imports(path)
        if name.partition(".")[0] in others
    ]
    assert wrong == []


def test_compile_is_never_rebound() -> None:
    """``import compile.x`` would replace the builtin ``compile`` in that module; ``from compile.x import f`` does not."""
    lines = [(path, number, line) for path in library() for number, line in enumerate(path.read_text().splitlines(), 1)]
    wrong = [place(path, number) for path, number, line in lines if line.lstrip().startswith("import compile")]
    assert wrong == []
