"""What NVIDIA's own packages say of the calls we make, and how it is recorded: ``python -m tests.targets.jetson.recorded``.

``nvidia.json`` holds it: of each TensorRT that a JetPack has, the members that typings/tensorrt names, with NVIDIA's own
signatures; of each CUDA runtime, the functions that targets/jetson/cuda.py calls. A package of TensorRT's Python bindings is
1 MB and holds no TensorRT: it loads with an empty library in the place of each that it wants. Nothing is built or run.
Recording needs pip, a C compiler and x86-64 Linux; reading needs the file only.
"""

import ast
import ctypes
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from importlib import util
from pathlib import Path

from tests.architecture.source import ROOT

RECORD = Path(__file__).with_name("nvidia.json")
STUB = ROOT / "typings" / "tensorrt" / "__init__.pyi"
CUDA = ROOT / "targets" / "jetson" / "cuda.py"
# TensorRT 10.16.2 of JetPack 7.2 and 11.4.1 are not on PyPI: their nearest releases are.
BINDINGS = ("10.3.0", "10.13.3.9", "10.16.1.11", "11.0.0.114", "11.4.0.106")
RUNTIMES = {"12.6.77": "nvidia-cuda-runtime-cu12", "13.0.96": "nvidia-cuda-runtime", "13.2.86": "nvidia-cuda-runtime"}
ABSENT = "createInfer.*|createNv.*|get(Builder)?PluginRegistry|getNvOnnxParserVersion|initLibNvInferPlugins"


def stub_members() -> dict[str, list[str] | None]:
    """Return the stub's members as Class.member: the parameters of a function, without self; None of anything else."""
    return dict(_members("", ast.parse(STUB.read_text(encoding="utf-8")).body))


def _members(owner: str, body: list[ast.stmt]) -> list[tuple[str, list[str] | None]]:
    found: list[tuple[str, list[str] | None]] = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            found += _members(f"{owner}{node.name}.", node.body)
        elif isinstance(node, ast.FunctionDef) and owner and node.name != "__buffer__":
            found.append((owner + node.name, None if node.decorator_list else [one.arg for one in node.args.args[1:]]))
        elif isinstance(node, ast.AnnAssign | ast.Assign) and owner:
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            found.append((owner + ast.unparse(target), None))
    return found


def cuda_functions() -> list[str]:
    """Return the functions of the CUDA runtime that we call."""
    names = {
        node.attr for node in ast.walk(ast.parse(CUDA.read_text(encoding="utf-8"))) if isinstance(node, ast.Attribute)
    }
    return sorted(name for name in names if re.fullmatch("cuda[A-Z].*", name))


def describe(binary: str) -> dict[str, object]:
    """Load a binding and describe each member of the stub: signatures, an enum's value, or what kind of property it is."""
    spec = util.spec_from_file_location("tensorrt", binary)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: _described(module, name) for name in stub_members()}


def _described(module: object, name: str) -> object:
    found, last = module, name.rpartition(".")[2]
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, property):
        return "property" if found.fset else "read-only property"
    signatures = re.findall(rf"^(?:\d+\. )?({last}\(self: .*)$", getattr(found, "__doc__", None) or "", re.MULTILINE)
    if signatures or found is None:
        return signatures or None
    return int(found) if hasattr(found, "__int__") else [str(found.__doc__)]


def _download(package: str, folder: Path) -> tuple[Path, dict[str, str]]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "--dest", str(folder), package], check=True)
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder, {"wheel": wheel.name, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}


def _binding(version: str, folder: Path) -> dict[str, object]:
    folder, source = _download(f"tensorrt-cu12-bindings=={version}", folder)
    binary = folder / "tensorrt_bindings" / "tensorrt.so"
    wanted = set(re.findall(rb"libnv\w+\.so\.\d+", binary.read_bytes()))
    text = subprocess.run(["nm", "-D", "--undefined-only", str(binary)], check=True, capture_output=True, text=True)
    lines = [f"int {name}(void) {{ return 0; }}" for name in text.stdout.split() if re.fullmatch(ABSENT, name)]
    (folder / "absent.c").write_text("\n".join(lines))
    for name in map(bytes.decode, wanted):
        command = ["cc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{name}", "-o", str(folder / name), "absent.c"]
        subprocess.run(command, cwd=folder, check=True)
    command = [sys.executable, "-m", __spec__.name, str(binary)]
    done = subprocess.run(command, env={"LD_LIBRARY_PATH": str(folder)}, cwd=ROOT, check=True, capture_output=True)
    return source | {"members": json.loads(done.stdout)}


def _runtime(package: str, folder: Path) -> dict[str, object]:
    folder, source = _download(package, folder)
    [library] = folder.rglob("libcudart.so.*")
    loaded = ctypes.CDLL(str(library))
    return source | {"functions": [name for name in cuda_functions() if hasattr(loaded, name)]}


def record() -> None:
    """Download each package, describe it and write the file."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        found = {
            "tensorrt": {version: _binding(version, folder / version) for version in BINDINGS},
            "cuda": {version: _runtime(f"{name}=={version}", folder / version) for version, name in RUNTIMES.items()},
        }
    RECORD.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stdout.write(json.dumps(describe(sys.argv[1])))
    else:
        record()
