"""Which package may import what, beside the layers that import-linter checks (pyproject.toml)."""

from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT, device_side, imports, library, place

# Each of these lives in the packages that own it, and nowhere else.
OWNERS = {
    "torch": {"tdss", "compile"},
    "lightning": {"tdss"},
    "onnx": {"compile", "targets", "report", "serving"},
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


def _package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def test_no_module_imports_the_tests() -> None:
    wrong = [place(p, line) for p in library() for name, line in imports(p) if name.partition(".")[0] == "tests"]
    assert wrong == []


@pytest.mark.parametrize("package", OWNERS)
def test_heavy_packages_stay_with_their_owners(package: str) -> None:
    wrong = [
        place(path, line)
        for path in library()
        if _package(path) not in OWNERS[package] | {"studies"}
        for name, line in imports(path)
        if name.partition(".")[0] == package
    ]
    assert wrong == []


def test_the_device_side_imports_no_torch() -> None:
    wrong = [place(p, line) for p in device_side() for name, line in imports(p) if name.partition(".")[0] == "torch"]
    assert wrong == []


def test_regression_knows_bundle_and_targets_only() -> None:
    others = set(PACKAGES) - {"bundle", "targets"}
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
